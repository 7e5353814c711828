from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hspace import HspaceError
from hspace.photos import Fit, photo_files, read_photos, readable

SHAPE = (3, 16, 16)


def picture(width: int = 16, height: int = 16) -> Image.Image:
    """Red falls from left to right, green from top to bottom."""
    x, y = np.meshgrid(np.linspace(255, 0, width), np.linspace(255, 0, height))
    return Image.fromarray(np.stack([x, y, 0 * x + 40], 2).astype(np.uint8))


def test_a_picture_of_the_right_size_is_read_as_it_is(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    read = read_photos([tmp_path / "a.png"], SHAPE)
    expected = torch.from_numpy(np.array(picture())).permute(2, 0, 1).float() / 127.5 - 1
    assert torch.equal(read[0], expected)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff", "gif"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    picture(64, 64).save(tmp_path / f"a.{suffix}")
    picture(64, 64).save(tmp_path / "exact.png")
    read = read_photos([tmp_path / f"a.{suffix}", tmp_path / "exact.png"], SHAPE)
    assert float((read[0] - read[1]).abs().mean()) < 0.1


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    turned = picture().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 270 degrees counterclockwise
    turned.save(tmp_path / "a.png", exif=exif)
    picture().save(tmp_path / "b.png")
    turned_back, upright = read_photos([tmp_path / "a.png", tmp_path / "b.png"], SHAPE)
    assert torch.equal(turned_back, upright)


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    image = picture().convert("RGBA")
    image.putalpha(0)
    image.save(tmp_path / "a.png")
    assert float(read_photos([tmp_path / "a.png"], SHAPE).min()) == 1.0


def test_grey_and_16_bits_are_read_alike(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 256).reshape(16, 16).round().astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(grey).convert("LA").save(tmp_path / "la.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "p.png")
    read = read_photos([tmp_path / name for name in ("8.png", "16.png", "la.png", "p.png")], SHAPE)
    for other in read[1:]:
        assert torch.equal(other, read[0])
    assert (float(read.min()), float(read.max())) == (-1.0, 1.0)


def test_a_grey_model_gets_luma(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    read = read_photos([tmp_path / "a.png"], (1, 16, 16))
    expected = torch.from_numpy(np.array(picture().convert("L"))).float() / 127.5 - 1
    assert read.shape == (1, 1, 16, 16)
    assert float((read[0, 0] - expected).abs().max()) < 0.01


@pytest.mark.parametrize("fit", ["crop", "fit", "stretch"])
@pytest.mark.parametrize("size", [(64, 16), (16, 64), (5, 9), (300, 201)])
def test_any_size_fits(tmp_path: Path, fit: Fit, size: tuple[int, int]) -> None:
    picture(*size).save(tmp_path / "a.png")
    read = read_photos([tmp_path / "a.png"], SHAPE, fit=fit)
    assert read.shape == (1, *SHAPE)
    red = read[0, 0, 8]  # the middle row
    seen = float(red[0] - red[-1]) / 2  # of the range that the whole width spans
    kept = min(1.0, size[1] / size[0]) if fit == "crop" else 1.0  # a wide picture that is cropped loses its sides
    if fit != "fit" or size[0] >= size[1]:
        assert abs(seen - kept) < 0.2


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "no readable picture"), (b"GIF89a nonsense", "no readable picture")],
)
def test_files_that_are_no_pictures_are_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    picture().save(tmp_path / "good.png")
    if content is not None:
        (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(HspaceError, match=f"bad.png: .*{message}"):
        read_photos([tmp_path / "good.png", tmp_path / "bad.png"], SHAPE)


def test_a_truncated_picture_is_named(tmp_path: Path) -> None:
    picture(64, 64).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-400])
    with pytest.raises(HspaceError, match=r"a.png: no readable picture"):
        read_photos([tmp_path / "a.png"], SHAPE)


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(64, 64).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(HspaceError, match=r"a.png: no readable picture \(Image size"):
        read_photos([tmp_path / "a.png"], SHAPE)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 0.5, np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(HspaceError, match=r"a.tiff: no readable picture \(floating-point pixels"):
        read_photos([tmp_path / "a.tiff"], SHAPE)


def test_nothing_and_nonsense(tmp_path: Path) -> None:
    with pytest.raises(HspaceError, match="at least 1 is needed"):
        read_photos([], SHAPE)
    with pytest.raises(HspaceError, match="1 or 3 channels, the model's have 4"):
        read_photos([tmp_path / "a.png"], (4, 16, 16))


def test_unreadable_files_among_many_are_refused_or_skipped_by_name(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    picture().save(tmp_path / "c.png")
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    with pytest.raises(HspaceError, match=r"b\.png: no readable picture"):
        readable(paths)
    kept, skipped = readable(paths, "skip")
    assert kept == [0, 2]
    assert list(skipped) == [str(paths[1])]
    with pytest.raises(HspaceError, match=r"none of 1 pictures is readable; the first: .*b\.png"):
        readable(paths[1:2], "skip")


def test_the_pictures_of_a_folder_are_told_by_their_names(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in photo_files(tmp_path)] == ["a.JPG", "b.png"]
    with pytest.raises(HspaceError, match="no pictures in this folder"):
        photo_files(tmp_path / "folder.png")
    with pytest.raises(HspaceError, match="expected a folder of pictures, found nothing"):
        photo_files(tmp_path / "nowhere")
    with pytest.raises(HspaceError, match="expected a folder of pictures, found a file"):
        photo_files(tmp_path / "b.png")
