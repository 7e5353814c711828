"""The population of a training on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hspace import tensorfile
from hspace.errors import HspaceError
from hspace.learning import Population, Span


@pytest.mark.parametrize("whole", [False, True])
def test_a_file_gives_it_back(population: Population, tmp_path: Path, whole: bool) -> None:
    span = Span(population.span.mean, population.span.rms) if whole else population.span
    made = Population(population.seeds, population.images, span)
    made.save(tmp_path / "p.safetensors", {"span": 6})
    found = Population.load(tmp_path / "p.safetensors", range(12), {"span": 6})
    assert found.seeds == made.seeds
    assert torch.equal(found.images, made.images)
    for name in ("mean", "rms", "axes", "deviations"):
        there, here = getattr(found.span, name), getattr(span, name)
        assert (there is None and here is None) or torch.equal(there, here)


def test_other_samples(population: Population, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    population.save(path, {"span": 6})
    for seeds, about in ((range(1, 13), {"span": 6}), (range(12), {"span": 7}), (range(11), {"span": 6})):
        with pytest.raises(HspaceError, match=r"p\.safetensors has other samples \(seeds, model, tap, grid or span\)"):
            Population.load(path, seeds, about)


def test_something_missing(population: Population, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    population.save(path, {})
    _, found = tensorfile.read(path, "hspace-population-1", "")
    for name in ("images", "mean", "rms", "seeds"):
        tensorfile.write(path, "hspace-population-1", {"about": {}}, {k: v for k, v in found.items() if k != name})
        with pytest.raises(HspaceError, match=f"'{name}' is missing"):
            Population.load(path, range(12), {})
    path.write_bytes(b"cut")
    with pytest.raises(HspaceError, match=r"p\.safetensors: no readable safetensors file"):
        Population.load(path, range(12), {})
