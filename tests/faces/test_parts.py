from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from hspace.faces import BINARY, FACTORS, IMAGE_SIZE, PARTS, RANGES, parts, render, sample_factors
from hspace.faces.portraits import DRAWN, stages

ALWAYS = set(PARTS) - {"beard"}
factors = st.fixed_dictionaries(
    {
        name: st.sampled_from([0.0, 1.0]) if name in BINARY else st.floats(low, high)
        for name, (low, high) in RANGES.items()
    }
)


@given(factors=factors)
def test_every_part_of_any_portrait_shows_and_beards_only_where_there_is_one(factors: dict[str, float]) -> None:
    masks = parts(factors)
    assert tuple(masks) == PARTS
    assert {(mask.shape, mask.dtype) for mask in masks.values()} == {((IMAGE_SIZE, IMAGE_SIZE), np.dtype(bool))}
    assert all(masks[name].any() for name in ALWAYS)
    assert masks["beard"].any() == (factors["beard"] == 1)


@given(factors=factors)
def test_parts_tile_the_picture_and_the_face_is_what_is_on_the_head(factors: dict[str, float]) -> None:
    masks = parts(factors)
    disjoint = [mask for name, mask in masks.items() if name != "face"]
    np.testing.assert_array_equal(np.sum(disjoint, axis=0), 1)
    on_the_head = [masks[name] for name in ("eyes", "mouth", "beard", "nose", "skin")]
    np.testing.assert_array_equal(masks["face"], np.any(on_the_head, axis=0))


# A change of a factor that belongs to one part changes the picture there and nowhere else, up to the two pixels over
# which the picture is reduced. Not at all by other means: the oracle is the finished picture.
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("name", "values", "part"),
    [
        ("brow", (-1.0, 1.0), "eyes"),
        ("glasses", (0.0, 1.0), "eyes"),
        ("smile", (-1.0, 1.0), "mouth"),
        ("mouth_open", (0.0, 1.0), "mouth"),
        ("beard", (0.0, 1.0), "beard"),
        ("hair_length", (0.0, 1.0), "hair"),
        ("skin", (0.0, 1.0), "skin"),
    ],
)
def test_a_factor_changes_the_picture_where_its_part_is(
    seed: int, name: str, values: tuple[float, float], part: str
) -> None:
    ends = [sample_factors(seed) | {"age": 0.2, "mouth_open": 0.2, name: value} for value in values]
    changed = np.abs(np.subtract(*(render(end).astype(float) for end in ends))).max(-1) > 12
    masks = [parts(end) for end in ends]
    mask = masks[0][part] | masks[1][part]
    if name == "skin":  # that of the neck, the nose and the rim of a beard too
        mask |= masks[0]["body"] | masks[0]["face"]
    reach = ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=2)
    assert changed.any()
    assert (changed & ~reach).sum() == 0


def test_later_parts_cover_earlier_ones() -> None:
    plain = sample_factors(1) | {"glasses": 0.0}
    without, with_glasses = parts(plain), parts(plain | {"glasses": 1.0})
    assert without["eyes"][with_glasses["skin"]].sum() == 0
    assert (with_glasses["eyes"] & without["skin"]).sum() > 20  # the frame, over skin


PART_OF = {"back_hair": "hair", "body": "body", "head": "skin", "fringe": "hair", "glasses": "eyes"}


@pytest.mark.parametrize("seed", range(10))
def test_pixels_drawn_wholly_and_for_the_last_time_are_the_parts_own_wrinkles_aside(seed: int) -> None:
    factors = sample_factors(seed)
    names, images = zip(*((name, np.array(image)) for name, image in stages(factors)), strict=True)
    masks = parts(factors)
    changes = {name: (images[i + 1] != images[i]).any(-1) for i, name in enumerate(names[1:])}
    del changes["wrinkles"]  # lines on what is there already, such as the folds beside the nose
    later = np.zeros((64, 64), bool)
    for name, change in reversed(changes.items()):
        cells = change.reshape(64, 4, 64, 4)
        assert masks[PART_OF.get(name, name)][cells.all((1, 3)) & ~later].all(), name
        later |= cells.any((1, 3))
    assert masks["background"][~later].all()


def test_stages_end_with_the_portrait_without_its_light() -> None:
    factors = sample_factors(3) | {"light": 0.0}
    names, images = zip(*((name, np.array(image)) for name, image in stages(factors)), strict=True)
    assert names == ("background", *DRAWN)
    assert len(np.unique(images[0].reshape(-1, 3), axis=0)) == 1
    blocks = images[-1].reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(blocks - render(factors)).mean() < 3  # another filter than the picture's


def test_bad_factors_are_named() -> None:
    with pytest.raises(ValueError, match="factor yaw must lie in"):
        parts(dict.fromkeys(FACTORS, 0.0) | {"yaw": math.nan})
