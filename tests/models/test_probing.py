"""Which modules are replayed, for networks of every kind, and why some networks are not split."""

from __future__ import annotations

import re

import pytest
import torch
from tests import networks, tiny
from torch import Tensor, nn

import hspace
from hspace.models import Denoiser

T = 50


def model_of(kind: type[nn.Module], tap: str = "inner") -> Denoiser:
    return networks.denoiser(networks.seeded(kind), tap)


def x_t(model: Denoiser, n: int, seed: int = 5) -> Tensor:
    return torch.randn(n, *model.image_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def replayed(model: Denoiser) -> dict[str, int]:
    """Names of the modules and how many calls of each."""
    names = {module: name for name, module in model.network.named_modules()}
    return {names[each.module]: len(each.calls) for each in model.replay.modules}


def check_decoding(model: Denoiser, timestep: int = T) -> None:
    """Own h, bit for bit and again; and k blocks of others: as hooked full passes, for batches that were not probed."""
    for n in (1, 3):
        x = x_t(model, n)
        encoding = model.encode(x, timestep)
        for _ in range(2):
            assert torch.equal(model.decode(encoding).eps, model.predict(x, timestep).eps)
        shifts = [scale * torch.randn_like(encoding.h) for scale in (0.5, 2.0, 0.0)]
        decoded = model.decode(encoding, torch.cat([encoding.h + shift for shift in shifts])).eps
        model.predict(x_t(model, 2, seed=6), 3)  # another pass in between leaves the encoding as it is
        again = model.decode(encoding, torch.cat([encoding.h + shift for shift in shifts])).eps
        assert torch.equal(decoded, again)
        expected = torch.cat([model.predict(x, timestep, shift=shift).eps for shift in shifts])
        torch.testing.assert_close(decoded, expected, rtol=0, atol=1e-10)
        assert not torch.allclose(expected[:n], expected[2 * n :])


SPLIT: dict[type[nn.Module], dict[str, int]] = {
    networks.Base: {"first": 1, "time": 1, "inner": 1},
    networks.InPlaceArithmetic: {"first": 1, "time": 1, "inner": 1},
    networks.InPlaceModules: {"first": 1, "activation": 1, "time": 1, "inner": 1},
    networks.Recurrent: {"first": 1, "time": 1, "block": 2, "holder": 1, "inner": 1},
    networks.Containers: {"first": 1, "time": 1, "pair": 1, "features": 1, "inner": 1},
    networks.Opaque: {"first": 1, "time": 1, "namespace.inside": 1, "inner": 1},
    networks.Tokens: {"first": 1, "time": 1, "position": 1, "turned": 1, "mixed": 1, "inner": 1},
    networks.Windows: {"first": 1, "time": 1, "window": 1, "inner": 1},
    networks.Branches: {"first": 1, "time": 1, "branch": 1, "inner": 1},
}


@pytest.mark.parametrize(("kind", "expected"), SPLIT.items(), ids=[kind.__name__ for kind in SPLIT])
def test_outermost_modules_before_the_tap_are_replayed(kind: type[nn.Module], expected: dict[str, int]) -> None:
    model = model_of(kind)
    assert replayed(model) == expected
    count, share = len(expected), model.replay.reason.rpartition(", ")[2]
    assert model.replay.reason == f"replayed: {count} modules before the tap, {share}"
    check_decoding(model)


def test_how_rows_lie_in_what_modules_return() -> None:
    def leaf(kind: type[nn.Module], name: str) -> tuple[int | None, int, int]:
        model = model_of(kind)
        each = next(x for x in model.replay.modules if x.module is model.network.get_submodule(name))
        return (each.calls[0][0].along, each.calls[0][0].rows, each.calls[0][0].groups)

    assert leaf(networks.Base, "first") == (0, 1, 1)
    assert leaf(networks.Tokens, "position")[0] is None
    assert leaf(networks.Tokens, "turned") == (1, 1, 1)
    assert leaf(networks.Windows, "window") == (0, 4, 1)
    assert leaf(networks.Branches, "branch") == (0, 2, 2)


def test_only_what_is_changed_in_place_is_copied() -> None:
    def in_place(kind: type[nn.Module]) -> dict[str, bool]:
        model = model_of(kind)
        return dict(
            zip(
                replayed(model),
                (any(leaf.in_place for call in each.calls for leaf in call) for each in model.replay.modules),
                strict=True,
            )
        )

    assert in_place(networks.InPlaceArithmetic) == {"first": True, "time": False, "inner": False}
    assert in_place(networks.InPlaceModules)["first"]
    unet = tiny.denoiser()
    assert not any(leaf.in_place for each in unet.replay.modules for call in each.calls for leaf in call)


def test_in_inference_mode_all_is_copied_since_no_change_is_counted() -> None:
    model = model_of(networks.InPlaceArithmetic)
    with torch.inference_mode():
        assert all(leaf.in_place for each in model.replay.modules for call in each.calls for leaf in call)
        encoding = model.encode(x_t(model, 2), T)
        for _ in range(2):
            assert torch.equal(model.decode(encoding).eps, model.predict(x_t(model, 2), T).eps)


WHOLE: dict[type[nn.Module], str] = {
    networks.Remembering: "a replayed pass differs from it by .* of its largest value",
    networks.Crossed: r"module 'gram' returns \(2, 2\) of 2 rows and \(4, 4\) of 4",
    networks.Numbered: "module 'place' does not return the same for the same rows twice in a batch",
    networks.Checkpointed: "tap 'inner' is inside torch.utils.checkpoint",
    networks.Random: "a replayed pass differs from it",
}


@pytest.mark.parametrize(("kind", "reason"), WHOLE.items(), ids=[kind.__name__ for kind in WHOLE])
def test_networks_that_can_not_be_replayed_say_why_and_are_decoded_whole(kind: type[nn.Module], reason: str) -> None:
    model = model_of(kind)
    assert not model.can_replay
    assert re.match(f"full pass: {reason}", model.replay.reason), model.replay.reason
    assert model.encode(x_t(model, 2), T).recorded is None
    if kind is not networks.Random:
        check_decoding(model)


def test_reentrant_checkpoints_are_seen_as_well() -> None:
    class Reentrant(networks.Base):
        def middle(self, x: Tensor) -> Tensor:
            h: Tensor = torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=True)
            return h

    assert model_of(Reentrant).replay.reason == "full pass: tap 'inner' is inside torch.utils.checkpoint"


