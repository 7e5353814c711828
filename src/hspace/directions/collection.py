"""A named set of directions found together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, overload

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.diffusion.setting import Setting
from hspace.directions import files
from hspace.directions.direction import Direction
from hspace.errors import HspaceError

__all__ = ["Directions"]


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions of one setting, by name or by index.

    Args:
        items: The directions; names are unique.
        measured: What was measured with them, a number for each timestep and direction, such as
            `explained_variance_ratio`: (S, number of directions). It is saved with the directions.

    Raises:
        HspaceError: None at all, equal names, different settings, or something measured of another shape.

    Example:
        >>> import torch
        >>> from hspace.diffusion import Schedule, Setting
        >>> from hspace.directions import Direction, Directions
        >>> schedule = Schedule((2, 1), (0.1, 0.5), 1.0, (0.0, 0.0), train_timesteps=3)
        >>> setting = Setting("tiny", "0" * 16, "mid_block", (4, 1, 1), schedule)
        >>> pcs = Directions([Direction(torch.randn(2, 4, 1, 1), setting, f"pc{i}") for i in range(3)])
        >>> pcs.names, pcs["pc1"] is pcs[1], len(pcs[:2]), pcs[["pc2", "pc0"]].names
        (('pc0', 'pc1', 'pc2'), True, 2, ('pc2', 'pc0'))
    """

    items: Sequence[Direction]
    measured: Mapping[str, Float[Tensor, "s k"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.items:
            raise HspaceError("a set of directions needs at least one")
        if len(set(self.names)) != len(self.items):
            raise HspaceError(f"directions of one set need different names, found {', '.join(self.names)}")
        if any(item.setting != self.items[0].setting for item in self.items):
            raise HspaceError("directions of one set must come from one setting (model, tap, grid, eta, injection)")
        expected = (len(self.setting.timesteps), len(self.items))
        for name, value in self.measured.items():
            if tuple(value.shape) != expected:
                raise HspaceError(f"measured {name!r}: expected shape {expected}, found {tuple(value.shape)}")

    @property
    def names(self) -> tuple[str, ...]:
        """In order."""
        return tuple(item.name for item in self.items)

    @property
    def setting(self) -> Setting:
        """The one that all were found in."""
        return self.items[0].setting

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Direction]:
        return iter(self.items)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    @overload
    def __getitem__(self, key: int | str) -> Direction: ...
    @overload
    def __getitem__(self, key: slice | list[int] | list[str] | list[int | str]) -> Directions: ...
    def __getitem__(self, key: int | str | slice | list[int] | list[str] | list[int | str]) -> Direction | Directions:
        if isinstance(key, (int, str)):
            return self.items[self._index(key)]
        rows = list(range(len(self)))[key] if isinstance(key, slice) else [self._index(k) for k in key]
        return Directions([self.items[i] for i in rows], {k: v[:, rows] for k, v in self.measured.items()})

    def _index(self, key: int | str) -> int:
        if isinstance(key, str):
            if key not in self.names:
                raise HspaceError(f"no direction {key!r}; there are {', '.join(self.names)}")
            return self.names.index(key)
        if not -len(self) <= key < len(self):
            raise HspaceError(f"no direction {key}; there are {len(self)}, counted from 0")
        return key

    def __mul__(self, strength: float) -> Directions:
        """Every direction times a number."""
        return Directions([item * strength for item in self.items])

    __rmul__ = __mul__

    def __neg__(self) -> Directions:
        return Directions([-item for item in self.items])

    def __add__(self, other: Directions) -> Directions:
        """Pair by pair; both sets have the same number."""
        if len(self) != len(other):
            raise HspaceError(f"sets of {len(self)} and {len(other)} directions can't be added pair by pair")
        return Directions([a + b for a, b in zip(self.items, other.items, strict=True)])

    def __sub__(self, other: Directions) -> Directions:
        return self + -other

    def norms(self) -> Float[Tensor, "k s"]:
        """Norm of every direction at every timestep."""
        return torch.stack([item.norms() for item in self.items])

    def cosines(self, other: Directions | None = None) -> Float[Tensor, "k j"]:
        """Cosine of every direction with every one of another set, or of this one."""
        columns = self.items if other is None else other.items
        return torch.tensor([[a.cosine(b) for b in columns] for a in self.items])

    def renamed(self, names: Mapping[str, str]) -> Directions:
        """With new names for some, e.g. {"pc0": "yaw"}."""
        for name in names:
            self._index(name)
        return Directions([item.renamed(names.get(item.name, item.name)) for item in self.items], self.measured)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Directions:
        """On another device or in another precision."""
        return Directions([item.to(device, dtype) for item in self.items], self.measured)

    def retimed(self, setting: Setting, *, rescale: bool = True) -> Directions:
        """For another grid, eta or injection. What was measured on the old grid is left behind."""
        if setting == self.setting:
            return self
        return Directions([item.retimed(setting, rescale=rescale) for item in self.items])

    def save(self, path: str | PathLike[str]) -> None:
        """One safetensors file that carries all that reproduces the directions; see `hspace.directions.files`.

        Raises:
            HspaceError: The file can't be written; one that was there before is untouched.
        """
        vectors = torch.stack([item.vectors for item in self.items])
        labels = [self._label(item) for item in self.items]
        files.write(path, vectors, self.measured, self.setting, labels)

    def _label(self, item: Direction) -> dict[str, Any]:
        """Name, origin and, where it is not that of the setting, the prompt or class that it was found under."""
        label: dict[str, Any] = {"name": item.name, "origin": dict(item.origin)}
        if (condition := item.setting.condition) != self.setting.condition:
            label["condition"] = None if condition is None else condition.to_json()
        return label

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Directions:
        """Open a file made by `save`, on any machine.

        Raises:
            HspaceError: Not such a file, truncated, of a wrong shape, or with NaN.
        """
        vectors, measured, setting, labels = files.read(path)
        try:
            items = [
                Direction(v, _setting_of(x, setting), x["name"], x["origin"])
                for v, x in zip(vectors, labels, strict=True)
            ]
            return cls(items, measured)
        except HspaceError as error:
            raise HspaceError(f"{path}: {error}") from error


def _setting_of(label: Mapping[str, Any], setting: Setting) -> Setting:
    """That of a file, with the condition of one of its directions."""
    if "condition" not in label:
        return setting
    return Setting.from_json({**setting.to_json(), "condition": label["condition"]})
