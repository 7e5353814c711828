"""The training: resumed, interrupted and stopped where it goes wrong, it is always some whole iteration's state."""

from __future__ import annotations

import copy
import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from torch import Tensor

import hspace
from hspace.errors import HspaceError
from hspace.learning import FIELDS, Discriminator, GlobalShift, Options, Population, Reconstructor, Trainer, make_shift
from hspace.learning.draw import draw
from hspace.learning.shift import Kind, Parametrisation
from hspace.learning.training import Stopped

K = 3
SMALL: dict[str, Any] = {
    "iterations": 3,
    "batch_size": 4,
    "replays": 1,
    "replay_size": 6,
    "replay_batch_size": 5,
    "adversarial_weight": 0.5,
}


def trainer(
    sampler: hspace.Sampler,
    population: Population,
    *,
    kind: Kind = "global",
    parametrisation: Parametrisation = "ortho",
    real: Tensor | None = None,
    about: dict[str, Any] | None = None,
    **options: Any,
) -> Trainer:
    chosen = Options(**{**SMALL, **options})
    shape = sampler.model.h_shape
    shift = make_shift(kind, parametrisation, population.span, sampler.timesteps, K, shape, seed=chosen.seed)
    reconstructor = Reconstructor(3, K, "lenet", 8, seed=1)
    judge = Discriminator(3, 8, 4, seed=2) if chosen.adversarial_weight else None
    return Trainer(sampler, population, shift, reconstructor, judge, real, chosen, {"seeds": "0-11", **(about or {})})


def state(made: Trainer) -> dict[str, Any]:
    """All that a training is."""
    found: dict[str, Any] = {"averages": made.averages, "replay": made.replay, "running": made.running}
    found["counts"] = (made.iteration, made.best, made.best_iteration)
    for name, network in (("s", made.shift), ("r", made.reconstructor), ("d", made.discriminator)):
        found[name] = {} if network is None else network.state_dict()
    for name, optimizer in made.optimizers.items():
        found[name] = optimizer.state_dict()
    return copy.deepcopy(found)


def identical(a: Any, b: Any, where: str = "state") -> None:
    """Bit for bit."""
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            identical(a[key], b[key], f"{where}.{key}")
    else:
        assert a == b, where


