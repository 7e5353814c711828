"""What a visitor takes home: the picture, a recipe, a strip, sweeps, all sliders, and the lines that make it again.

All are of one scene, by default the one on the screen; who makes several gives them the same one, for sliders may move
meanwhile. What is written is written in the visitor's folder, and names no other.
"""

from __future__ import annotations

import filecmp
import shlex
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from hspace.app.painter import Painter, photo_of
from hspace.app.scene import Scene
from hspace.app.visitor import Visitor
from hspace.atomic import writing
from hspace.directions import Direction, Directions
from hspace.directions.sources import hash_of
from hspace.errors import HspaceError
from hspace.models import Denoiser
from hspace.plot import grid, to_uint8

__all__ = ["files", "lines", "picture", "recipe", "sliders", "strip", "sweep"]

_STRIP = (-3.0, -1.5, 0.0, 1.5, 3.0)
_INVERSION = "inversion.safetensors"
_SHORTEST = 256  # pixels of a sweep: small pictures are enlarged by whole factors
_FRAME = 80  # milliseconds
_ROUNDS = 3  # of a film, which players show once


def picture(x_0: Float[Tensor, "1 c y x"]) -> Image.Image:
    """As `hspace edit --recipe` draws it."""
    return grid(x_0)


def recipe(visitor: Visitor, painter: Painter, scene: Scene | None = None) -> Path:
    """The recipe of a picture; `files` lie beside it then.

    Raises:
        HspaceError: All sliders are at 0; the photo is gone.
    """
    scene = scene or visitor.scene
    edit = scene.edit(visitor.library.directions())
    if edit is None:
        raise HspaceError("move a slider first: a recipe is of an edit")
    photo = photo_of(scene, visitor.photos)
    with visitor.staying():
        path, inversion = visitor.path("recipe.json"), visitor.path(_INVERSION)
        if photo is None:
            edit.save(path, painter.sampler(scene), [scene.seed], files=_directions(visitor, scene))
        else:
            photo.full.save(inversion)  # every time: another photo may have come under the name
            edit.save(path, painter.sampler(scene), photo.full, files=_directions(visitor, scene), photo=inversion)
    return path


def files(visitor: Visitor, scene: Scene | None = None) -> list[Path]:
    """What a recipe that was made needs beside it: directions of the sliders that are moved, the inversion of a photo.

    Raises:
        HspaceError: The visit is over.
    """
    scene = scene or visitor.scene
    with visitor.staying():
        return [*_directions(visitor, scene), *([] if scene.photo is None else [visitor.path(_INVERSION)])]


def strip(
    visitor: Visitor,
    painter: Painter,
    scene: Scene | None = None,
    *,
    strengths: Sequence[float] = _STRIP,
    quick: bool = False,
    wanted: Callable[[], bool] | None = None,
) -> Image.Image:
    """The last moved slider from end to end, the others as they are.

    Raises:
        HspaceError: No slider was moved yet; the photo is gone.
        Superseded: The visit is over, or it is no longer wanted.
    """
    return grid(_along(visitor, painter, scene, strengths, quick, wanted), columns=len(strengths))


def sweep(visitor: Visitor, painter: Painter, scene: Scene | None = None, *, frames: int = 13) -> list[Path]:
    """The same as a GIF and an MP4 (H.264) of 2 `frames` - 2 pictures that go there and back.

    Raises:
        HspaceError: As `strip`.
        Superseded: The visit is over.
    """
    strengths = np.linspace(_STRIP[0], _STRIP[-1], frames).tolist()
    pixels = to_uint8(_along(visitor, painter, scene, strengths))
    factor = max(1, -(-_SHORTEST // min(pixels.shape[1:3])))
    tiles = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    tiles = np.concatenate([tiles, tiles[-2:0:-1]])
    images = [Image.fromarray(tile) for tile in tiles]
    with visitor.staying():
        gif, film = visitor.path("sweep.gif"), visitor.path("sweep.mp4")
        with writing(gif) as partial:
            images[0].save(partial, save_all=True, append_images=images[1:], duration=_FRAME, loop=0)
        with writing(film) as partial:
            _film(partial, images * _ROUNDS)
    return [gif, film]


def sliders(visitor: Visitor) -> list[Path]:
    """All sliders under their names, in a file for each setting that they were found in.

    Raises:
        HspaceError: There is none.
    """
    by_setting: dict[object, list[Direction]] = {}
    for name, direction in visitor.library.directions().items():
        by_setting.setdefault(direction.setting, []).append(direction.renamed(name))
    if not by_setting:
        raise HspaceError("there is no slider to take home")
    found = []
    with visitor.staying():
        for i, items in enumerate(by_setting.values(), 1):
            found.append(visitor.path(f"sliders{i if i > 1 else ''}.safetensors"))
            Directions(items).save(found[-1])
    return found


def lines(visitor: Visitor, model: Denoiser, name: str) -> tuple[str, str]:
    """Shell and Python that make the picture again from the recipe, on the same kind of device.

    Args:
        visitor: Whose picture.
        model: Of the app.
        name: It was opened by.
    """
    device = model.device.type
    shell = f"hspace edit --recipe recipe.json --model {shlex.quote(name)} --device {device} --out picture.png"
    precision = str(model.dtype).removeprefix("torch.")
    python = f"""import torch
import hspace

model = hspace.load({name!r}, {device!r}, torch.{precision}, tap={model.tap.name!r})
images = hspace.Recipe.load("recipe.json").run(model)
hspace.plot.grid(images).save("picture.png")"""
    return shell, python


def _film(path: Path, images: Sequence[Image.Image]) -> None:
    """An MP4; H.264 wants even sides."""
    width, height = (side + side % 2 for side in images[0].size)
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(1000, _FRAME), options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in images:
            pixels = np.asarray(image.convert("RGB").resize((width, height)))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _along(
    visitor: Visitor,
    painter: Painter,
    scene: Scene | None,
    strengths: Sequence[float],
    quick: bool = False,
    wanted: Callable[[], bool] | None = None,
) -> Float[Tensor, "n c y x"]:
    directions, last = visitor.library.directions(), visitor.last
    if last is None or last not in directions:
        raise HspaceError("move a slider first: the strip is of the last one moved")
    return painter.along(
        scene or visitor.scene,
        directions,
        last,
        strengths,
        photos=visitor.photos,
        quick=quick,
        wanted=wanted or visitor.present,
    )


def _directions(visitor: Visitor, scene: Scene) -> list[Path]:
    """Files of the sliders that are moved, in the visitor's folder."""
    moved = [slider.file for name, slider in visitor.library.items() if name in scene.strengths]
    return [_own(visitor, file) for file in dict.fromkeys(moved)]


def _own(visitor: Visitor, file: Path) -> Path:
    """The file, if it is the visitor's; else a copy that is."""
    if file.parent == visitor.folder:
        return file
    own = visitor.path(file.name)
    if own.exists() and not filecmp.cmp(file, own, shallow=False):
        own = visitor.path(f"{file.stem}-{hash_of(file)[:8]}{file.suffix}")
    if not own.exists():
        with writing(own) as partial:
            shutil.copyfile(file, partial)
    return own