def test_taps_that_are_not_reached_once_are_not_replayed() -> None:
    assert "tap 'block' is reached 4 times in a pass" in model_of(networks.Recurrent, "block").replay.reason
    never = tiny.plain_denoiser(tap="never")
    assert never.replay.reason == "full pass: tap 'never' is reached 0 times in a pass"


def test_a_network_run_by_others_is_decoded_whole() -> None:
    parallel = networks.denoiser(nn.DataParallel(networks.seeded(networks.Base)), "module.inner")
    assert parallel.replay.reason == "full pass: the network is run by DataParallel"
    compiled = networks.seeded(networks.Base)
    compiled.last.compile(backend="eager")
    assert "module 'last' was compiled by torch.compile" in networks.denoiser(compiled).replay.reason


def test_what_fails_in_parts_is_decoded_whole() -> None:
    class Passing(networks.Base):
        """Behind the tap it looks for what a module before it left in a list."""

        def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
            self.left: list[Tensor] = []
            return super().forward(x, timesteps)

        def middle(self, x: Tensor) -> Tensor:
            return self.inner(self.leave(x)) + self.left.pop()

        class Leave(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                self.left().append(x)
                return x * 2

        def __init__(self) -> None:
            super().__init__()
            self.leave = self.Leave()
            self.leave.left = lambda: self.left

    model = model_of(Passing)
    assert model.replay.reason == "full pass: replaying fails (IndexError: pop from empty list)"
    check_decoding(model)


def test_another_way_through_the_network_is_noticed_at_every_encoding() -> None:
    model = model_of(networks.Changing)
    assert replayed(model) == {"first": 1, "time": 1, "inner": 1}
    assert model.encode(x_t(model, 2), 50).recorded is not None
    assert model.encode(x_t(model, 2), 5).recorded is None  # `first` is called twice there
    check_decoding(model, 50)
    check_decoding(model, 5)


def test_hooks_of_the_user_act_on_replayed_modules_once() -> None:
    model = model_of(networks.Base)
    model.network.first.register_forward_hook(lambda _, __, output: 2 * output)
    check_decoding(model)
    assert model.can_replay


def test_probing_leaves_nothing_behind_and_draws_no_random_numbers() -> None:
    model = model_of(networks.Recurrent)
    before = torch.get_rng_state()
    assert model.can_replay
    assert torch.equal(torch.get_rng_state(), before)
    assert not any("forward" in module.__dict__ for module in model.network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.network.modules())


def test_it_is_found_out_once_with_the_first_encoding() -> None:
    model, passes = model_of(networks.Base), []
    model.network.last.register_forward_hook(lambda *_: passes.append(1))
    assert model.h_shape == (networks.CHANNELS, 8, 8)
    model.predict(x_t(model, 1), T)
    assert len(passes) == 1
    model.encode(x_t(model, 1), T)
    probed = len(passes)
    model.encode(x_t(model, 1), T)
    assert 1 < probed == len(passes)


def test_compiled_networks_replay_what_no_compiled_stage_calls() -> None:
    model = model_of(networks.Recurrent)
    compiled = model.compiled("eager")
    with torch.no_grad():
        assert replayed(compiled) == {"first": 1, "time": 1, "holder": 1, "inner": 1}
        check_decoding(compiled)
    assert replayed(model)["block"] == 2


def test_networks_without_weights_on_a_device_are_not_probed() -> None:
    assert tiny.denoiser().to("meta").replay.reason.startswith("full pass: the network has no weights")


def test_asymmetric_samples_and_gradients_are_those_of_full_passes() -> None:
    """Through the sampler: what replays and what runs whole, of the same network."""
    model, whole = (model_of(networks.InPlaceArithmetic) for _ in range(2))
    whole.__dict__["replay"] = hspace.models.replay.Replay((), "not asked")
    found = []
    for each in (model, whole):
        sampler = hspace.Sampler(each, 3, 0.5)
        shift = torch.full(each.h_shape, 0.1, dtype=torch.float64, requires_grad=True)
        edit = tiny.Shift({t: shift.detach() for t in sampler.timesteps}, "asymmetric")
        x_0 = sampler.run(range(2), edit)
        hspace.backpropagate(
            sampler,
            range(2),
            lambda t, h, rows, shift=shift: h + shift,
            lambda x, rows: x.square().sum(),
            injection="asymmetric",
        )
        found.append((x_0, shift.grad))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-10)
    assert (model.can_replay, whole.can_replay) == (True, False)
