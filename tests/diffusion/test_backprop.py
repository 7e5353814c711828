"""Against automatic differentiation through a sampler that is written out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests import tiny
from torch import Tensor, nn

import hspace
from hspace import HspaceError
from hspace.diffusion import Injection, backpropagate
from hspace.diffusion.backprop import ChangeOfH

SEEDS = range(5)
STEPS = 4
WEIGHTS = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


class Module(nn.Module):
    """A shift for each timestep, and a gain that acts on h: some parameters of every kind."""

    def __init__(self, model: hspace.Denoiser, timesteps: tuple[int, ...]) -> None:
        super().__init__()
        shifts = tiny.h_shifts(model, timesteps)
        self.shifts = nn.ParameterDict({str(t): nn.Parameter(shift) for t, shift in shifts.items()})
        self.gain = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, timestep: int, h: Tensor, where: slice) -> Tensor:
        strengths = torch.arange(1.0, 6.0, dtype=h.dtype)[where].reshape(-1, 1, 1, 1)
        return h + 0.1 * strengths * self.shifts[str(timestep)].to(h) + self.gain.to(h) * h.tanh()


def loss(x_0: Tensor, where: slice) -> Tensor:
    return (x_0.to(WEIGHTS) * WEIGHTS).tanh().sum() + x_0.square().sum()


def plain(sampler: hspace.Sampler, module: ChangeOfH, x_t: Tensor, injection: Injection) -> Tensor:
    """The whole reverse process in one graph; the tap is the mid block."""
    schedule, network = sampler.schedule, sampler.model.network
    latents = sampler.latents(SEEDS)

    def eps_of(x: Tensor, t: int, change: Callable[[Tensor], Tensor] | None) -> Tensor:
        handle = network.mid_block.register_forward_hook(lambda _, args, h: h if change is None else change(h))
        try:
            return network(x, t).sample
        finally:
            handle.remove()

    for i, t in enumerate(schedule.timesteps):
        alpha = schedule.alphas[i]
        shifted = eps_of(x_t, t, lambda h, t=t: module(t, h, slice(0, len(SEEDS))))
        x_0 = (x_t - math.sqrt(1 - alpha) * shifted) / math.sqrt(alpha)
        eps = shifted if injection == "symmetric" else eps_of(x_t, t, None)
        sigma, alpha_prev = schedule.sigmas[i], schedule.alphas_prev[i]
        x_t = math.sqrt(alpha_prev) * x_0 + math.sqrt(max(1 - alpha_prev - sigma**2, 0)) * eps
        if sigma > 0:
            x_t = x_t + sigma * latents.z(t).double()
    return x_t


def gradients_of(module: nn.Module) -> list[Tensor]:
    found = [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]
    module.zero_grad()
    return found


def close(mine: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert float((a - b).abs().max()) <= 1e-10 * max(1.0, float(b.abs().max()))


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(("segment", "batch_size"), [(1, 5), (1, 2), (2, 5), (3, 5), (STEPS, 5), (9, 3)])
def test_gradients_are_those_through_everything(
    injection: Injection, eta: float, segment: int, batch_size: int
) -> None:
    sampler = hspace.Sampler(tiny.denoiser(), STEPS, eta, batch_size=batch_size)
    module = Module(sampler.model, sampler.timesteps)
    x_T = sampler.latents(SEEDS).x_T().double().requires_grad_()
    x_0 = plain(sampler, module, x_T, injection)
    value = loss(x_0, slice(0, 5))
    value.backward()
    expected = gradients_of(module)
    found = backpropagate(sampler, SEEDS, module, loss, injection=injection, segment=segment)
    close(gradients_of(module), expected)
    close([found.x_T, found.x_0], [x_T.grad, x_0.detach()])
    assert found.loss == pytest.approx(float(value.detach()), rel=1e-12)
    assert all(parameter.grad is None for parameter in sampler.model.network.parameters())


def test_parameters_of_the_loss_get_gradients_too() -> None:
    sampler = hspace.Sampler(tiny.denoiser(), 2, 0.0, batch_size=3)
    judge = nn.Conv2d(3, 1, 3).double()
    found = backpropagate(sampler, SEEDS, lambda t, h, rows: 1.1 * h, lambda x, rows: judge(x).square().sum())
    mine = gradients_of(judge)
    judge(found.x_0).square().sum().backward()
    close(mine, gradients_of(judge))


def test_gradients_accumulate_and_parts_add_up() -> None:
    sampler = hspace.Sampler(tiny.denoiser(), 3, 1.0)
    module = Module(sampler.model, sampler.timesteps)
    backpropagate(sampler, SEEDS, module, loss)
    whole = gradients_of(module)
    for part in (slice(0, 2), slice(2, 5)):
        shift = slice(part.start, part.stop)
        backpropagate(
            sampler,
            SEEDS[part],
            lambda t, h, rows, shift=shift: module(t, h, slice(rows.start + shift.start, rows.stop + shift.start)),
            loss,
        )
    close(gradients_of(module), whole)


def test_samples_are_those_of_the_sampler() -> None:
    sampler = hspace.Sampler(tiny.denoiser(), 3, 1.0, batch_size=2)
    vectors = tiny.h_shifts(sampler.model, sampler.timesteps)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    found = backpropagate(sampler, SEEDS, lambda t, h, rows: h + vectors[t] + shift, lambda x, rows: x.sum())
    torch.testing.assert_close(found.x_0, sampler.run(SEEDS, tiny.Shift(vectors)), rtol=0, atol=1e-12)


def test_inverted_pictures_can_be_moved_by_a_loss() -> None:
    sampler = hspace.Sampler(tiny.denoiser(), 3, 1.0)
    pictures = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    inversion = sampler.invert(pictures)
    gain = torch.ones((), dtype=torch.float64, requires_grad=True)
    found = backpropagate(sampler, inversion, lambda t, h, rows: gain * h, lambda x, rows: x.square().sum())
    torch.testing.assert_close(found.x_0, pictures.double(), rtol=0, atol=1e-8)
    assert gain.grad is not None
    with pytest.raises(HspaceError, match="sample as they were inverted"):
        backpropagate(hspace.Sampler(sampler.model, 2, 1.0), inversion, lambda t, h, rows: h, lambda x, rows: x.sum())


@pytest.mark.parametrize("segment", [1, 2])
@pytest.mark.parametrize("kind", ["bfloat16 weights", "autocast"])
def test_half_precision(segment: int, kind: str) -> None:
    dtype = torch.bfloat16 if kind == "bfloat16 weights" else torch.float32
    sampler = hspace.Sampler(tiny.denoiser(dtype=dtype), 3, 0.0)
    exact = hspace.Sampler(tiny.denoiser(), 3, 0.0)
    modules = [Module(exact.model, exact.timesteps) for _ in range(2)]
    backpropagate(exact, SEEDS, modules[0], loss)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        backpropagate(sampler, SEEDS, modules[1], loss, segment=segment)
    mine, theirs = (torch.cat([g.flatten() for g in gradients_of(m)]) for m in reversed(modules))
    assert float(torch.cosine_similarity(mine, theirs, dim=0)) > 0.98


def test_the_graph_of_one_segment_is_held_at_a_time() -> None:
    """Saved activations alive at once, counted: they do not grow with the number of steps."""

    def peak(steps: int, segment: int) -> int:
        alive, most = 0, 0

        class Held:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal alive, most
                self.tensor = tensor
                alive += 1
                most = max(most, alive)

            def __del__(self) -> None:
                nonlocal alive
                alive -= 1

        sampler = hspace.Sampler(tiny.denoiser(), steps, 0.0)
        gain = torch.ones((), dtype=torch.float64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            backpropagate(sampler, [0], lambda t, h, rows: gain * h, lambda x, rows: x.sum(), segment=segment)
        return most

    assert peak(12, 1) == peak(3, 1)
    assert peak(12, 12) > 3 * peak(12, 1)
    assert peak(12, 2) > 1.5 * peak(12, 1)


def test_hooks_are_gone_after_an_exception() -> None:
    sampler = hspace.Sampler(tiny.denoiser(), 3, 0.0)
    before = sampler.run([0])

    def broken(timestep: int, h: Tensor, where: slice) -> Tensor:
        if timestep == sampler.timesteps[1]:
            raise KeyboardInterrupt
        return h

    for injection in ("symmetric", "asymmetric"):
        with pytest.raises(KeyboardInterrupt):
            backpropagate(sampler, [0], broken, lambda x, rows: x.sum(), injection=injection)  # type: ignore[arg-type]
    assert torch.equal(sampler.run([0]), before)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (lambda x, rows: x, {}, r"a loss is one number, not a tensor of shape \(1, 3, 8, 8\)"),
        (lambda x, rows: torch.zeros(()), {}, "the loss does not depend on the samples"),
        (lambda x, rows: torch.zeros((), requires_grad=True) * 2, {}, "the loss does not depend on the samples"),
        (lambda x, rows: x.sum(), {"segment": 0}, "segment must be at least 1, not 0"),
    ],
)
def test_bad_input(loss: Callable[..., Tensor], options: dict[str, int], message: str) -> None:
    sampler = hspace.Sampler(tiny.denoiser(), 2, 0.0)
    with pytest.raises(HspaceError, match=message):
        backpropagate(sampler, [0], lambda t, h, rows: h, loss, **options)


class Crowded(tiny.PlainNetwork):
    """Runs out of memory above `room` rows, with a graph or without, or on the way back."""

    room, where = 3, "without a graph"

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        here = "with a graph" if x_t.requires_grad else "without a graph"
        if len(x_t) > self.room and self.where == here:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        y = super().forward(x_t, timesteps)
        if len(x_t) > self.room and y.requires_grad:
            y.register_hook(self.full)
        return y

    def full(self, _: Tensor) -> None:
        if self.where == "way back":
            raise torch.OutOfMemoryError("CUDA out of memory.")


def crowded(where: str) -> hspace.Sampler:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Crowded().double()
    network.where = where
    model = hspace.Denoiser(network, tiny.scheduler().alphas_cumprod, image_shape=tiny.IMAGE_SHAPE, tap="inner")
    return hspace.Sampler(model, 3, 1.0)


@pytest.mark.parametrize("where", ["without a graph", "with a graph"])
def test_a_batch_that_does_not_fit_is_halved_before_anything_is_added_up(where: str) -> None:
    sampler, asked = crowded(where), []

    def once(x_0: Tensor, rows: slice) -> Tensor:
        asked.append(rows)
        return loss(x_0, rows)

    module = Module(sampler.model, sampler.timesteps)
    found = backpropagate(sampler, SEEDS, module, once)
    assert (sampler.batch_size, asked) == (2, [slice(0, 2), slice(2, 4), slice(4, 5)])
    mine = gradients_of(module)
    small = hspace.Sampler(sampler.model, 3, 1.0, batch_size=1)
    expected = backpropagate(small, SEEDS, module, loss)
    close(mine, gradients_of(module))
    close([found.x_T, found.x_0], [expected.x_T, expected.x_0])
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)


def test_out_of_memory_on_the_way_back_ends_it_with_a_clear_error() -> None:
    sampler = crowded("way back")
    with pytest.raises(HspaceError, match=r"out of memory on the way back through 5 samples, .* smaller batch_size"):
        backpropagate(sampler, SEEDS, lambda t, h, rows: 1.1 * h, loss)
    other = hspace.Sampler(sampler.model, 3, 1.0, batch_size=2)
    backpropagate(other, SEEDS, lambda t, h, rows: 1.1 * h, loss)


def test_a_batch_size_one_asks_for_is_kept() -> None:
    sampler = hspace.Sampler(crowded("with a graph").model, 3, 1.0, batch_size=4)
    with pytest.raises(torch.OutOfMemoryError):
        backpropagate(sampler, SEEDS, lambda t, h, rows: 1.1 * h, loss)