def changed(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return any(not torch.equal(a[name], b[name]) for name in a)


def poisoned(population: Population, rows: list[int]) -> Population:
    images = population.images.clone()
    images[rows] = torch.nan
    return Population(population.seeds, images, population.span)


VARIANTS: list[dict[str, Any]] = [
    {},
    {"kind": "block", "parametrisation": "linear"},
    {"parametrisation": "fixed", "adversarial_weight": 0},
    {"replays": 0, "warmup": 2},
]


@pytest.fixture(scope="module")
def states(sampler: hspace.Sampler, population: Population) -> list[dict[str, Any]]:
    """Of an uninterrupted training, before it and after each iteration."""
    made = trainer(sampler, population)
    found = [state(made)]
    made.run(on_iteration=lambda: found.append(state(made)))
    return found


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_resumed_is_uninterrupted_bit_for_bit(
    sampler: hspace.Sampler, population: Population, tmp_path: Path, variant: dict[str, Any]
) -> None:
    """From the state before any iteration, and after each."""
    whole = trainer(sampler, population, **variant)
    lines: list[dict[str, float]] = []
    there: list[dict[str, Any]] = []

    def keep() -> None:
        whole.save(tmp_path / f"{whole.iteration}.safetensors")
        there.append(state(whole))

    keep()
    whole.run(on_line=lines.append, on_iteration=keep)
    for after in range(3):
        made = trainer(sampler, population, **variant)
        made.load(tmp_path / f"{after}.safetensors")
        identical(state(made), there[after])
        torch.rand(3)  # the global generator means nothing
        rest: list[dict[str, float]] = []
        assert made.run(on_line=rest.append) == "iterations"
        identical(state(made), there[3])
        for a, b in zip(rest, lines[after:], strict=True):
            assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_a_line_has_all_fields_and_its_loss_is_their_sum(sampler: hspace.Sampler, population: Population) -> None:
    lines: list[dict[str, float]] = []
    made = trainer(sampler, population, strength_weight=0.3)
    calls: list[tuple[int, int]] = []
    told: list[str] = []

    def advance(done: int, text: str = "") -> None:
        told.append(text)

    made.run(on_line=lines.append, on_iteration=lambda: calls.append((made.iteration, len(lines))), advance=advance)
    assert [tuple(line) for line in lines] == [FIELDS] * 3
    assert [line["iteration"] for line in lines] == [1, 2, 3]
    assert calls == [(i, i) for i in range(1, 4)]
    assert len(told) == 3
    assert told[0].startswith("loss ")
    for line in lines:
        expected = line["cross_entropy"] + 0.3 * line["strength_error"] + 0.5 * line["realism"]
        assert line["loss"] == pytest.approx(expected, abs=1e-5)
        assert line["accuracy"] in (0.0, 0.25, 0.5, 0.75, 1.0)
        assert line["discriminator"] > 0


def test_everything_learns(sampler: hspace.Sampler, states: list[dict[str, Any]]) -> None:
    for name in ("s", "r", "d", "averages", "replay"):
        for before, after in itertools.pairwise(states):
            assert changed(before[name], after[name]), name
    assert not any(p.requires_grad or p.grad is not None for p in sampler.model.network.parameters())


def test_averages_are_those_of_the_parameters(sampler: hspace.Sampler, population: Population) -> None:
    made = trainer(sampler, population, parametrisation="linear", ema=0.2)
    assert isinstance(made.shift, GlobalShift)
    average = made.shift.weight.detach().clone()

    def follow() -> None:
        nonlocal average
        decay = min(0.2, made.iteration / (made.iteration + 9))
        assert isinstance(made.shift, GlobalShift)
        average = decay * average + (1 - decay) * made.shift.weight.detach()

    made.run(on_iteration=follow)
    torch.testing.assert_close(dict(made.averaged()), {"weight": average})
    assert not torch.equal(average, made.shift.weight)


@pytest.mark.parametrize("kind", ["global", "block"])
def test_a_fixed_module_never_changes(sampler: hspace.Sampler, population: Population, kind: Kind) -> None:
    made = trainer(sampler, population, kind=kind, parametrisation="fixed")
    before = state(made)
    made.run()
    after = state(made)
    identical(after["s"], before["s"])
    identical(after["averages"], before["averages"])
    assert changed(before["r"], after["r"])
    assert "adam_shift" not in made.optimizers


def test_warmup_leaves_the_module_alone(sampler: hspace.Sampler, population: Population) -> None:
    made = trainer(sampler, population, warmup=2)
    states = [state(made)]
    made.run(on_iteration=lambda: states.append(state(made)))
    for at in (1, 2):
        identical(states[at]["s"], states[0]["s"])
        identical(states[at]["averages"], states[0]["averages"])
        assert changed(states[at]["r"], states[at - 1]["r"])
    assert changed(states[3]["s"], states[2]["s"])


def test_without_replays_or_discriminator(sampler: hspace.Sampler, population: Population) -> None:
    lines: list[dict[str, float]] = []
    made = trainer(sampler, population, replays=0, replay_size=1, adversarial_weight=0)
    assert made.run(on_line=lines.append) == "iterations"
    assert made.discriminator is None
    assert not made.replay["images"].any()
    assert all(line["discriminator"] == line["realism"] == 0 < line["loss"] for line in lines)


def test_replays_are_the_last_pairs(sampler: hspace.Sampler, population: Population) -> None:
    """Six of the eight rows of two iterations, each the sample that its shift makes; the module is fixed here."""
    made = trainer(sampler, population, parametrisation="fixed", iterations=2)
    made.run()
    rows, kinds, strengths = (made.replay[name] for name in ("rows", "kinds", "strengths"))

    def change(timestep: int, h: Tensor, where: slice) -> Tensor:
        moved: Tensor = made.shift(timestep, h, kinds[where], strengths[where])
        return moved

    expected = sampler.run(rows.tolist(), hspace.diffusion.RunChange(change))
    torch.testing.assert_close(made.replay["images"], expected, atol=1e-5, rtol=0)
    assert bool((strengths != 0).all())


@pytest.mark.parametrize("kind", ["global", "block"])
def test_parts_of_a_batch_add_up(make_population: Callable[[hspace.Sampler], Population], kind: Kind) -> None:
    """A sampler of 3 rows at a time gives the gradients of one of 8; the module and the sampler are in float64."""
    found = []
    for batch_size in (3, 8):
        here = hspace.Sampler(tiny.denoiser(), 3, 0.0, batch_size=batch_size)
        made = trainer(here, make_population(here), kind=kind, parametrisation="linear", batch_size=8, replay_size=8)
        lines: list[dict[str, float]] = []
        made.run(minutes=0, on_line=lines.append)
        assert made.iteration == 1
        gradients = [p.grad for p in made.trained if p.grad is not None]
        found.append((gradients, list(made.shift.parameters()), lines))
    (gradients, after, lines), (others, other_after, other_lines) = found
    assert len(gradients) == len(others) > 0
    for a, b in zip(gradients, others, strict=True):
        assert a.dtype == torch.float64
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6 * float(b.abs().max()))
    for p, q in zip(after, other_after, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-4)
    for name in FIELDS[:-1]:
        assert lines[0][name] == pytest.approx(other_lines[0][name], abs=1e-5)


