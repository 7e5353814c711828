from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

import hspace
from hspace.directions import Direction, Directions
from hspace.plot import spectrum

STEPS = 2


def pcs_of(sampler: hspace.Sampler, k: int, *, measured: bool) -> Directions:
    items = [Direction((i + 1) * torch.ones(STEPS, 4, 8, 8), sampler.setting(), f"pc{i}") for i in range(k)]
    shares = torch.rand(STEPS, k, generator=torch.Generator().manual_seed(0))
    return Directions(items, {"explained_variance_ratio": shares} if measured else {})


def assert_shows(axes: Axes, timesteps: tuple[int, ...], values: torch.Tensor, names: tuple[str, ...]) -> None:
    assert [line.get_label() for line in axes.lines] == list(names)
    for line, value in zip(axes.lines, values.T, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), timesteps)
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), value, rtol=1e-6)
    first, last = axes.get_xlim()
    assert first > last  # sampling goes from left to right
    assert axes.get_ylim()[0] == 0
    assert axes.get_xlabel()
    assert axes.get_ylabel()


@pytest.mark.parametrize(("k", "shown"), [(1, 1), (3, 3), (13, 10)])
def test_two_panels_with_a_line_for_each_component(sampler: hspace.Sampler, k: int, shown: int) -> None:
    pcs = pcs_of(sampler, k, measured=True)
    shares, stds = spectrum(pcs).axes
    ratio = pcs.measured["explained_variance_ratio"][:, :shown]
    assert_shows(shares, sampler.timesteps, 100 * ratio, pcs.names[:shown])
    assert_shows(stds, sampler.timesteps, torch.stack([item.norms() for item in pcs[:shown]], 1), pcs.names[:shown])
    legend = stds.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == list(pcs.names[:shown])


def test_without_measured_variance_there_is_one_panel(sampler: hspace.Sampler) -> None:
    pcs = pcs_of(sampler, 2, measured=False)
    (stds,) = spectrum(pcs).axes
    assert_shows(stds, sampler.timesteps, torch.stack([item.norms() for item in pcs], 1), pcs.names)


def test_it_is_saved_as_a_picture(sampler: hspace.Sampler, tmp_path: Path) -> None:
    spectrum(pcs_of(sampler, 3, measured=True)).savefig(tmp_path / "spectrum.png")
    with Image.open(tmp_path / "spectrum.png") as image:
        assert image.size == (1320, 504)
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10
