from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import tiny
from torch import Tensor, nn

from hspace.errors import HspaceError
from hspace.models import Denoiser
from hspace.models.denoiser import weight_hash

BEHIND = ("before", "middle", "mid_block", "up_blocks.0", "up_blocks.0.resnets.0", "up_blocks.1", "conv_out")
INSIDE = ("conv_in", "down_blocks.0", "down_blocks.1.attentions.0", "time_embedding", "time_embedding.linear_1")
MODELS: dict[str, Callable[[], Denoiser]] = {
    **{tap: partial(tiny.denoiser, tap=tap) for tap in (*BEHIND, *INSIDE)},
    "v": partial(tiny.denoiser, "v_prediction"),
    "sample": partial(tiny.denoiser, "sample"),
    "learned variance": partial(tiny.denoiser, out_channels=6),
    "skip blocks": partial(
        tiny.denoiser,
        tap="conv_out",  # diffusers adds the skip picture to its output in place
        block_out_channels=(32, 32),  # some of these blocks have 32 groups whatever one asks for
        down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        up_block_types=("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    ),
    "plain": tiny.plain_denoiser,  # changes h in place
    "no weights": partial(tiny.gaussian_denoiser, 0.3, 0.5),
}
every_model = pytest.mark.parametrize("make", [cache(make) for make in MODELS.values()], ids=MODELS.keys())


def x_t(model: Denoiser, n: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *model.image_shape, dtype=torch.float64, generator=generator)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@every_model
@pytest.mark.parametrize("timestep", [0, 1, 40, tiny.TRAIN_TIMESTEPS - 1])
def test_eps_and_x_0_make_x_t(make: Callable[[], Denoiser], timestep: int) -> None:
    model = make()
    eps, x_0 = model.predict(x_t(model), timestep)
    signal, noise = tiny.coefficients(model, timestep)
    close(signal * x_0 + noise * eps, x_t(model))


@pytest.mark.parametrize("timestep", [0, 1, 40, tiny.TRAIN_TIMESTEPS - 1])
def test_the_three_kinds_of_prediction(timestep: int) -> None:
    """Turned back into what networks of each kind are trained to say: n, x_0, sqrt(alpha) n - sqrt(1 - alpha) x_0."""
    model, of_v, of_sample = (tiny.denoiser(kind) for kind in tiny.PREDICTION_TYPES)
    signal, noise = tiny.coefficients(model, timestep)
    output = model.network(x_t(model), torch.tensor(timestep)).sample
    close(model.predict(x_t(model), timestep).eps, output)
    close(of_sample.predict(x_t(model), timestep).x_0, output)
    eps, x_0 = of_v.predict(x_t(model), timestep)
    close(signal * eps - noise * x_0, output)


def test_learned_variance_is_left_out() -> None:
    model = tiny.denoiser(out_channels=6)
    output = model.network(x_t(model), torch.tensor(5)).sample
    assert output.shape[1] == 6
    assert torch.equal(model.predict(x_t(model), 5).eps, output[:, :3])
    assert torch.equal(model.decode(model.encode(x_t(model), 5)).eps, output[:, :3])


@every_model
def test_observing_changes_nothing_and_sees_what_a_hook_sees(make: Callable[[], Denoiser]) -> None:
    model = make()
    seen: list[Tensor] = []

    def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        value = inputs if model.tap.reads_input else output
        seen.append((value[0] if isinstance(value, tuple) else value).clone())

    handle = model.tap.module.register_forward_hook(hook)
    expected = model.predict(x_t(model), 9)
    handle.remove()
    prediction, h = model.observe(x_t(model), 9)
    assert torch.equal(prediction.eps, expected.eps)
    assert torch.equal(h, seen[0])
    assert torch.equal(model.encode(x_t(model), 9).h, seen[0])
    assert h.shape == (3, *model.h_shape)


@every_model
def test_decoding_an_encoding_is_predicting_bit_for_bit(make: Callable[[], Denoiser]) -> None:
    model = make()
    expected = model.predict(x_t(model), 9)
    encoding = model.encode(x_t(model), 9)
    for _ in range(2):  # decoding leaves the encoding as it is
        prediction = model.decode(encoding)
        assert torch.equal(prediction.eps, expected.eps)
        assert torch.equal(prediction.x_0, expected.x_0)


@every_model
def test_decoding_k_blocks_is_k_shifted_predictions(make: Callable[[], Denoiser]) -> None:
    model = make()
    encoding = model.encode(x_t(model), 9)
    shifts = [scale * torch.randn_like(encoding.h) for scale in (0.0, 0.5, 2.0)]
    decoded = model.decode(encoding, torch.cat([encoding.h + shift for shift in shifts]))
    plain = model.predict(x_t(model), 9).eps
    for block, shift in enumerate(shifts):
        expected = model.predict(x_t(model), 9, shift=shift)
        close(decoded.eps[3 * block : 3 * block + 3], expected.eps)
        close(decoded.x_0[3 * block : 3 * block + 3], expected.x_0)
        assert torch.allclose(expected.eps, plain) is (block == 0)


@every_model
def test_a_shift_is_broadcast_over_the_batch_and_observed_h_is_the_one_before_it(make: Callable[[], Denoiser]) -> None:
    model = make()
    shift = torch.randn(1, *model.h_shape)
    (eps, _), h = model.observe(x_t(model), 9, shift=shift)
    assert torch.equal(h, model.observe(x_t(model), 9)[1])
    assert torch.equal(eps, model.predict(x_t(model), 9, shift=shift.expand(3, *model.h_shape)).eps)


@every_model
def test_what_ran_before_the_tap_is_kept(make: Callable[[], Denoiser]) -> None:
    model = make()
    assert model.can_replay, model.replay.reason
    assert model.encode(x_t(model), 9).recorded


def test_encoding_stops_at_the_tap() -> None:
    model = tiny.denoiser()
    assert model.can_replay  # found out now, by full passes
    calls: list[str] = []
    for name in ("mid_block", "up_blocks.0", "conv_out"):
        model.network.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    model.encode(x_t(model), 9)
    assert set(calls) <= {"mid_block"}


@every_model
def test_nothing_is_left_behind(make: Callable[[], Denoiser]) -> None:
    model = make()
    modules = {name: id(module) for name, module in model.network.named_modules()}
    weights = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    encoding = model.encode(x_t(model), 9)
    model.decode(encoding, encoding.h.repeat(2, *[1] * len(model.h_shape)))
    model.observe(x_t(model), 9, shift=encoding.h)
    assert {name: id(module) for name, module in model.network.named_modules()} == modules
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.network.modules())
    assert list(model.network.state_dict()) == list(weights)
    assert all(torch.equal(weights[name], weight) for name, weight in model.network.state_dict().items())


def test_weights_are_frozen_and_in_evaluation_mode() -> None:
    network = tiny.PlainNetwork().train()
    Denoiser(network, tiny.scheduler().alphas_cumprod, image_shape=tiny.IMAGE_SHAPE, tap="inner")
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())


