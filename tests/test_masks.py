from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torch import Tensor

from hspace.errors import HspaceError
from hspace.masks import Regions, as_masks, grown

SIZE = (6, 8)


def bright(images: Tensor) -> dict[str, Tensor]:
    """Regions "bright" and "dark"; a picture may have one of them only."""
    positive = images.mean(1) > 0
    return {"bright": positive, "dark": (~positive).float()}


@pytest.fixture
def pictures() -> Tensor:
    images = -torch.ones(2, 3, *SIZE)
    images[0, :, :, :3] = 1.0
    images[1, :, 4:, :] = 1.0
    return images


@pytest.fixture
def corner() -> Tensor:
    mask = torch.zeros(1, *SIZE)
    mask[0, 1:3, 2:8] = 1.0
    return mask


def test_an_array_a_file_a_box_and_its_text_mean_the_same(corner: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "corner.png"
    array = corner[0].numpy()
    Image.fromarray((255 * array).astype(np.uint8)).save(path)
    masks = (corner[0], corner[0].bool(), corner[0].int(), array, array > 0, array.astype(np.float64), path, str(path))
    for mask in (*masks, (2, 1, 8, 3), "2,1,8,3", " 2, 1, 8, 3"):
        read = as_masks(mask, SIZE)
        assert read.dtype == torch.float32
        assert torch.equal(read, corner)


def test_reversed_arrays_are_read(corner: Tensor) -> None:
    assert torch.equal(as_masks(corner[0].numpy()[::-1, ::-1], SIZE), corner.flip(1, 2))


def test_soft_masks_stay_soft_and_are_copied() -> None:
    mask = torch.linspace(0, 1, 48, dtype=torch.float64).reshape(SIZE)
    read = as_masks(mask, SIZE)
    assert torch.equal(read[0], mask.float())
    mask.zero_()
    assert read.max() == 1


def test_grey_levels_of_files_go_from_0_to_1(tmp_path: Path) -> None:
    levels = np.arange(48, dtype=np.uint8).reshape(SIZE) * 5
    Image.fromarray(levels).convert("RGB").save(tmp_path / "levels.png")
    np.testing.assert_allclose(as_masks(tmp_path / "levels.png", SIZE)[0], levels / 255, rtol=1e-6)


@given(seed=st.integers(0, 2**32), scale=st.integers(2, 4))
def test_latent_masks_are_means_over_cells(seed: int, scale: int) -> None:
    mask = torch.rand(3 * scale, 2 * scale, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = mask.reshape(3, scale, 2, scale).mean((1, 3)).float()
    torch.testing.assert_close(as_masks(mask, (3, 2), scale=scale)[0], expected)


def test_boxes_of_latent_models_are_in_pixels_of_the_picture() -> None:
    assert as_masks("4,0,9,8", (2, 3), scale=4).tolist() == [[[0, 1, 0.25], [0, 1, 0.25]]]


def test_a_mask_on_the_models_own_grid_is_taken_as_it_is(corner: Tensor) -> None:
    assert torch.equal(as_masks(corner[0], SIZE, scale=8), corner)


def test_regions_have_one_mask_a_picture(pictures: Tensor) -> None:
    masks = as_masks("bright", SIZE, regions=bright, images=pictures)
    assert masks.dtype == torch.float32
    assert torch.equal(masks, (pictures[:, 0] > 0).float())


def test_regions_are_averaged_to_the_latent_grid(pictures: Tensor) -> None:
    masks = as_masks("bright", (3, 4), scale=2, regions=bright, images=pictures)
    assert masks[0].tolist() == [[1, 0.5, 0, 0]] * 3
    assert masks[1].tolist() == [[0] * 4, [0] * 4, [1] * 4]


def test_no_pictures_give_no_masks(pictures: Tensor) -> None:
    assert as_masks("bright", SIZE, regions=bright, images=pictures[:0]).shape == (0, *SIZE)


def test_a_box_comes_before_a_region_and_a_region_before_a_file(
    corner: Tensor, pictures: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray((255 * corner[0].numpy()).astype(np.uint8)).save(tmp_path / "bright", "png")
    (tmp_path / "bright").rename(tmp_path / "2,1,8,3")
    assert as_masks("2,1,8,3", SIZE).sum() == 12
    (tmp_path / "2,1,8,3").rename(tmp_path / "bright")
    assert as_masks("bright", SIZE, regions=bright, images=pictures).shape == (2, *SIZE)
    assert torch.equal(as_masks("bright", SIZE), corner)
    assert torch.equal(as_masks(Path("bright"), SIZE, regions=bright, images=pictures), corner)


def boxes_are_regions(images: Tensor) -> dict[str, Tensor]:
    return {"0,0,1,1": torch.ones(len(images), *SIZE)}


def test_a_box_is_a_box_even_if_a_region_has_its_name(pictures: Tensor) -> None:
    assert as_masks("0,0,1,1", SIZE, regions=boxes_are_regions, images=pictures).sum() == 1


def test_any_function_of_pictures_will_do_for_regions() -> None:
    assert isinstance(bright, Regions)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(8, 6), r"mask has shape \(8, 6\), expected \(6, 8\)$"),
        (torch.ones(1, 6, 8), r"mask has shape \(1, 6, 8\), expected \(6, 8\)$"),
        (torch.zeros(6, 8), "mask is empty: it has no pixel above 0"),
        (np.zeros((6, 8), bool), "mask is empty"),
        (torch.full((6, 8), 1.5), r"mask has values from 1.5 to 1.5, expected \[0, 1\]"),
        (np.eye(6, 8) - 0.5, r"mask has values from -0.5 to 0.5, expected \[0, 1\]"),
        (np.full((6, 8), 255, np.uint8), r"mask has values from 255 to 255, expected \[0, 1\]"),
        (torch.full((6, 8), torch.nan), r"mask has values that are not finite, expected \[0, 1\]"),
        (np.full((6, 8), np.inf), "mask has values that are not finite"),
        (torch.ones(6, 8, dtype=torch.complex64), "mask must be an array of bool or of numbers .* not of .*complex64"),
        (np.full((6, 8), "x"), "mask must be an array of bool or of numbers"),
        ((0, 0, 9, 6), "box 0,0,9,6: expected 0 <= x0 < x1 <= 8 and 0 <= y0 < y1 <= 6"),
        ("0,0,8,7", "box 0,0,8,7: expected 0 <= x0 < x1 <= 8"),
        ("-1,0,8,6", "box -1,0,8,6: expected 0 <= x0"),
        ("4,0,4,6", "box 4,0,4,6: expected 0 <= x0 < x1"),
        ("0,5,8,2", "box 0,5,8,2: expected .* 0 <= y0 < y1"),
        ("0,0,8", "mask '0,0,8' is no box x0,y0,x1,y1, no region, .* and no existing file"),
        ("mouth", "mask 'mouth' is no box x0,y0,x1,y1, no region, since no regions were given, and no existing file"),
        (Path("no/mask.png"), r"mask no.mask\.png: there is no such file"),
    ],
)
def test_bad_masks_are_one_clear_line(mask: object, message: str) -> None:
    with pytest.raises(HspaceError, match=message) as caught:
        as_masks(mask, SIZE)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_both_sizes_of_a_latent_model_are_said() -> None:
    with pytest.raises(HspaceError, match=r"\(6, 7\), expected \(48, 64\) \(the picture\) or \(6, 8\) \(the model's"):
        as_masks(torch.ones(6, 7), SIZE, scale=8)


