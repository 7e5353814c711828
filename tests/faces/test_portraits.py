from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hspace.faces import BINARY, FACTORS, IMAGE_SIZE, RANGES, render, render_seeds, sample_factors

MIDDLE = {name: 0.0 if name in BINARY else (low + high) / 2 for name, (low, high) in RANGES.items()}


def test_image_is_64_rgb_uint8() -> None:
    image = render(sample_factors(0))
    assert image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3) == (64, 64, 3)
    assert image.dtype == np.uint8
    assert image.std() > 20  # a picture, not a plane


@settings(max_examples=10)
@given(seeds=st.lists(st.integers(0, 2**31), min_size=1, max_size=4), independent=st.booleans())
def test_a_portrait_is_its_seed_whatever_is_drawn_before_it(seeds: list[int], independent: bool) -> None:
    forwards = render_seeds(seeds, independent=independent)
    backwards = render_seeds(reversed(seeds), independent=independent)
    np.testing.assert_array_equal(forwards, backwards[::-1])
    np.testing.assert_array_equal(forwards[-1], render(sample_factors(seeds[-1], independent=independent)))


def test_no_seeds_give_no_images() -> None:
    assert render_seeds([]).shape == (0, 64, 64, 3)


@pytest.mark.parametrize("name", FACTORS)
def test_each_factor_changes_the_picture(name: str) -> None:
    low, high = RANGES[name]
    values = (low, high) if name in BINARY else (0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high)
    one, other = (render(MIDDLE | {name: value}).astype(float) for value in values)
    assert np.abs(one - other).max() > 30
    assert np.abs(one - other).mean() > 0.3


@pytest.mark.parametrize("name", [name for name in FACTORS if name not in BINARY])
def test_small_changes_of_a_factor_make_small_changes_of_the_picture(name: str) -> None:
    low, high = RANGES[name]
    frames = np.stack([render(MIDDLE | {name: value}) for value in np.linspace(low, high, 41)]).astype(float)
    whole = np.abs(frames - frames[0]).mean(axis=(1, 2, 3)).max()
    assert np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)).max() < 0.25 * whole


def test_mirrored_factors_draw_the_mirrored_picture() -> None:
    factors = sample_factors(7)
    mirrored = render(factors | {"yaw": -factors["yaw"], "light": -factors["light"]})[:, ::-1]
    assert np.abs(render(factors).astype(float) - mirrored).mean() < 4  # rounding to pixels is not symmetric


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"yaw": 1.5}, r"factor yaw must lie in \[-1, 1\], not 1.5"),
        ({"age": -0.01}, r"factor age must lie in \[0, 1\], not -0.01"),
        ({"skin": math.nan}, r"factor skin must lie in \[0, 1\], not nan"),
        ({"hat": 1.0}, "missing or unknown: hat"),
    ],
)
def test_bad_factors_are_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render(sample_factors(0) | change)


def test_a_missing_factor_is_named() -> None:
    factors = sample_factors(0)
    del factors["brow"]
    with pytest.raises(ValueError, match="missing or unknown: brow"):
        render(factors)