def test_segments_only_trade_memory(sampler: hspace.Sampler, population: Population) -> None:
    found = []
    for segment in (1, 2, 3):
        made = trainer(sampler, population, segment=segment)
        made.run(minutes=0)
        found.append([p.grad for p in made.trained if p.grad is not None])
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(a.abs().max()))


def stopped_by_nan(made: Trainer, message: str) -> None:
    """What is left is what was there after the last good iteration."""
    made._scale()  # `run` begins with it
    good = [state(made)]
    with pytest.raises(HspaceError, match=message) as caught:
        made.run(on_iteration=lambda: good.append(state(made)))
    assert f"iteration {made.iteration} was the last good one" in str(caught.value)
    assert "\n" not in str(caught.value)
    identical(state(made), good[-1])
    for network in (made.shift, made.reconstructor, made.discriminator):
        if network is not None:
            assert all(bool(p.isfinite().all()) for p in network.parameters())


def first_use(row: int, made: Trainer) -> int:
    """The first iteration that takes a sample of the population, counted from 1."""
    o = made.options
    numbers: dict[str, Any] = {"population": 12, "n": K, "min_strength": o.min_strength, "max_strength": o.max_strength}
    return next(i for i in range(99) if row in draw(o.seed, i, o.batch_size, **numbers).rows.tolist()) + 1


@pytest.mark.parametrize("parametrisation", ["ortho", "fixed"])
def test_nan_keeps_the_last_good_iteration(
    sampler: hspace.Sampler, population: Population, parametrisation: Parametrisation
) -> None:
    """A picture of the population is broken; the discriminator has others."""
    options: dict[str, Any] = {"iterations": 99, "parametrisation": parametrisation, "real": population.images}
    late = next(row for row in range(12) if first_use(row, trainer(sampler, population)) == 3)
    made = trainer(sampler, poisoned(population, [late]), **options)
    stopped_by_nan(made, "training stopped: loss nan or its gradient is not finite at iteration 3; ")
    assert made.iteration == 2


def test_nan_of_the_discriminator_alone(sampler: hspace.Sampler, population: Population) -> None:
    real = population.images.clone()
    real[5] = torch.nan
    stopped_by_nan(trainer(sampler, population, real=real, iterations=99), "training stopped: loss nan or its gradient")


@pytest.mark.parametrize("rate", ["shift_rate", "reconstructor_rate", "discriminator_rate"])
def test_a_rate_that_is_far_too_high(sampler: hspace.Sampler, population: Population, rate: str) -> None:
    options: dict[str, Any] = {rate: 1e30}
    stopped_by_nan(trainer(sampler, population, iterations=9, **options), "training stopped: loss")


