"""A trained module on disk and in a run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import get_args

import pytest
import torch
from tests import tiny
from torch import Tensor

import hspace
from hspace import tensorfile
from hspace.diffusion import Injection
from hspace.errors import HspaceError
from hspace.learning import GlobalShift, Population, ShiftNetwork, Span, make_shift
from hspace.learning.shift import Kind, Parametrisation

K = 3
KINDS, STRENGTHS = (2, 0, 1, 2, 0), (3.0, -2.0, 0.0, 1.5, 4.0)


def network(
    sampler: hspace.Sampler,
    population: Population,
    kind: Kind = "global",
    parametrisation: Parametrisation = "ortho",
    *,
    whole: bool = False,
    injection: Injection = "symmetric",
) -> ShiftNetwork:
    """Away from its start."""
    span = Span(population.span.mean, population.span.rms) if whole else population.span
    shift = make_shift(kind, parametrisation, span, sampler.timesteps, K, sampler.model.h_shape, seed=1)
    optimizer = torch.optim.Adam(shift.requires_grad_().parameters(), 0.05)
    h, kinds = torch.ones(K, *sampler.model.h_shape), torch.arange(K)
    torch.stack([(shift.unit(t, h, kinds) - 1).square().sum() for t in sampler.timesteps]).sum().backward()
    optimizer.step()
    return ShiftNetwork(shift, sampler.setting(injection))


def shifts(found: ShiftNetwork, sampler: hspace.Sampler) -> Tensor:
    h = torch.randn(5, *sampler.model.h_shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        moved = [found.shift(t, h, torch.tensor(KINDS), torch.tensor(STRENGTHS)) for t in sampler.timesteps]
    return torch.stack(moved)


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("parametrisation", get_args(Parametrisation))
@pytest.mark.parametrize("whole", [False, True])
def test_a_file_gives_the_same_shift_bit_for_bit(
    sampler: hspace.Sampler,
    population: Population,
    tmp_path: Path,
    kind: Kind,
    parametrisation: Parametrisation,
    whole: bool,
) -> None:
    made = network(sampler, population, kind, parametrisation, whole=whole, injection="asymmetric")
    made.save(tmp_path / "network.safetensors")
    found = ShiftNetwork.load(tmp_path / "network.safetensors")
    assert torch.equal(shifts(found, sampler), shifts(made, sampler))
    assert found.setting == made.setting
    assert not any(p.requires_grad for p in found.shift.parameters())
    found.save(tmp_path / "again.safetensors")
    assert torch.equal(shifts(ShiftNetwork.load(tmp_path / "again.safetensors"), sampler), shifts(made, sampler))


@pytest.mark.parametrize("injection", get_args(Injection))
def test_a_run_with_it_is_one_with_its_vectors(
    sampler: hspace.Sampler, population: Population, injection: Injection
) -> None:
    made = network(sampler, population, injection=injection)
    assert isinstance(made.shift, GlobalShift)
    vectors = made.shift.vectors().detach().transpose(0, 1).reshape(K, -1, *sampler.model.h_shape)
    directions = [hspace.Direction(v, sampler.setting(injection), f"{k}") for k, v in enumerate(vectors)]
    edits = [s * directions[k] for k, s in zip(KINDS, STRENGTHS, strict=True)]
    few = copy.copy(sampler)
    few.batch_size = 2
    found = few.run(range(5), made.change(few, KINDS, STRENGTHS))
    torch.testing.assert_close(found, few.run(range(5), edits), atol=1e-5, rtol=0)
    plain = few.run(range(5))
    assert torch.equal(found[2], plain[2])
    assert float((found - plain).abs().flatten(1).amax(1)[[0, 1, 3, 4]].min()) > 1e-3


def test_a_block_in_a_run_sees_h(sampler: hspace.Sampler, population: Population) -> None:
    made = network(sampler, population, "block", "linear")
    change = made.change(sampler, torch.tensor([1, 1]), torch.tensor([3.0, 3.0]))
    seen: list[Tensor] = []
    together = sampler.run(range(2), change, record=lambda t, h, where: seen.append(h))
    alone = sampler.run([1], made.change(sampler, [1], [3.0]))
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)
    unit = made.shift.unit(sampler.timesteps[0], seen[0], torch.tensor([1, 1]))
    assert float((unit[0] - unit[1]).detach().abs().max()) > 1e-2


def test_another_grid_or_model(sampler: hspace.Sampler, population: Population) -> None:
    made = network(sampler, population)
    for other in (hspace.Sampler(sampler.model, 4, 0.0), hspace.Sampler(sampler.model, 3, 1.0)):
        with pytest.raises(HspaceError, match=r"works on the grid \(steps, eta\) it was trained on"):
            made.change(other, KINDS, STRENGTHS)
    for model in (tiny.denoiser(seed=1, dtype=torch.float32), tiny.denoiser(tap="conv_in", dtype=torch.float32)):
        with pytest.raises(HspaceError) as caught:
            made.change(hspace.Sampler(model, 3, 0.0), KINDS, STRENGTHS)
        assert "grid" not in str(caught.value)


@pytest.mark.parametrize(("kinds", "found"), [([0, 3], "0 to 3"), ([-1, 2], "-1 to 2")])
def test_a_type_that_there_is_not(
    sampler: hspace.Sampler, population: Population, kinds: list[int], found: str
) -> None:
    with pytest.raises(HspaceError, match=f"types of shift are 0 to 2, not {found}"):
        network(sampler, population).change(sampler, kinds, [1.0, 1.0])


def test_too_few_types_or_strengths(sampler: hspace.Sampler, population: Population) -> None:
    made = network(sampler, population)
    with pytest.raises(HspaceError, match="2 types of shift, but 1 strengths"):
        made.change(sampler, [0, 1], [1.0])
    for kind in ("global", "block"):
        made = network(sampler, population, kind, "linear")
        with pytest.raises(HspaceError, match="1 types of shift are too few: the run has 3 rows or more"):
            sampler.run(range(3), made.change(sampler, [1], [1.0]))


def rewritten(path: Path, header: dict[str, object], tensors: dict[str, Tensor | None]) -> None:
    old, found = tensorfile.read(path, "hspace-shift-1", "")
    old.pop("format")
    kept = {name: value for name, value in {**found, **tensors}.items() if value is not None}
    tensorfile.write(path, "hspace-shift-1", {**old, **header}, kept)


@pytest.mark.parametrize(
    ("header", "tensors"),
    [
        ({"kind": "local"}, {}),
        ({"kind": "block"}, {}),
        ({"parametrisation": "free"}, {}),
        ({"parametrisation": "linear"}, {}),
        ({"n": 2}, {}),
        ({"n": None}, {}),
        ({"setting": {}}, {}),
        ({}, {"mean": None}),
        ({}, {"shift.parametrizations.weight.original": None}),
        ({}, {"rms": torch.zeros(3)}),
    ],
)
def test_a_damaged_file(
    sampler: hspace.Sampler,
    population: Population,
    tmp_path: Path,
    header: dict[str, object],
    tensors: dict[str, Tensor | None],
) -> None:
    path = tmp_path / "network.safetensors"
    network(sampler, population).save(path)
    rewritten(path, header, tensors)
    with tiny.unchecked_types(), pytest.raises(HspaceError, match=r"network\.safetensors: no readable shift network"):
        ShiftNetwork.load(path)


def test_a_file_of_something_else_with_nan_or_cut_off(
    sampler: hspace.Sampler, population: Population, tmp_path: Path
) -> None:
    path = tmp_path / "network.safetensors"
    made = network(sampler, population)
    made.save(path)
    rewritten(path, {}, {"mean": torch.full_like(population.span.mean, torch.nan)})
    with pytest.raises(HspaceError, match="a shift network with NaN or infinite numbers"):
        ShiftNetwork.load(path)
    made.save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(HspaceError, match=r"network\.safetensors: no readable safetensors file"):
        ShiftNetwork.load(path)
    population.save(path, {})
    with pytest.raises(HspaceError, match="expected a file of format hspace-shift-1, found hspace-population-1"):
        ShiftNetwork.load(path)