def test_gradients_flow_through_decode_to_h() -> None:
    """What Jacobians of h are made of; against finite differences."""
    model = tiny.denoiser()
    encoding = model.encode(x_t(model, 1), 9)

    def eps_sum(h: Tensor) -> Tensor:
        return model.decode(encoding, h).eps.square().sum()

    h = encoding.h.detach().requires_grad_()
    assert torch.autograd.gradcheck(eps_sum, (h,), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_state_stays_in_float32_while_the_network_computes_in_less(dtype: torch.dtype) -> None:
    exact = tiny.denoiser(dtype=torch.float32)
    model = tiny.denoiser(dtype=torch.float32).to(dtype=dtype)
    assert (model.dtype, model.state_dtype) == (dtype, torch.float32)
    x = x_t(model).float()
    prediction, h = model.observe(x, 9)
    assert (prediction.eps.dtype, prediction.x_0.dtype, h.dtype) == (torch.float32, torch.float32, dtype)
    torch.testing.assert_close(prediction.eps, exact.predict(x, 9).eps, rtol=0, atol=40 * torch.finfo(dtype).eps)
    encoding = model.encode(x, 9)
    assert torch.equal(model.decode(encoding).eps, prediction.eps)
    assert model.decode(encoding, encoding.h.float()).eps.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_networks_that_embed_time_in_float32_compute_in_half_precision(dtype: torch.dtype) -> None:
    class Network(tiny.PlainNetwork):
        def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
            time = self.time(torch.stack([timesteps.float().sin(), timesteps.float().cos()], 1))
            return self.up(self.inner(self.down(x) + time[:, :, None, None]))

    network = Network()
    model = Denoiser(network, tiny.scheduler().alphas_cumprod, image_shape=tiny.IMAGE_SHAPE, tap="inner")
    expected = model.predict(x_t(model).float(), 9).eps
    prediction, h = model.to(dtype=dtype).observe(x_t(model).float(), 9)
    assert h.dtype == dtype
    torch.testing.assert_close(prediction.eps, expected, rtol=0, atol=40 * torch.finfo(dtype).eps)


def test_a_float64_network_keeps_its_state_in_float64() -> None:
    assert tiny.denoiser().state_dtype == torch.float64


def test_a_network_without_weights_is_on_the_cpu_in_float32() -> None:
    class Nothing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
            return self.inner(x)

    model = Denoiser(Nothing(), tiny.scheduler().alphas_cumprod, image_shape=(1, 2, 2), tap="inner")
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)
    assert model.h_shape == (1, 2, 2)


