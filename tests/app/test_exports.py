"""What visitors take home gives the same picture elsewhere: by the recipe, from the shell and by the Python lines."""

from __future__ import annotations

import io
import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from tests import tiny
from tests.cli.conftest import Run

import hspace
from hspace.app import exports
from hspace.app.painter import Painter, Superseded
from hspace.app.visitor import Visitor
from hspace.directions import Directions, Recipe
from hspace.errors import HspaceError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a diffusers folder whose name needs quotes, and two files of directions of one name."""
    folder = tmp_path_factory.mktemp("exports") / "a tiny 'model'"
    tiny.save(folder)
    sampler = hspace.Sampler(hspace.load(folder, device="cpu"), 4, 1.0, batch_size=1)
    found = hspace.PCA(2).fit(sampler, range(8)).directions_
    for name, strength in (("one", 30.0), ("two", -40.0)):
        Directions([(strength * item).renamed(item.name) for item in found]).save(folder / name / "pcs.safetensors")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> hspace.Denoiser:
    return hspace.load(folder, device="cpu")


@pytest.fixture
def painter(model: hspace.Denoiser) -> Painter:
    return Painter(hspace.Sampler(model, 4, 1.0, batch_size=1), 2)


@pytest.fixture
def visitor(painter: Painter, folder: Path) -> Iterator[Visitor]:
    """Three sliders of three files are moved: pc0, pc1 (2), and one that was uploaded."""
    visitor = Visitor(painter.full.setting(), (folder / "one" / "pcs.safetensors", folder / "two" / "pcs.safetensors"))
    upload = folder / "upload.safetensors"
    hspace.random_directions(painter.full.setting(space="noise"), [1.0]).save(upload)
    visitor.library.add(visitor.keep(upload))
    upload.unlink()
    visitor.change(seed=7)
    for slider, strength in (("pc0", 2.0), ("random0", 0.7), ("pc1 (2)", -1.3)):
        visitor.move(slider, strength)
    yield visitor
    visitor.close()


def drawn(visitor: Visitor, painter: Painter) -> torch.Tensor:
    return painter.draw(visitor.scene, visitor.library.directions(), photos=visitor.photos)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def with_photo(visitor: Visitor, painter: Painter, seed: int) -> None:
    noise = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    visitor.photos = {"../my photo": painter.invert(noise, "../my photo")}
    visitor.change(photo="../my photo")


def as_it_is(visitor: Visitor, painter: Painter) -> None:
    pass


def window_and_way(visitor: Visitor, painter: Painter) -> None:
    visitor.change(window=(80, 20), injection="asymmetric")


def renamed(visitor: Visitor, painter: Painter) -> None:
    visitor.rename("pc0", "smile")


def a_photo(visitor: Visitor, painter: Painter) -> None:
    with_photo(visitor, painter, 0)


def another_photo(visitor: Visitor, painter: Painter) -> None:
    """A recipe of one photo was made before."""
    with_photo(visitor, painter, 0)
    exports.recipe(visitor, painter)
    with_photo(visitor, painter, 1)


Prepare = Callable[[Visitor, Painter], None]


@pytest.mark.parametrize("prepare", [as_it_is, window_and_way, renamed, a_photo, another_photo])
def test_a_recipe_gives_the_same_picture_everywhere(
    prepare: Prepare,
    visitor: Visitor,
    painter: Painter,
    model: hspace.Denoiser,
    folder: Path,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In another folder, the visitor and its own gone: bit for bit by the recipe, byte for byte as a PNG."""
    prepare(visitor, painter)
    x_0 = drawn(visitor, painter)
    assert not torch.equal(x_0, drawn_plain(visitor, painter))
    exports.picture(x_0).save(tmp_path / "expected.png")
    expected = (tmp_path / "expected.png").read_bytes()
    home = tmp_path / "home"
    home.mkdir()
    for file in (exports.recipe(visitor, painter), *exports.files(visitor)):
        assert file.parent == visitor.folder
        shutil.copy(file, home)
    shell, python = exports.lines(visitor, model, str(folder))
    visitor.close()
    monkeypatch.chdir(home)

    assert torch.equal(Recipe.load("recipe.json").run(model), x_0)
    arguments = shlex.split(shell)
    assert arguments[0] == "hspace"
    result = run(*arguments[1:])
    assert result.exit_code == 0, result.output
    assert Path("picture.png").read_bytes() == expected
    Path("picture.png").unlink()
    exec(python, {})
    assert Path("picture.png").read_bytes() == expected
    assert {path.name for path in home.iterdir()} >= {"recipe.json", "picture.png"}