def test_an_error_does_not_spoil_what_comes_after(
    sampler: hspace.Sampler, population: Population, states: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The state that was saved goes on with whole pictures as if nothing had happened."""
    late = next(row for row in range(12) if first_use(row, trainer(sampler, population)) == 2)
    broken = trainer(sampler, poisoned(population, [late]), real=population.images)
    with pytest.raises(HspaceError, match="training stopped"):
        broken.run()
    broken.save(tmp_path / "state.safetensors")
    again = trainer(sampler, population)
    again.load(tmp_path / "state.safetensors")
    again.run()
    identical(state(again), states[3])


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def interrupted(made: Trainer, **hooks: Callable[..., None]) -> Stopped:
    before = signal.getsignal(signal.SIGINT)
    stopped = made.run(**hooks)  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGINT) is before
    return stopped


def test_ctrl_c_while_a_line_is_written(
    sampler: hspace.Sampler, population: Population, states: list[dict[str, Any]]
) -> None:
    """The line is whole, and the state is that of its iteration."""
    made = trainer(sampler, population)
    lines: list[float] = []

    def on_line(line: dict[str, float]) -> None:
        if line["iteration"] == 2:
            interrupt()
        lines.append(line["iteration"])

    assert interrupted(made, on_line=on_line) == "interrupted"
    assert lines == [1, 2]
    identical(state(made), states[2])
    assert made.run() == "iterations"
    identical(state(made), states[3])


@pytest.mark.parametrize("calls", [2, 9])
def test_ctrl_c_within_the_sampler(
    sampler: hspace.Sampler, population: Population, states: list[dict[str, Any]], calls: int
) -> None:
    """On the way there and on the way back; the iteration is as if it had not begun."""
    made = trainer(sampler, population)
    left = calls

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            interrupt()

    handle = made.shift.register_forward_pre_hook(count)
    lines: list[dict[str, float]] = []
    assert interrupted(made, on_line=lines.append) == "interrupted"
    assert len(lines) == made.iteration == (calls - 1) // 5  # 2 there and 3 on the way back
    identical(state(made), states[made.iteration])
    handle.remove()
    made.run()
    identical(state(made), states[3])


@pytest.mark.parametrize("name", ["adam_shift", "adam_reconstructor", "adam_discriminator"])
def test_ctrl_c_between_two_optimizers(
    sampler: hspace.Sampler, population: Population, states: list[dict[str, Any]], name: str
) -> None:
    """It waits until all networks are in step, and the log has the line."""
    made = trainer(sampler, population)
    handle = made.optimizers[name].register_step_pre_hook(lambda *_: interrupt())
    lines: list[dict[str, float]] = []
    assert interrupted(made, on_line=lines.append) == "interrupted"
    assert len(lines) == made.iteration == 1
    handle.remove()
    identical(state(made), states[1])


def test_ctrl_c_while_a_state_is_saved(sampler: hspace.Sampler, population: Population, tmp_path: Path) -> None:
    made = trainer(sampler, population)

    def save() -> None:
        made.save(tmp_path / "state.safetensors")
        if made.iteration == 2:
            interrupt()

    assert interrupted(made, on_iteration=save) == "interrupted"
    again = trainer(sampler, population)
    again.load(tmp_path / "state.safetensors")
    identical(state(again), state(made))


def test_patience_and_minutes(sampler: hspace.Sampler, population: Population) -> None:
    """A module that hardly moves and a reconstructor that hardly learns find no new best for long."""
    options: dict[str, Any] = {"iterations": 400, "patience": 3, "parametrisation": "fixed", "replays": 0}
    made = trainer(sampler, population, adversarial_weight=0, reconstructor_rate=1e-9, **options)
    assert made.run() == "patience"
    assert made.iteration - made.best_iteration == 3
    assert made.running["loss"] > made.best
    made = trainer(sampler, population)
    assert made.run(minutes=0) == "minutes"
    assert made.iteration == 1


def test_real_pictures_of_another_precision(sampler: hspace.Sampler, population: Population) -> None:
    one, other = (
        trainer(sampler, population, real=x, iterations=2) for x in (population.images, population.images.double())
    )
    one.run()
    other.run()
    identical(state(one), state(other))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"segment": 0}, "segment must be at least 1, not 0"),
        ({"replay_batch_size": 0}, "replay_batch_size must be at least 1, not 0"),
        ({"noise": -0.1}, "noise must not be negative, but is -0.1"),
        ({"r1_weight": float("nan")}, "r1_weight must not be negative, but is nan"),
        ({"seed": -1}, "seed must not be negative, but is -1"),
        ({"replays": -1}, "replays must not be negative"),
        ({"warmup": -1}, "warmup must not be negative"),
        ({"shift_rate": 0.0}, "shift_rate must be positive, not 0.0"),
        ({"discriminator_rate": float("nan")}, "discriminator_rate must be positive, not nan"),
        ({"min_strength": 7.0}, "strengths must be 0 <= min <= max, not 7.0 and 6.0"),
        ({"min_strength": 0.0, "max_strength": 0.0}, "strengths must be 0 <= min <= max, not 0.0 and 0.0"),
        ({"max_strength": float("nan")}, "strengths must be"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\), not 1.0"),
        ({"replay_size": 31}, "replay_size must be at least the batch of 32, not 31"),
        ({"patience": 0}, "patience must be at least 1, not 0"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        Options(**options)


def test_options_at_their_limits() -> None:
    Options(replays=0, replay_size=0, ema=0.0, min_strength=6.0, patience=1, noise=0.0, seed=0)