def test_broken_files_are_named(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(whole[:60])
    (tmp_path / "flipped.png").write_bytes(whole[:45] + bytes([whole[45] ^ 255]) + whole[46:])
    for name in ("text.png", "cut.png", "flipped.png"):
        for path in (tmp_path / name, str(tmp_path / name)):
            with pytest.raises(HspaceError, match=rf"mask .*{name} is no readable image") as caught:
                as_masks(path, SIZE)
            assert "\n" not in str(caught.value)
    with pytest.raises(HspaceError, match=r"mask .*whole\.png has shape \(6, 8\), expected \(5, 5\)"):
        as_masks(tmp_path / "whole.png", (5, 5))


def test_files_of_16_bits_are_refused_not_cut_off(tmp_path: Path) -> None:
    Image.fromarray(np.full(SIZE, 300, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(HspaceError, match=r"deep\.png has more than 8 bits a pixel \(mode I;16\), expected 8"):
        as_masks(tmp_path / "deep.png", SIZE)


def test_bad_regions_are_one_clear_line(pictures: Tensor) -> None:
    with pytest.raises(HspaceError, match=r"mask 'mouth' is no box .*, no region of bright, dark, and no existing"):
        as_masks("mouth", SIZE, regions=bright, images=pictures)
    with pytest.raises(HspaceError, match=r"mask 'bright' may be a region, .* expected images, found none"):
        as_masks("bright", SIZE, regions=bright)
    pictures[1] = -1.0
    with pytest.raises(HspaceError, match="region 'bright' is empty in 1 of 2 pictures, first in row 1"):
        as_masks("bright", SIZE, regions=bright, images=pictures)
    with pytest.raises(HspaceError, match=r"region 'dark' has shape \(2, 6, 8\), expected \(2, 12, 16\) .* or \(2, 3"):
        as_masks("dark", (3, 4), scale=4, regions=bright, images=pictures)


def one_for_all(images: Tensor) -> dict[str, Tensor]:
    return {"all": torch.ones(1, *SIZE)}


def test_a_region_without_a_mask_for_each_picture_is_refused(pictures: Tensor) -> None:
    with pytest.raises(HspaceError, match=r"region 'all' has shape \(1, 6, 8\), expected \(2, 6, 8\)"):
        as_masks("all", SIZE, regions=one_for_all, images=pictures)


@given(seed=st.integers(0, 2**32), pixels=st.integers(0, 4), leading=st.sampled_from([(), (3,), (2, 2), (0,)]))
def test_growing_is_scipys_dilation(seed: int, pixels: int, leading: tuple[int, ...]) -> None:
    masks = torch.rand(*leading, 7, 9, generator=torch.Generator().manual_seed(seed)) ** 4
    found = grown(masks, pixels)
    assert found.shape == masks.shape
    for mask, dilated in zip(masks.reshape(-1, 7, 9), found.reshape(-1, 7, 9), strict=True):
        side = 2 * pixels + 1
        np.testing.assert_array_equal(dilated, ndimage.grey_dilation(mask.numpy(), size=(side, side), mode="nearest"))


def test_masks_do_not_shrink() -> None:
    with pytest.raises(HspaceError, match="masks grow by 0 pixels or more, not -1"):
        grown(torch.ones(4, 4), -1)
