"""A recipe: all that makes the pictures of an edit again, as a small JSON file.

It holds names and SHA-256 hashes of the direction files, what each term does, the setting of the run with the model's
id and weight hash, the precision and batch size (the last bits of a picture depend on both), and seeds or the rows of
an inversion file. No tensor is in it but masks. On the same device, version of torch and number of threads the pictures
are the same bit for bit; on others rounding may differ in the last bits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.atomic import writing
from hspace.diffusion import Chosen, Inversion, Latents, Sampler, SeedLatents, Setting
from hspace.directions import fields
from hspace.directions.collection import Directions
from hspace.directions.direction import Direction
from hspace.directions.edit import Edit
from hspace.directions.ingredient import Ingredient
from hspace.directions.sources import Source
from hspace.errors import HspaceError
from hspace.progress import Progress
from hspace.version import __version__

__all__ = ["Photo", "Recipe"]

FORMAT = "hspace-recipe-1"


@dataclass(frozen=True)
class Photo:
    """Rows of an inversion file."""

    source: Source
    rows: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"inversion": self.source.file, "sha256": self.source.sha256, "rows": self.rows}

    @classmethod
    def from_json(cls, data: Any) -> Photo:
        """The inverse of `to_json`.

        Raises:
            HspaceError: A field is missing or of the wrong type.
        """
        return cls(Source.from_json(data, "inversion"), fields.integers(data, "rows"))


@dataclass(frozen=True)
class Recipe:
    """How the pictures of an edit were made.

    Attributes:
        terms: Of the edit.
        setting: Of the run: model, weights, tap, grid, eta, injection.
        precision: In which the network computed, such as "float32".
        batch_size: Of the sampler.
        samples: Seeds, or rows of an inversion.
        version: Of the package that made it.
        folder: From where names of files are read.

    Example:
        >>> import tempfile, pathlib, hspace
        >>> from hspace.directions.recipe import Recipe
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> model = hspace.load("faces64", device="cpu")
        >>> sampler = hspace.Sampler(model, steps=2)
        >>> hspace.random_directions(sampler.setting(), [1.0, 1.0]).save(folder / "random.safetensors")
        >>> direction = hspace.Directions.load(folder / "random.safetensors")["random0"]
        >>> edit = hspace.Edit.of(direction, 2.0)
        >>> edit.save(folder / "recipe.json", sampler, range(2), files=[folder / "random.safetensors"])
        >>> bool((Recipe.load(folder / "recipe.json").run(model) == sampler.run(range(2), edit)).all())
        True
    """

    terms: tuple[Ingredient, ...]
    setting: Setting
    precision: str
    batch_size: int
    samples: tuple[int, ...] | Photo
    version: str = __version__
    folder: Path = field(default=Path(), compare=False)

    @classmethod
    def of(
        cls,
        edit: Direction | Edit,
        sampler: Sampler,
        latents: Latents | Iterable[int],
        files: Sequence[str | PathLike[str]],
        *,
        photo: str | PathLike[str] | None = None,
    ) -> Recipe:
        """The recipe of `sampler.run(latents, edit)`.

        Args:
            edit: Of directions that are in the files: under any name, times any number, or with others of the files
                projected out (`Direction.without`).
            sampler: Of the run.
            latents: Of the run: seeds, or an inversion, whole or in part.
            files: Of the directions.
            photo: The file of the inversion.

        Raises:
            HspaceError: A direction that is in none of the files; latents of another kind, or not those of `photo`; an
                edit that does not fit the sampler's model and grid.
        """
        whole = edit if isinstance(edit, Edit) else Edit.of(edit)
        setting = sampler.setting(whole.injection or "symmetric")
        whole.bind(setting, torch.device("cpu"))  # says now what the run would say
        whole.bind_start(setting, torch.device("cpu"))
        library = {Source.of(file): Directions.load(file) for file in files}
        return cls(
            tuple(Ingredient.of(term, library) for term in whole.terms),
            setting,
            _name_of(sampler.model.dtype),
            sampler.batch_size,
            _samples(sampler.as_latents(latents), setting, photo),
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        samples = self.samples.to_json() if isinstance(self.samples, Photo) else {"seeds": self.samples}
        return {
            "format": FORMAT,
            "version": self.version,
            "terms": [term.to_json() for term in self.terms],
            "samples": samples,
            "setting": self.setting.to_json(),
            "precision": self.precision,
            "batch_size": self.batch_size,
        }

    @classmethod
    def from_json(cls, data: Any, folder: Path = Path()) -> Recipe:
        """The inverse of `to_json`.

        Raises:
            HspaceError: A field is missing or of the wrong type.
        """
        if (found := data.get("format") if isinstance(data, dict) else None) != FORMAT:
            raise HspaceError(f"expected a recipe of format {FORMAT}, found {found or 'other JSON'}")
        if not (terms := fields.entries(data, "terms")):
            raise HspaceError("'terms' must be at least 1, found none")
        samples, precision = fields.value_of(data, "samples"), fields.text(data, "precision")
        if not isinstance(getattr(torch, precision, None), torch.dtype):
            raise HspaceError(f"'precision' must be such as float32, found {precision!r}")
        by_seed = isinstance(samples, dict) and "seeds" in samples
        return cls(
            tuple(Ingredient.from_json(term) for term in terms),
            Setting.from_json(fields.value_of(data, "setting")),
            precision,
            fields.integer(data, "batch_size", 1),
            fields.integers(samples, "seeds") if by_seed else Photo.from_json(samples),
            fields.text(data, "version"),
            folder,
        )

    def save(self, path: str | PathLike[str]) -> None:
        """A JSON file; its directions and inversion are named as seen from its folder.

        Raises:
            HspaceError: It can't be written; what was there before is untouched.
        """
        folder = Path(path).absolute().parent

        def seen(source: Source) -> Source:
            return source.seen_from(self.folder, folder)

        samples = self.samples
        if isinstance(samples, Photo):
            samples = replace(samples, source=seen(samples.source))
        moved = replace(self, terms=tuple(term.moved(seen) for term in self.terms), samples=samples)
        text = json.dumps(moved.to_json(), indent=1, allow_nan=False)
        text = re.sub(r"\[\n[-+.eE\d,\s]+\]", lambda numbers: " ".join(numbers[0].split()), text)  # a row is a line
        with writing(path) as partial:
            partial.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Recipe:
        """Open a file made by `save`. The files that it names are looked for when they are needed.

        Raises:
            HspaceError: Not such a file, or a field is missing or of the wrong type.
        """
        path = Path(path)
        if not path.is_file():
            raise HspaceError(f"{path}: expected a recipe, found {'a folder' if path.is_dir() else 'nothing'}")
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")), path.parent)
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise HspaceError(f"{path}: no readable JSON ({error})") from error
        except HspaceError as error:
            raise HspaceError(f"{path}: {error}") from error

    def edit(self) -> Edit:
        """The edit, its directions loaded. A file that moved is found in the recipe's folder by its hash.

        Raises:
            HspaceError: A file is gone or has changed.
        """
        sources = {source for term in self.terms for source in term.sources}
        library = {source: Directions.load(source.found(self.folder)) for source in sources}
        return Edit(tuple(term.term(library) for term in self.terms), self.setting.injection)

    def latents(self) -> Chosen | tuple[int, ...]:
        """Rows of the inversion, loaded; or the seeds.

        Raises:
            HspaceError: The file is gone or has changed.
        """
        if not isinstance(self.samples, Photo):
            return self.samples
        inversion = Inversion.load(self.samples.source.found(self.folder))
        if max(self.samples.rows) >= len(inversion):
            raise HspaceError(
                f"{self.samples.source.file}: no row {max(self.samples.rows)} in {len(inversion)} pictures"
            )
        return inversion[list(self.samples.rows)]

    def sampler(self, model: Any) -> Sampler:
        """That of the run, under its prompt or class.

        Args:
            model: The `hspace.Denoiser` it was made with, from `hspace.load`.

        Raises:
            HspaceError: Another model, tap or precision.
        """
        sampler = Sampler.on(model.under(self.setting.condition), self.setting, batch_size=self.batch_size)
        if (found := _name_of(sampler.model.dtype)) != self.precision:
            raise HspaceError(
                f"the recipe was made in {self.precision}, the model computes in {found}: load it likewise"
            )
        return sampler

    def run(self, model: Any, *, progress: Progress = False) -> Float[Tensor, "n c y x"]:
        """The pictures, bit for bit.

        Args:
            model: The `hspace.Denoiser` they were made with.
            progress: True for a bar, or a function of (done, total) image-steps.

        Returns:
            As `sampler.run` returned them.

        Raises:
            HspaceError: As `sampler`, `latents` and `edit`.
        """
        return self.sampler(model).run(self.latents(), self.edit(), progress=progress)


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _samples(latents: Latents, setting: Setting, photo: str | PathLike[str] | None) -> tuple[int, ...] | Photo:
    """What a recipe remembers of latents."""
    if isinstance(latents, SeedLatents):
        if photo is not None:
            raise HspaceError(f"{photo}: the latents are seeds, no inversion; leave out the photo")
        return latents.seeds
    if not isinstance(latents, Inversion | Chosen):
        raise HspaceError(f"a recipe remembers seeds or rows of an inversion, not {type(latents).__name__}")
    if photo is None:
        raise HspaceError("a recipe of an inversion names its file: save it, and give the path as photo")
    latents.check(setting)
    return Photo(Source.of(photo), _rows(latents, Inversion.load(photo), photo))


def _rows(latents: Inversion | Chosen, file: Inversion, path: str | PathLike[str]) -> tuple[int, ...]:
    """Where the rows of latents are in a file."""
    if isinstance(latents, Inversion):
        latents = latents[list(range(len(latents)))]
    mine = latents.inversion
    if mine.setting.schedule != file.setting.schedule or mine.setting.weight_hash != file.setting.weight_hash:
        raise HspaceError(f"{path}: the latents are not of this inversion, which has another model or grid")

    def same(row: int, other: int) -> bool:
        pairs = ((mine.start, file.start), (mine.noises, file.noises), (mine.rest, file.rest))
        return all(
            (a is None and b is None)
            or (a is not None and b is not None and a.dtype == b.dtype and torch.equal(a[row], b[other]))
            for a, b in pairs
        )

    found = []
    for row in latents.rows:
        here = next((i for i in (row % len(file), *range(len(file))) if same(row, i)), None)
        if here is None:
            raise HspaceError(f"{path}: picture {mine.names[row]!r} of the latents is not in this inversion")
        found.append(here)
    return tuple(found)
