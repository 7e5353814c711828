"""One term of a recipe: how its direction is made again from the files that directions are saved in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hspace.directions import fields
from hspace.directions.collection import Directions
from hspace.directions.direction import Direction
from hspace.directions.edit import Term
from hspace.directions.sources import Source
from hspace.errors import HspaceError

__all__ = ["Ingredient", "Library", "Named"]

Library = Mapping[Source, Directions]
"""Files of directions, opened."""


@dataclass(frozen=True)
class Named:
    """A direction in a file."""

    source: Source
    name: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"direction": self.name, **self.source.to_json()}

    @classmethod
    def from_json(cls, data: Any) -> Named:
        """The inverse of `to_json`.

        Raises:
            HspaceError: A field is missing or of the wrong type.
        """
        return cls(Source.from_json(data), fields.text(data, "direction"))


@dataclass(frozen=True)
class Ingredient:
    """A term whose direction is `factor` times (one of a file without others of files).

    Attributes:
        direction: In which file, and its name there.
        strength: Of the term.
        window: Of the term.
        mask: Of the term, as nested tuples.
        factor: What the direction was multiplied by.
        without: What was projected out of it before.
        per_timestep: Whether that was done at every timestep apart.
    """

    direction: Named
    strength: float = 1.0
    window: tuple[int, int] | None = None
    mask: tuple[tuple[float, ...], ...] | None = None
    factor: float = 1.0
    without: tuple[Named, ...] = ()
    per_timestep: bool = False

    @classmethod
    def of(cls, term: Term, library: Library) -> Ingredient:
        """Find the term's direction in files: itself under any name, times a number, or with others projected out.

        Raises:
            HspaceError: No file has it.
        """
        found = next(itertools.chain(_itself(term.direction, library), _cleaned(term.direction, library)), None)
        if found is None:
            name = term.direction.name
            files = ", ".join(source.file for source in library) or "no file"
            raise HspaceError(
                f"direction {name!r} is in none of the files given ({files}): save it with "
                f"Directions([...]).save(path) and give that file too, or make a sum an Edit of its parts"
            )
        mask = None if term.mask is None else tuple(tuple(row) for row in term.mask.double().tolist())
        return replace(found, strength=float(term.strength), window=term.window, mask=mask)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        rest = asdict(self)
        del rest["direction"]
        return {**self.direction.to_json(), **rest, "without": [named.to_json() for named in self.without]}

    @classmethod
    def from_json(cls, data: Any) -> Ingredient:
        """The inverse of `to_json`.

        Raises:
            HspaceError: A field is missing or of the wrong type.
        """
        return cls(
            Named.from_json(data),
            fields.number(data, "strength"),
            _window(data),
            _mask(data),
            fields.number(data, "factor"),
            tuple(Named.from_json(entry) for entry in fields.entries(data, "without")),
            fields.flag(data, "per_timestep"),
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        """All files it needs."""
        return tuple(named.source for named in (self.direction, *self.without))

    def term(self, library: Library) -> Term:
        """The term again, bit for bit."""

        def opened(named: Named) -> Direction:
            return library[named.source][named.name]

        direction = opened(self.direction)
        if self.without:
            direction = direction.without(*map(opened, self.without), per_timestep=self.per_timestep)
        mask = None if self.mask is None else torch.tensor(self.mask, dtype=torch.float64)
        return Term(self.factor * direction, self.strength, self.window, mask)

    def moved(self, where: Callable[[Source], Source]) -> Ingredient:
        """With other names for its files."""
        direction, *without = (replace(n, source=where(n.source)) for n in (self.direction, *self.without))
        return replace(self, direction=direction, without=tuple(without))


def _window(data: Any) -> tuple[int, int] | None:
    if fields.value_of(data, "window") is None:
        return None
    window = fields.integers(data, "window")
    if len(window) != 2 or window[0] < window[1]:
        raise HspaceError(f"'window' must be a high timestep and a low one, found {list(window)}")
    return window[0], window[1]


def _mask(data: Any) -> tuple[tuple[float, ...], ...] | None:
    if fields.value_of(data, "mask") is None:
        return None
    rows = fields.entries(data, "mask")
    if not all(isinstance(row, list) and len(row) == len(rows[0]) and all(map(fields.is_number, row)) for row in rows):
        raise HspaceError("'mask' must be rows of as many numbers each")
    return tuple(tuple(map(float, row)) for row in rows)


def _candidates(wanted: Direction, library: Library) -> list[tuple[Named, Direction]]:
    """Of the same setting; those whose name is part of the wanted one's first, the longest before the others."""
    there = [(Named(source, item.name), item) for source, items in library.items() for item in items]
    fitting = [pair for pair in there if pair[1].setting == wanted.setting]
    return sorted(fitting, key=lambda pair: -len(pair[0].name) if pair[0].name in wanted.name else 0)


def _itself(wanted: Direction, library: Library) -> Iterator[Ingredient]:
    for named, item in _candidates(wanted, library):
        if (factor := _factor(item.vectors, wanted.vectors)) is not None:
            yield Ingredient(named, factor=factor)


def _cleaned(wanted: Direction, library: Library) -> Iterator[Ingredient]:
    reports, per_timestep = wanted.origin.get("without", []), bool(wanted.origin.get("per_timestep"))
    if not reports:
        return
    fitting = _candidates(wanted, library)
    pools = [[pair for pair in fitting if pair[0].name == report["name"]] for report in reports]
    for (named, base), *others in itertools.product(fitting, *pools):
        try:
            clean = base.without(*(other for _, other in others), per_timestep=per_timestep)
        except HspaceError:  # a mixture of the others
            continue
        if (factor := _factor(clean.vectors, wanted.vectors)) is not None:
            without = tuple(other for other, _ in others)
            yield Ingredient(named, factor=factor, without=without, per_timestep=per_timestep)


def _factor(vectors: Tensor, wanted: Tensor) -> float | None:
    """The number whose product with the vectors is what is wanted, exactly; the shortest there is."""
    base, wanted = vectors.cpu(), wanted.cpu()
    if base.dtype != wanted.dtype:
        return None
    if torch.equal(base, wanted):
        return 1.0
    largest = int(base.abs().argmax())
    at_most, there = float(base.flatten()[largest]), float(wanted.flatten()[largest])
    if not at_most:
        return None
    ratio = there / at_most
    if not torch.allclose(base.double() * ratio, wanted.double(), rtol=0.05, atol=1e-6 * abs(there)):
        return None
    return next((factor for factor in _near(ratio) if torch.equal(base * factor, wanted)), None)


def _near(ratio: float) -> Iterator[float]:
    """Numbers that a ratio may be the rounded value of, short ones first: decimals, parts of 1, neighbours."""
    if not ratio:
        yield ratio
        return
    for digits in range(1, 16):
        yield float(f"{ratio:.{digits}g}")
        yield 1 / float(f"{1 / ratio:.{digits}g}")
    yield ratio
    for kind in (np.float32, np.float64):
        number = kind(ratio)
        for end in (-math.inf, math.inf):
            near = number
            for _ in range(4):
                yield float(near)
                near = np.nextafter(near, kind(end))
