"""Options that several commands share, and how their text is read."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import torch
import typer
from PIL import Image

from hspace import diffusion
from hspace.atomic import writing
from hspace.errors import HspaceError
from hspace.models import Shifted

__all__ = [
    "BFLOAT16",
    "FLOAT32",
    "NOTHING",
    "Asked",
    "BatchSize",
    "Computing",
    "Device",
    "Eta",
    "Injection",
    "Model",
    "Resume",
    "SaveEvery",
    "Start",
    "Steps",
    "Tap",
    "check_picture",
    "check_writable",
    "parse_dtype",
    "parse_eta",
    "parse_floats",
    "parse_injection",
    "parse_seeds",
    "parse_window",
]

Model = Annotated[
    str, typer.Option("--model", "-m", help="faces64, a diffusers folder, a hub id, or file.py:function.")
]
Tap = Annotated[
    str | None, typer.Option(help="Where h is: mid_block, before, middle, or any module's name. Default: the model's.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ... Default: the GPU if there is one.")]
Steps = Annotated[int, typer.Option("--steps", "-s", help="Steps of the reverse process.")]
Eta = Annotated[str, typer.Option(help="0 (DDIM) to 1 (DDPM); or one number a step, separated by commas.")]
Start = Annotated[int | None, typer.Option(help="Highest timestep of the grid. Default: the model's.")]
Injection = Annotated[
    str,
    typer.Option(help="symmetric (Haas et al.), or asymmetric (Asyrp): moves the picture further, takes longer."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on where the same command was interrupted; from the start if it was not.")
]
SaveEvery = Annotated[float, typer.Option(help="Seconds from one saving of what was done so far to the next.")]
BatchSize = Annotated[int | None, typer.Option(help="Samples in one pass. Default: automatic.")]


@dataclass(frozen=True)
class Asked:
    """The condition of a text-to-image or class-conditional model, as `hspace.load` takes it.

    A parameter of this type stands for one option a field, see `hspace.cli.grouped`.
    """

    prompt: Annotated[
        str | None,
        typer.Option(help="Of text-to-image models. Default: that of the directions or the photo."),
    ] = None
    negative_prompt: Annotated[str | None, typer.Option(help="Text to guide away from.")] = None
    label: Annotated[int | None, typer.Option(help="Class, of class-conditional models.")] = None
    guidance_scale: Annotated[
        float | None, typer.Option(help="How strongly the prompt or class guides. Default: as usual for the model.")
    ] = None
    shift_in: Annotated[
        str | None, typer.Option(help="Whether shifts go into both passes of guidance or into the conditional one.")
    ] = None

    def given(self) -> dict[str, Any]:
        """What was asked for, in the words of `Denoiser.conditioned`.

        Raises:
            HspaceError: There is no such --shift-in.
        """
        if self.shift_in not in (None, *get_args(Shifted)):
            raise HspaceError(f"--shift-in must be {' or '.join(get_args(Shifted))}, not {self.shift_in!r}")
        found = {name: value for name, value in asdict(self).items() if value is not None}
        return {"shifted" if name == "shift_in" else name: value for name, value in found.items()}


NOTHING = Asked()


@dataclass(frozen=True)
class Computing:
    """How the network computes, as `hspace.load` takes it; a group of options, as `Asked`."""

    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16, float16 or float64: in which the network computes.")
    ] = "float32"
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Lay the network out channels last: often faster, other last bits.")
    ] = False
    compile: Annotated[
        bool, typer.Option("--compile", help="Run it through torch.compile: for long work on a GPU, other last bits.")
    ] = False

    def given(self) -> dict[str, Any]:
        """In the words of `hspace.load`.

        Raises:
            HspaceError: There is no such --dtype.
        """
        return {**asdict(self), "dtype": parse_dtype(self.dtype)}


FLOAT32 = Computing()
BFLOAT16 = Computing("bfloat16")

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def parse_dtype(text: str) -> torch.dtype:
    """Name of a precision.

    Example:
        >>> from hspace.cli.options import parse_dtype
        >>> parse_dtype("bfloat16")
        torch.bfloat16
    """
    if text not in _DTYPES:
        raise HspaceError(f"--dtype must be one of {', '.join(_DTYPES)}, not {text!r}")
    return _DTYPES[text]


def parse_floats(text: str, option: str) -> list[float]:
    """Numbers separated by commas.

    Example:
        >>> from hspace.cli.options import parse_floats
        >>> parse_floats("-3,0,3", "--strengths")
        [-3.0, 0.0, 3.0]
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise HspaceError(f"{option} must be numbers separated by commas, not {text!r}") from None


def parse_eta(text: str) -> float | list[float]:
    """One number, or one for each step."""
    numbers = parse_floats(text, "--eta")
    return numbers[0] if len(numbers) == 1 else numbers


def parse_seeds(text: str, option: str = "--seeds") -> list[int]:
    """Seeds: `3`, `0,5,9`, `0:16` (16 excluded) or a mixture.

    Example:
        >>> from hspace.cli.options import parse_seeds
        >>> parse_seeds("0:3,10")
        [0, 1, 2, 10]
    """
    seeds: list[int] = []
    for part in text.split(","):
        if not (match := re.fullmatch(r"\s*(\d+)(?::(\d+))?\s*", part)):
            raise HspaceError(f"{option} must look like 3 or 0,5,9 or 0:16, not {text!r}")
        first, last = int(match[1]), match[2]
        seeds += [first] if last is None else range(first, int(last))
    if not seeds:
        raise HspaceError(f"{option} {text} names no seed")
    return seeds


def parse_window(text: str | None) -> tuple[int, int] | None:
    """Timesteps from high to low, `700:300`.

    Example:
        >>> from hspace.cli.options import parse_window
        >>> parse_window("700:300")
        (700, 300)
    """
    if text is None:
        return None
    if not (match := re.fullmatch(r"(\d+):(\d+)", text)):
        raise HspaceError(f"--window must look like 700:300, not {text!r}")
    return int(match[1]), int(match[2])


def parse_injection(text: str) -> diffusion.Injection:
    """How shifts go in.

    Example:
        >>> from hspace.cli.options import parse_injection
        >>> parse_injection("asymmetric")
        'asymmetric'
    """
    if text == "symmetric":
        return "symmetric"
    if text == "asymmetric":
        return "asymmetric"
    raise HspaceError(f"--injection must be symmetric or asymmetric, not {text!r}")


def check_writable(path: Path) -> Path:
    """Finds out before the work, not after it, that a file can't be written.

    Raises:
        HspaceError: It can't.
    """
    if path.is_dir():
        raise HspaceError(f"can't write {path}: it is a folder, expected the name of a file")
    with writing(path.with_name(f".{path.name}.probe")) as probe:
        probe.touch()
    path.with_name(f".{path.name}.probe").unlink(missing_ok=True)  # another process may do the same
    return path


def check_picture(path: Path) -> Path:
    """The same for a picture, whose format is told by its name.

    Raises:
        HspaceError: It can't be written, or there is no such format.
    """
    if path.suffix.lower() not in Image.registered_extensions():
        raise HspaceError(f"can't write {path}: expected the name of a picture, such as {path.stem}.png")
    return check_writable(path)
