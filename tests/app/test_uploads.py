"""What visitors send: photos within the limits, directions and nothing else; the rest is said in one line."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle  # noqa: TID251  (what is refused)
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from tests import tiny
from tests.app.wire import API, Wire, file_data
from tests.browser import Open

import hspace
from hspace.app.uploads import FORMATS, MAX_BYTES, MAX_PIXELS, MAX_UPLOAD, read_photo
from hspace.app.visitor import Visitor
from hspace.directions import Directions
from hspace.errors import HspaceError
from hspace.photos import read_photos

WIDE = (6000, 5000)  # 30 megapixels
SHAPE = (3, 8, 8)
SMALL = {256: (4, 8), 257: (4, 8), 258: (3, 8), 259: (3, 8), 262: (3, 1), 277: (3, 1)}  # a TIFF: 8 x 8, grey, deflate


def picture(kind: str, size: tuple[int, int] = (9, 7), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 0).save(file, kind)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"", *others: bytes) -> bytes:
    """With any size in its header, whatever the data are."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join([b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *others, chunk(b"IDAT", data), chunk(b"IEND", b"")])


def rewritten(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) == 1
    return content.replace(old, new)


def tiff(tags: dict[int, tuple[int, int]], data: bytes) -> bytes:
    """Little-endian; data begin at byte 8."""
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def wide_webp() -> bytes:
    """16383 x 16383 pixels of nothing: a canvas of 1 GB, by the header of an animation alone."""
    frame = picture("WEBP")[12:]
    canvas = b"\x02\0\0\0" + (16382).to_bytes(3, "little") * 2
    position = bytes(6) + (8).to_bytes(3, "little") + (6).to_bytes(3, "little") + bytes(4)
    parts = [(b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", position + frame)]
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data for name, data in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


BOMBS: dict[str, Callable[[], bytes]] = {
    "zeros.png": lambda: picture("PNG", WIDE, "L"),
    "zeros.gif": lambda: picture("GIF", WIDE, "L"),
    "zeros.jpg": lambda: picture("JPEG", WIDE, "L"),
    "zeros.bmp": lambda: picture("BMP", WIDE, "1"),
    "zeros.tiff": lambda: picture("TIFF", WIDE, "1"),
    "header.png": lambda: png(6000, 5000),
    "long.png": lambda: png(2**31 - 1, 1),
    "huge.png": lambda: png(2**31 - 1, 2**31 - 1),
    "header.gif": lambda: rewritten(picture("GIF"), b"GIF87a\x09\0\x07\0", b"GIF87a\xff\xff\xff\xff"),
    "header.bmp": lambda: rewritten(picture("BMP"), struct.pack("<ii", 9, 7), struct.pack("<ii", 60000, 60000)),
    "canvas.webp": wide_webp,
    "tiny.tiff": lambda: tiff(SMALL | {322: (4, 20000), 323: (4, 20000), 324: (4, 8), 325: (4, 8)}, bytes(8)),
}


@functools.cache
def bomb(name: str) -> bytes:
    return BOMBS[name]()


@pytest.mark.parametrize("name", BOMBS)
def test_more_pixels_than_the_limit_are_refused_by_the_header(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(bomb(name))
    assert file.stat().st_size < 5 * 2**20
    with pytest.raises(HspaceError, match=r"^[a-z.]+: no readable picture \(.*(25 megapixels|bomb)") as error:
        read_photo(file, SHAPE)
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory in kilobytes, as Linux counts")
def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """All of them and three that get past the header, in a process whose peak is measured."""
    bombs = {name: bomb(name) for name in BOMBS}
    zeros = zlib.compress(bytes(100 * 2**20), 1)
    tile = {322: (4, 20000), 323: (4, 20000), 324: (4, 8), 325: (4, len(zeros))}
    strip = {273: (4, 8), 278: (4, 2**31), 279: (4, len(zeros))}
    bombs |= {"tile.tiff": tiff(SMALL | tile, zeros), "strip.tiff": tiff(SMALL | strip, zeros)}
    bombs["text.png"] = png(8, 8, zlib.compress(bytes(25 * 8)), chunk(b"zTXt", b"x\0\0" + zeros))
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
    code = """
import resource, sys
from pathlib import Path
from hspace.app.uploads import read_photo
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
for file in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_photo(file, (3, 8, 8))
    except ValueError as error:
        assert file.name in str(error), error
    if peak() - before > 60:
        sys.exit(f"{file.name}: {peak() - before} MB")
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", FORMATS)
def test_pictures_of_the_usual_formats_are_read(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "photo"
    file.write_bytes(picture(kind, (12, 8), "RGB"))
    assert torch.equal(read_photo(file, SHAPE), read_photos([file], SHAPE))


def test_the_limit_itself_is_within_it(tmp_path: Path) -> None:
    for height, fits in ((5, True), (6, False)):
        Image.new("1", (MAX_PIXELS // 5, height)).save(tmp_path / "long.png")
        if fits:
            assert read_photo(tmp_path / "long.png", SHAPE).shape == (1, 3, 8, 8)
        else:
            with pytest.raises(HspaceError, match=r"5000000 x 6 pixels, the limit is 25 megapixels"):
                read_photo(tmp_path / "long.png", SHAPE)


@pytest.mark.parametrize("kind", ["TGA", "PPM", "PCX", "ICO", "SGI", "DDS", "EPS"])
def test_other_formats_are_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(picture(kind))
    with pytest.raises(HspaceError, match=r"^photo.png: no readable picture \(cannot identify"):
        read_photo(file, SHAPE)


def test_a_file_that_is_too_large_or_gone(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    with file.open("wb") as opened:
        opened.truncate(MAX_BYTES + 1)
    with pytest.raises(HspaceError, match=r"^photo.png: 20.0 MB, the limit is 20 MB$"):
        read_photo(file, SHAPE)
    file.unlink()
    with pytest.raises(HspaceError, match=r"^photo.png: can't be read any more"):
        read_photo(file, SHAPE)


def test_max_pixels_and_formats_are_of_read_photos_too(tmp_path: Path) -> None:
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    assert read_photos([tmp_path / "a.png"], SHAPE, max_pixels=100, formats=("PNG",)).shape == (1, 3, 8, 8)
    with pytest.raises(HspaceError, match=r"10 x 10 pixels, the limit is 9.9e-05 megapixels"):
        read_photos([tmp_path / "a.png"], SHAPE, max_pixels=99)
    with pytest.raises(HspaceError, match="cannot identify"):
        read_photos([tmp_path / "a.png"], SHAPE, formats=("JPEG",))


@pytest.mark.parametrize("length", [MAX_BYTES + 1, 3 * MAX_BYTES, MAX_UPLOAD, MAX_UPLOAD + 2**20])
def test_an_upload_beyond_the_limit_gets_413(wire: Wire, length: int) -> None:
    """By Gradio for a file, by the guard for all together; the answer arrives although it comes early."""
    assert wire.http.post(f"{API}/upload", files={"files": ("big.png", bytes(length))}).status_code == 413


def test_many_files_that_are_too_much_together(wire: Wire) -> None:
    files = [("files", (f"{i}.png", bytes(MAX_BYTES // 2))) for i in range(9)]
    assert wire.http.post(f"{API}/upload", files=files).status_code == 413
    assert len(wire.http.post(f"{API}/upload", files=files[:3]).json()) == 3


def test_an_upload_of_unknown_length_is_refused(wire: Wire) -> None:
    pieces = (bytes(2**20) for _ in range(3))
    form = {"content-type": "multipart/form-data; boundary=x"}
    assert wire.http.post(f"{API}/upload", content=pieces, headers=form).status_code == 411


def test_an_upload_at_the_limit_is_taken(wire: Wire) -> None:
    assert Path(wire.upload("big.png", bytes(MAX_BYTES))).stat().st_size == MAX_BYTES


def test_the_browser_says_that_an_upload_is_too_large(visit: Open, app: gr.Blocks, tmp_path: Path) -> None:
    """And that a photo has too many pixels."""
    seen = visit(app.local_url)
    seen.page.wait_for_function("document.querySelector('#words')?.innerText.includes('picture in')", timeout=15_000)
    seen.page.click("text=Your photo")
    (tmp_path / "big.png").write_bytes(bytes(MAX_BYTES + 1))
    seen.page.set_input_files("#photo input[type=file]", tmp_path / "big.png")
    seen.page.wait_for_selector(".toast-body", timeout=15_000)
    assert "exceed the maximum allowed size of 20" in seen.page.inner_text(".toast-body")
    seen.page.reload()
    seen.page.wait_for_function("document.querySelector('#words')?.innerText.includes('picture in')", timeout=15_000)
    seen.page.click("text=Your photo")
    (tmp_path / "wide.png").write_bytes(bomb("header.png"))
    seen.page.set_input_files("#photo input[type=file]", tmp_path / "wide.png")
    seen.page.wait_for_selector(".toast-body", timeout=15_000)
    assert "wide.png: no readable picture (6000 x 5000 pixels" in seen.page.inner_text(".toast-body")


class Malice:
    """Unpickled, it would leave a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (os.mkdir, (self.file,))


def zipped(file: Path) -> bytes:
    """As torch.save writes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Malice(file)))
    return content.getvalue()


def of_another_model() -> bytes:
    other = hspace.Sampler(tiny.denoiser(seed=1), 6, 0.0, batch_size=1)
    return _saved(hspace.random_directions(other.setting(), [1.0] * 6))


def _saved(directions: Directions) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        directions.save(Path(folder) / "x.safetensors")
        return (Path(folder) / "x.safetensors").read_bytes()


def header(length: int, text: bytes = b"{}") -> bytes:
    return struct.pack("<Q", length) + text


WRONG: dict[str, Callable[[Path, bytes], bytes]] = {
    "a pickle": lambda mark, _: pickle.dumps(Malice(mark)),
    "a zip": lambda mark, _: zipped(mark),
    "nothing": lambda *_: b"",
    "cut off": lambda _, real: real[:-7],
    "cut off in the header": lambda _, real: real[:100],
    "a header of 8 EB": lambda *_: header(2**63 - 1),
    "a header of 90 MB": lambda *_: header(90 * 2**20),
    "a header of nothing": lambda *_: header(0, b""),
    "no JSON": lambda *_: header(4, b"null"),
    "deep JSON": lambda *_: header(100_000, b"[" * 100_000),
    "tensors alone": lambda *_: save({"x": torch.zeros(3)}),
    "another format": lambda *_: save({"x": torch.zeros(3)}, {"hspace": '{"format": "hspace-inversion"}'}),
    "a header of another kind": lambda *_: save({"x": torch.zeros(3)}, {"hspace": "[]"}),
    "no JSON in the header": lambda *_: save({"x": torch.zeros(3)}, {"hspace": "{"}),
    "deep JSON in the header": lambda *_: save({"x": torch.zeros(3)}, {"hspace": "[" * 100_000}),
    "a format without the rest": lambda _, real: _emptied(real),
    "numbers that are none": lambda _, real: _poisoned(real),
    "another model": lambda *_: of_another_model(),
    "a picture": lambda *_: picture("PNG"),
}


def _parts(real: bytes) -> tuple[dict[str, object], bytes]:
    (length,) = struct.unpack("<Q", real[:8])
    found: dict[str, object] = json.loads(real[8 : 8 + length])
    return found, real[8 + length :]


def _emptied(real: bytes) -> bytes:
    metadata = _parts(real)[0]["__metadata__"]
    assert isinstance(metadata, dict)
    kind = json.loads(metadata["hspace"])["format"]
    return save({"x": torch.zeros(3)}, {"hspace": json.dumps({"format": kind})})


def _poisoned(real: bytes) -> bytes:
    head, data = _parts(real)
    text = json.dumps(head).encode()
    return header(len(text), text) + np.full(len(data) // 4, np.nan, np.float32).tobytes()


def visitor_of(wire: Wire, app: gr.Blocks) -> Visitor:
    state = app.app.state_holder.session_data[wire.session].state_data
    (found,) = (value for value in state.values() if isinstance(value, Visitor))
    return found


@pytest.mark.parametrize("what", WRONG)
def test_directions_are_safetensors_of_this_model_or_a_line_says_what_they_are(
    what: str, wire: Wire, app: gr.Blocks, folder: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "unpickled"
    content = WRONG[what](mark, (folder / "pcs.safetensors").read_bytes())
    state = visitor_of(wire, app)
    before = tuple(state.library)
    upload = wire.upload("mine.safetensors", content)
    output = wire.results(wire.event("upload", "add"), [None, [file_data(upload)], 0])
    assert "not your doing" not in output["error"]
    assert ".safetensors" in output["error"] or what == "another model"
    assert "\n" not in output["error"].strip()
    assert str(state.folder) not in output["error"]
    assert not list(state.folder.iterdir())
    assert tuple(state.library) == before
    assert not mark.exists()


@pytest.mark.parametrize("name", ["mine.pkl", "mine.pt", "mine.safetensors.zip", "mine"])
def test_directions_under_another_ending_are_refused(name: str, wire: Wire, folder: Path) -> None:
    upload = wire.upload(name, (folder / "pcs.safetensors").read_bytes())
    assert "safetensors" in wire.results(wire.event("upload", "add"), [None, [file_data(upload)], 0])["error"]


def test_directions_of_the_model_are_added(wire: Wire, app: gr.Blocks, folder: Path) -> None:
    upload = wire.upload("mine.safetensors", (folder / "pcs.safetensors").read_bytes())
    assert "error" not in wire.results(wire.event("upload", "add"), [None, [file_data(upload)], 0])
    assert tuple(visitor_of(wire, app).library)[3:] == ("pc0 (2)", "pc1 (2)", "pc2 (2)")


@pytest.mark.parametrize("name", ["header.png", "canvas.webp", "zeros.jpg"])
def test_a_photo_of_too_many_pixels_is_told_to_the_visitor(wire: Wire, name: str) -> None:
    upload = wire.upload(name, bomb(name))
    error = wire.results(wire.event("upload", "photo"), [None, file_data(upload)])["error"]
    assert error.startswith(f"{name}: no readable picture (")
    assert "/" not in error
