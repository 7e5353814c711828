from __future__ import annotations

import pytest
import torch
from tests import tiny
from torch import Tensor, nn

from hspace.errors import HspaceError
from hspace.models.tap import Tap

X_T, T = (
    torch.randn(2, *tiny.IMAGE_SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    torch.tensor(7),
)


def module_of(network: nn.Module, name: str) -> nn.Module:
    middle = {"mid_block": network.mid_block, "after": network.mid_block, "middle": network.mid_block.attentions[0]}
    return middle[name] if name in middle else network.get_submodule(name)


@pytest.mark.parametrize("name", ["mid_block", "after", "middle", "up_blocks.0", "up_blocks.1.resnets.0", "conv_out"])
def test_reads_what_the_module_returns(name: str) -> None:
    network = tiny.unet()
    seen: list[Tensor] = []
    expected: list[Tensor] = []
    with Tap(network, name).hooked(lambda h: seen.append(h)):
        handle = module_of(network, name).register_forward_hook(lambda _, __, output: expected.append(output))
        network(X_T, T)
        handle.remove()
    assert len(seen) == 1
    assert seen[0] is expected[0]


def test_before_reads_the_input_of_the_mid_block() -> None:
    network = tiny.unet()
    seen: list[Tensor] = []
    after_encoder: list[Tensor] = []
    with Tap(network, "before").hooked(lambda h: seen.append(h)):
        handle = network.down_blocks[-1].register_forward_hook(lambda _, __, output: after_encoder.append(output[0]))
        network(X_T, T)
        handle.remove()
    assert seen[0] is after_encoder[0]


def test_the_middle_stands_between_the_residual_blocks() -> None:
    with_attention = tiny.unet()
    assert Tap(with_attention, "middle").module is with_attention.mid_block.attentions[0]
    without = tiny.unet(add_attention=False)
    assert Tap(without, "middle").module is without.mid_block.resnets[0]


@pytest.mark.parametrize("name", ["before", "middle", "mid_block", "up_blocks.0", "down_blocks.0"])
def test_replaces_h_for_the_rest_of_the_pass(name: str) -> None:
    network = tiny.unet()
    original = network(X_T, T).sample
    with Tap(network, name).hooked(lambda h: h + 1):
        assert not torch.allclose(network(X_T, T).sample, original)
    with Tap(network, name).hooked(lambda h: h.clone()):
        assert torch.equal(network(X_T, T).sample, original)
    assert torch.equal(network(X_T, T).sample, original)


def test_a_down_block_keeps_its_skips() -> None:
    network = tiny.unet()
    tap = Tap(network, "down_blocks.0")
    outputs: list[tuple[Tensor, tuple[Tensor, ...]]] = []
    handle = tap.module.register_forward_hook(lambda _, __, output: outputs.append(output))
    network(X_T, T)
    with tap.hooked(torch.zeros_like):
        observer = tap.module.register_forward_hook(lambda _, __, output: outputs.append(output))
        network(X_T, T)
    handle.remove()
    observer.remove()
    (_, skips), *_, (h, skips_of_replaced) = outputs
    assert not h.any()
    assert all(torch.equal(a, b) for a, b in zip(skips, skips_of_replaced, strict=True))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["before", "mid_block"])
def test_the_hook_is_gone_after_an_exception(name: str, error: type[BaseException]) -> None:
    network = tiny.unet()
    original = network(X_T, T).sample

    def interrupt(h: Tensor) -> Tensor:
        raise error

    with pytest.raises(error), Tap(network, name).hooked(interrupt):
        network(X_T, T)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.equal(network(X_T, T).sample, original)


def test_unknown_names_come_with_the_nearest_known_ones() -> None:
    with pytest.raises(HspaceError, match=r"UNet2DModel has no module 'mid_blok' to tap; .* such as mid_block"):
        Tap(tiny.unet(), "mid_blok")
    with pytest.raises(HspaceError, match="PlainNetwork has no module 'mid_block' to tap; it has 6 others, such as"):
        Tap(tiny.PlainNetwork(), "mid_block")
    with pytest.raises(HspaceError, match="has no module '' to tap"):
        Tap(tiny.unet(), "")
    with pytest.raises(HspaceError, match="no module 'inner' to tap; it has none at all"):
        Tap(nn.Identity(), "inner")


def test_unets_without_a_middle_say_so() -> None:
    network = tiny.unet(mid_block_type=None)
    for name in ("before", "middle", "mid_block", "after"):
        with pytest.raises(HspaceError, match="has no module 'mid_block' to tap"):
            Tap(network, name)
    empty = nn.Module()
    empty.mid_block = nn.Identity()
    with pytest.raises(HspaceError, match="the mid block has no attentions and no resnets"):
        Tap(empty, "middle")


def test_a_module_that_returns_no_tensor_is_no_tap() -> None:
    class Dictionary(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"x": x}

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Dictionary()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)["x"]

    network = Network()
    with (
        pytest.raises(HspaceError, match="tap 'inner' is no tensor but dict"),
        Tap(network, "inner").hooked(lambda h: h),
    ):
        network(X_T)


class Several(nn.Module):
    """Returns two streams, as the blocks of SD3 do."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.inner, self.kind = _Streams(kind), kind

    def forward(self, x: Tensor) -> Tensor:
        text, image = self.inner(x)
        return text.sum() + image


class _Streams(nn.Module):
    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> object:
        return self.kind((x[:, :1], 2 * x))


@pytest.mark.parametrize("kind", [tuple, list])
def test_a_number_chooses_among_several_tensors(kind: type) -> None:
    network, seen = Several(kind), []
    plain = network(X_T)
    for name, element, expected in (("inner", 0, X_T[:, :1]), ("inner:0", 0, X_T[:, :1]), ("inner:1", 1, 2 * X_T)):
        tap = Tap(network, name)
        assert tap.name == ("inner:1" if element else "inner")
        with tap.hooked(seen.append):
            assert torch.equal(network(X_T), plain)
        assert torch.equal(seen.pop(), expected)
    with Tap(network, "inner:1").hooked(lambda h: h + 1):
        torch.testing.assert_close(network(X_T), plain + 1, rtol=0, atol=1e-12)
    with Tap(network, "inner").hooked(torch.zeros_like):
        assert torch.equal(network(X_T), 2 * X_T)


def test_numbers_that_choose_nothing_are_refused() -> None:
    network = Several(tuple)
    with (
        pytest.raises(HspaceError, match="tap 'inner:2': there are 2 elements, numbered from 0, not 3"),
        Tap(network, "inner:2").hooked(lambda h: h),
    ):
        network(X_T)
    single = tiny.unet()
    with (
        pytest.raises(HspaceError, match="tap 'mid_block:1' is no tuple but Tensor: leave out the number"),
        Tap(single, "mid_block:1").hooked(lambda h: h),
    ):
        single(X_T, T)
    for wrong in ("inner:x", "inner:-1", "inner: 1"):
        with pytest.raises(HspaceError, match="must end in a number, as in inner:1"):
            Tap(network, wrong)
    with pytest.raises(HspaceError, match="Several has no module 'outer' to tap"):
        Tap(network, "outer:1")