def test_another_tap_leaves_the_first_as_it_was() -> None:
    model = tiny.denoiser()
    assert (model.h_shape, len(model.replay.modules)) == ((8, 4, 4), 6)
    other = model.tapped("down_blocks.0")
    assert (other.tap.name, other.h_shape, len(other.replay.modules)) == ("down_blocks.0", (4, 4, 4), 4)
    assert (model.tap.name, model.h_shape, len(model.replay.modules)) == ("mid_block", (8, 4, 4), 6)
    assert other.network is model.network


@given(entry=st.integers(0, 10**6))
def test_the_hash_knows_every_weight(entry: int) -> None:
    network = tiny.PlainNetwork()
    before, same = weight_hash(network), copy.deepcopy(network)
    weights = list(network.parameters())
    weight = weights[entry % len(weights)].data.view(-1)
    row = entry % len(weight)
    weight[row] = weight[row].nextafter(torch.tensor(9.0))
    assert weight_hash(network) != before
    assert weight_hash(same) == weight_hash(same.double()) == before


def test_the_hash_knows_names_and_shapes() -> None:
    a, b = nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False)
    b.weight.data = a.weight.data.reshape(2, 3)
    assert weight_hash(a) != weight_hash(b)
    assert weight_hash(nn.Sequential(a)) != weight_hash(a)


def test_moving_keeps_the_hash() -> None:
    model = tiny.denoiser(dtype=torch.float32)
    before = model.weight_hash
    assert model.to("cpu", torch.bfloat16).weight_hash == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction_type": "score"}, "must be one of epsilon, v_prediction, sample, flow, not 'score'"),
        ({"spacing": "karras"}, "spacing must be one of leading, trailing, linspace, not 'karras'"),
        ({"alphas_cumprod": torch.tensor([])}, "alphas_cumprod must be numbers between 0 and 1"),
        ({"alphas_cumprod": torch.tensor([0.9, float("nan")])}, "alphas_cumprod must be numbers between 0 and 1"),
        ({"alphas_cumprod": torch.tensor([0.9, 0.0])}, "alphas_cumprod must be numbers between 0 and 1"),
        ({"alphas_cumprod": torch.tensor([1.0, 0.5])}, "alphas_cumprod must be numbers between 0 and 1"),
        ({"alphas_cumprod": torch.tensor([0.5, 0.9])}, "never increase with the timestep"),
        ({"final_alpha": 0.5}, "final_alpha must be within alphas_cumprod"),
        ({"final_alpha": 1.5}, "final_alpha must be within alphas_cumprod"),
        ({"final_alpha": float("nan")}, "final_alpha must be within alphas_cumprod"),
        ({"tap": "nowhere"}, "PlainNetwork has no module 'nowhere' to tap"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    given = {"alphas_cumprod": tiny.scheduler().alphas_cumprod, "tap": "inner", **options}
    with tiny.unchecked_types(), pytest.raises(HspaceError, match=message):
        Denoiser(tiny.PlainNetwork(), image_shape=tiny.IMAGE_SHAPE, **given)


def test_taps_that_a_pass_does_not_meet_once_are_refused() -> None:
    never = tiny.plain_denoiser(tap="never")
    for look in (never.encode, never.observe):
        with pytest.raises(HspaceError, match="tap 'never' is never reached in a forward pass"):
            look(x_t(never), 9)
    again = tiny.denoiser(tap="mid_block.resnets.0.nonlinearity")
    with pytest.raises(HspaceError, match="is reached 3 times in a forward pass: choose another module"):
        again.observe(x_t(again), 9)


@pytest.mark.parametrize("rows", [0, 2, 4])
def test_h_that_fits_no_number_of_blocks_is_refused(rows: int) -> None:
    model = tiny.denoiser()
    encoding = model.encode(x_t(model), 9)
    with pytest.raises(HspaceError, match=f"h has {rows} rows, no multiple of the encoding's 3"):
        model.decode(encoding, torch.zeros(rows, *model.h_shape))
