from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

import hspace
from hspace.directions import Direction, Directions
from hspace.plot import singular_values, spectrum

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


def found(
    sampler: hspace.Sampler,
    values: Mapping[tuple[int, int], float],  # of timestep and component
    sample: str | int | None = None,
    missed: tuple[tuple[int, int], ...] = (),
) -> list[Direction]:
    items = []
    for (timestep, component), value in values.items():
        origin: dict[str, Any] = {"method": "jacobian", "timestep": timestep, "component": component}
        origin |= {"singular_value": value, "converged": (timestep, component) not in missed}
        origin |= {} if sample is None else {"sample": sample}
        name = f"{sample}-t{timestep}-{component}"
        items.append(Direction(torch.ones(STEPS, 4, 8, 8), sampler.setting(), name, origin))
    return items


def curves_of(figure: Figure) -> list[Line2D]:
    return [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]


def marks_of(figure: Figure) -> list[tuple[float, float, str, bool]]:
    """x, y, shape, and whether it is filled, of every point."""
    marks = []
    for line in figure.axes[0].lines:
        filled = to_rgba(str(line.get_markerfacecolor())) == to_rgba(str(line.get_color()))
        points = np.asarray(line.get_xydata(), dtype=float) if line.get_linestyle() == "None" else np.zeros((0, 2))
        marks += [(float(x), float(y), str(line.get_marker()), filled) for x, y in points]
    return sorted(marks)


def legend_of(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def points_of(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata(), dtype=float)]


def test_a_curve_of_singular_values_for_each_component(sampler: hspace.Sampler) -> None:
    values = {(100, 0): 0.8, (100, 1): 0.5, (900, 0): 0.02, (900, 1): 0.01, (500, 1): 0.2, (500, 0): 0.3}
    figure = singular_values(Directions(found(sampler, values)))
    first, second = curves_of(figure)
    assert points_of(first) == [(900, 0.02), (500, 0.3), (100, 0.8)]
    assert points_of(second) == [(900, 0.01), (500, 0.2), (100, 0.5)]
    assert first.get_color() != second.get_color()
    assert marks_of(figure) == sorted((t, value, "o", True) for (t, _), value in values.items())
    assert legend_of(figure) == ["component 0", "component 1"]
    (axes,) = figure.axes
    assert axes.get_xlim()[0] > axes.get_xlim()[1]  # sampling goes from left to right
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] < 0.01
    assert axes.get_ylim()[1] > 0.8
    assert axes.get_xlabel()
    assert axes.get_ylabel()


@pytest.mark.parametrize("samples", [("s3", "s7", "s8"), (3, 7, 8), (0, 1, 2)])
def test_samples_are_thin_lines_of_one_colour_per_component(
    sampler: hspace.Sampler, samples: tuple[str | int, ...]
) -> None:
    items = []
    for i, sample in enumerate(samples):
        items += found(sampler, {(t, j): (1 + i) / (1 + j) / t for t in (900, 100) for j in range(2)}, sample)
    several, single = curves_of(singular_values(Directions(items))), curves_of(singular_values(Directions(items[:4])))
    assert [points_of(line) for line in several] == [
        [(t, (1 + i) / (1 + j) / t) for t in (900, 100)] for j in range(2) for i in range(3)
    ]
    assert len({line.get_color() for line in several[:3]}) == len({line.get_color() for line in several[3:]}) == 1
    assert several[0].get_color() != several[3].get_color()
    assert several[0].get_linewidth() < single[0].get_linewidth()


def test_what_did_not_converge_is_hollow(sampler: hspace.Sampler) -> None:
    items = found(sampler, {(900, 0): 0.1, (500, 0): 0.2, (100, 0): 0.3}, missed=((500, 0),))
    figure = singular_values(Directions(items))
    assert marks_of(figure) == [(100, 0.3, "o", True), (500, 0.2, "o", False), (900, 0.1, "o", True)]
    assert legend_of(figure) == ["component 0", "not converged"]


@pytest.mark.parametrize("tiny", [1e-7, 1e-300, 0.0])
def test_tiny_values_stand_at_the_edge(sampler: hspace.Sampler, tiny: float) -> None:
    """They neither squeeze the others together nor drop out."""
    items = found(sampler, {(999, 0): tiny, (998, 0): tiny, (100, 0): 0.5}, missed=((998, 0),))
    figure = singular_values(Directions(items))
    edge = figure.axes[0].get_ylim()[0]
    assert edge == pytest.approx(0.5e-3)
    assert marks_of(figure) == [(100, 0.5, "o", True), (998, edge, "v", False), (999, edge, "v", True)]
    assert legend_of(figure) == ["component 0", "not converged", "below 5e-04"]


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_single_point_is_drawn(sampler: hspace.Sampler, value: float, tmp_path: Path) -> None:
    figure = singular_values(Directions(found(sampler, {(500, 0): value})))
    legend = figure.axes[0].get_legend()
    assert legend is not None
    legend.remove()
    figure.savefig(tmp_path / "values.png")
    with Image.open(tmp_path / "values.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert (pixels[..., 2] > pixels[..., 0] + 80).any()  # a point of the first colour, blue


def test_the_first_10_components_are_shown(sampler: hspace.Sampler) -> None:
    figure = singular_values(Directions(found(sampler, {(500, j): 1 / (1 + j) for j in range(13)})))
    assert legend_of(figure) == [f"component {j}" for j in range(10)]
    assert len(marks_of(figure)) == 10


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ({"method": "pca", "component": 0}, "'pc0', found by 'pca', has no singular value"),
        ({}, "'pc0', of unknown origin, has no singular value"),
        ({"singular_value": float("nan"), "timestep": 1, "component": 0}, "singular value of nan"),
        ({"singular_value": -1.0, "timestep": 1, "component": 0}, "singular value of -1.0"),
        ({"singular_value": "0.1", "timestep": 1, "component": 0}, "singular value of '0.1'"),
        ({"singular_value": 0.1, "component": 0}, "'pc0' does not know its timestep"),
        ({"singular_value": 0.1, "timestep": 1}, "'pc0' does not know its timestep and component"),
    ],
)
def test_directions_without_singular_values_are_named(
    sampler: hspace.Sampler, origin: dict[str, Any], message: str
) -> None:
    other = Direction(torch.ones(STEPS, 4, 8, 8), sampler.setting(), "pc0", origin)
    with pytest.raises(hspace.HspaceError, match=message):
        singular_values(Directions([*found(sampler, {(500, 0): 0.5}), other]))