def drawn_plain(visitor: Visitor, painter: Painter) -> torch.Tensor:
    return painter.draw(visitor.scene.reset(), {}, photos=visitor.photos)


def test_the_shortest_command_will_do(visitor: Visitor, painter: Painter, folder: Path, run: Run) -> None:
    recipe, expected = exports.recipe(visitor, painter), png(exports.picture(drawn(visitor, painter)))
    result = run("edit", "--recipe", recipe, "--model", folder, "--out", "picture.png", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert Path("picture.png").read_bytes() == expected


def test_a_recipe_names_no_folder_of_the_server(visitor: Visitor, painter: Painter) -> None:
    with_photo(visitor, painter, 0)
    text = exports.recipe(visitor, painter).read_text()
    data = json.loads(text)
    named = [term["file"] for term in data["terms"]] + [data["samples"]["inversion"]]
    assert all("/" not in name and "\\" not in name for name in named)
    assert sorted(set(named)) == sorted(path.name for path in exports.files(visitor))
    assert len(set(named)) == 4  # two of them came under the same name
    assert str(visitor.folder) not in text


def test_exports_again_and_again_are_the_same_files(visitor: Visitor, painter: Painter) -> None:
    with_photo(visitor, painter, 0)
    first = exports.recipe(visitor, painter).read_bytes()
    files = {path: path.read_bytes() for path in exports.files(visitor)}
    there = sorted(visitor.folder.iterdir())
    assert exports.recipe(visitor, painter).read_bytes() == first
    assert {path: path.read_bytes() for path in exports.files(visitor)} == files
    assert sorted(visitor.folder.iterdir()) == there


def test_only_moved_sliders_are_in_it(visitor: Visitor, painter: Painter) -> None:
    visitor.change(strengths={"random0": 1.0})
    data = json.loads(exports.recipe(visitor, painter).read_text())
    assert [term["direction"] for term in data["terms"]] == ["random0"]
    assert [path.name for path in exports.files(visitor)] == ["directions-1.safetensors"]


def test_all_of_one_scene_though_sliders_move_on(visitor: Visitor, painter: Painter, model: hspace.Denoiser) -> None:
    scene, expected = visitor.scene, drawn(visitor, painter)
    visitor.change(seed=1, strengths={"pc0": -3.0})
    recipe = exports.recipe(visitor, painter, scene)
    assert torch.equal(Recipe.load(recipe).run(model), expected)
    assert len(exports.files(visitor, scene)) == 3
    assert len(exports.files(visitor)) == 1
    assert exports.strip(visitor, painter, scene).tobytes() != exports.strip(visitor, painter).tobytes()


def test_the_strip_is_of_the_last_moved_slider(visitor: Visitor, painter: Painter) -> None:
    strip = np.asarray(exports.strip(visitor, painter, strengths=(-3.0, 0.0, -1.3)))
    directions = visitor.library.directions()
    scenes = [visitor.scene.moved("pc1 (2)", strength) for strength in (-3.0, 0.0, -1.3)]
    expected = hspace.plot.grid(torch.cat([painter.draw(scene, directions) for scene in scenes]), columns=3)
    assert np.array_equal(strip, np.asarray(expected))
    middle = np.asarray(exports.picture(drawn(visitor, painter)))[4:100, 4:100]
    assert np.array_equal(strip[4:100, 204:300], middle)  # the third tile, as it is on the screen


def test_a_sweep_goes_there_and_back(visitor: Visitor, painter: Painter) -> None:
    path, film = exports.sweep(visitor, painter, frames=4)
    assert path.parent == film.parent == visitor.folder
    with Image.open(path) as sweep:
        assert (sweep.format, sweep.n_frames, sweep.size) == ("GIF", 6, (256, 256))
        assert sweep.info["loop"] == 0
        frames = []
        for i in range(6):
            sweep.seek(i)
            frames.append(np.asarray(sweep.convert("RGB")).astype(float))
    directions = visitor.library.directions()
    for place, i in ((-3.0, 0), (-1.0, 1), (1.0, 2), (3.0, 3), (1.0, 4), (-1.0, 5)):
        x_0 = painter.draw(visitor.scene.moved("pc1 (2)", place), directions)
        exact = hspace.plot.to_uint8(x_0)[0].repeat(32, axis=0).repeat(32, axis=1)
        assert np.abs(frames[i] - exact).mean() < 4  # of 255: a palette
    with av.open(film) as container:
        shown = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
        assert container.streams.video[0].codec_context.name == "h264"
    assert len(shown) == 18  # three rounds
    for i, frame in enumerate(shown):
        assert np.abs(frame - frames[i % 6]).mean() < 12  # half of the colours' resolution
    assert [file.name for file in visitor.folder.iterdir() if file.name.startswith(".")] == []


def test_all_sliders_in_a_file_for_each_setting(visitor: Visitor, painter: Painter) -> None:
    visitor.rename("pc0", "smile")
    files = exports.sliders(visitor)
    assert [file.name for file in files] == ["sliders.safetensors", "sliders2.safetensors"]
    found = [direction for file in files for direction in Directions.load(file)]
    assert {direction.name for direction in found} == set(visitor.library)
    for direction in found:
        assert torch.equal(direction.vectors, visitor.library[direction.name].direction.vectors)
    for name in tuple(visitor.library):
        visitor.remove(name)
    with pytest.raises(HspaceError, match="no slider to take home"):
        exports.sliders(visitor)


def test_nothing_moved_yet(painter: Painter, folder: Path) -> None:
    visitor = Visitor(painter.full.setting(), (folder / "one" / "pcs.safetensors",))
    for make in (exports.recipe, exports.strip, exports.sweep):
        with pytest.raises(HspaceError, match="move a slider first"):
            make(visitor, painter)
    visitor.move("pc0", 1.0)
    visitor.move("pc0", 0.0)
    with pytest.raises(HspaceError, match="move a slider first"):
        exports.recipe(visitor, painter)
    assert exports.strip(visitor, painter).width > 0  # of the slider that was moved, and back
    visitor.remove("pc0")
    with pytest.raises(HspaceError, match="move a slider first"):
        exports.strip(visitor, painter)
    assert list(visitor.folder.iterdir()) == []


def test_a_photo_that_is_gone(visitor: Visitor, painter: Painter) -> None:
    with_photo(visitor, painter, 0)
    visitor.photos = {}
    for make in (exports.recipe, exports.strip, exports.sweep):
        with pytest.raises(HspaceError, match=r"no photo '\.\./my photo' any more: upload it again"):
            make(visitor, painter)


def test_a_file_that_was_replaced_on_the_server(visitor: Visitor, painter: Painter, folder: Path) -> None:
    """The picture is of what was in it, and a recipe of what is in it now would be of another picture."""
    file = folder / "one" / "pcs.safetensors"
    kept = file.read_bytes()
    try:
        hspace.random_directions(painter.full.setting(), [1.0] * 4).save(file)
        with pytest.raises(HspaceError, match="direction 'pc0' is in none of the files"):
            exports.recipe(visitor, painter)
    finally:
        file.write_bytes(kept)


def test_nothing_is_made_for_a_visitor_who_left(visitor: Visitor, painter: Painter) -> None:
    scene = visitor.scene
    visitor.close()
    for make, error in ((exports.strip, Superseded), (exports.sweep, Superseded), (exports.recipe, HspaceError)):
        with pytest.raises(error):
            make(visitor, painter, scene)
    assert not visitor.folder.exists()
