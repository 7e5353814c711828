"""Names for directions that were found without any: the attribute that each moves most."""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping

from hspace.directions import Direction, Directions
from hspace.errors import HspaceError
from hspace.evaluation.effects import Effects

__all__ = ["named", "told"]


def told(direction: Direction, measured: Effects, unit: Mapping[str, float] | None = None) -> Direction:
    """The direction with what it moves in its origin: attribute, change, and the strength of both ends.

    Args:
        direction: One of those measured.
        measured: What directions do.
        unit: Standard deviation of each attribute over the population; default: scores are in that unit.

    Raises:
        HspaceError: A unit is missing or not positive.
    """
    changes = {name: change / _unit(unit, name) for name, change in measured.of(direction.name).items()}
    attribute = max(changes, key=lambda name: abs(changes[name]))
    moves = {"attribute": attribute, "change": round(changes[attribute], 3), "strength": measured.strength}
    if measured.low is not None and measured.low != -measured.strength:
        moves["from"] = measured.low
    return direction.with_origin(moves=moves)


def named(
    directions: Directions,
    measured: Effects,
    *,
    unit: Mapping[str, float] | None = None,
    least: float = 1.0,
    only: Container[str] | None = None,
) -> Directions:
    """Directions by the attribute that they move most, where that is enough; the others keep their names.

    Those that lower their attribute are turned around. Of several for one attribute the second in order is
    "attribute-2", and so on.

    Args:
        directions: Measured by `effects`.
        measured: Its result.
        unit: Standard deviation of each attribute over the population; default: scores are in that unit.
        least: Change from one end to the other that a name takes, in that unit.
        only: Directions that may have a name, such as those with one in `Evaluation.names`; None: all.

    Raises:
        HspaceError: A unit is missing or not positive.

    Example:
        >>> import torch, hspace
        >>> from hspace.evaluation import Effects, named
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> two = hspace.random_directions(sampler.setting(), norms=[1.0, 1.0], n=2)
        >>> change = torch.tensor([[0.2, -2.0], [0.1, 0.3]])
        >>> measured = Effects(two.names, ("yaw", "age"), change, torch.zeros(2, 2), strength=3.0)
        >>> named(two, measured).names
        ('age', 'random1')
    """
    items = [told(item, measured, unit) for item in directions]
    nameless = {
        item.name
        for item in items
        if abs(item.origin["moves"]["change"]) < least or (only is not None and item.name not in only)
    }
    taken = set(nameless)  # these keep theirs
    for i, item in enumerate(items):
        moves = item.origin["moves"]
        if item.name in nameless:
            continue
        known = item
        if moves["change"] < 0:
            known = (-item).with_origin(moves={**moves, "change": -moves["change"]})
        attribute = moves["attribute"]
        names = itertools.chain([attribute], (f"{attribute}-{number}" for number in itertools.count(2)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        items[i] = known.renamed(name)
    return Directions(items, directions.measured)


def _unit(unit: Mapping[str, float] | None, name: str) -> float:
    if unit is None:
        return 1.0
    if not unit.get(name, 0.0) > 0:
        raise HspaceError(f"the unit of {name!r} must be positive, found {unit.get(name)}")
    return unit[name]
