"""What a process that works for visitors opens once: the model on the app's grid, a scorer, regions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch

from hspace.attributes import Scorer, load_regions, load_scorer
from hspace.diffusion import Injection, Sampler, Setting
from hspace.errors import HspaceError
from hspace.masks import Regions
from hspace.models import load

__all__ = ["Bench", "Opening"]


@dataclass(frozen=True)
class Opening:
    """What to open, by names: a process of its own can't be handed a network.

    Attributes:
        model: As `hspace.load` takes it.
        device: Of the model.
        precision: Such as "float32".
        setting: Of the pictures, with the tap, the grid, and how shifts go in.
        scorer: As `load_scorer` takes it; None: no attributes are known.
        regions: As `load_regions` takes it; None: no parts of pictures are known by name.
    """

    model: str
    device: str
    precision: str
    setting: Setting
    scorer: str | None = None
    regions: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {**asdict(self), "setting": self.setting.to_json()}

    @classmethod
    def from_json(cls, data: Any) -> Opening:
        """The inverse of `to_json`."""
        return cls(**{**data, "setting": Setting.from_json(data["setting"])})


class Bench:
    """The same, opened.

    Args:
        opening: What to open.

    Raises:
        HspaceError: What `hspace.load`, `load_scorer` and `load_regions` refuse, when it is first needed.
    """

    def __init__(self, opening: Opening) -> None:
        self.opening = opening

    @cached_property
    def sampler(self) -> Sampler:
        """On the app's grid and under its prompt, with batches as large as it likes."""
        o = self.opening
        model = load(o.model, o.device, getattr(torch, o.precision), o.setting.tap).under(o.setting.condition)
        return Sampler.on(model, o.setting)

    @property
    def injection(self) -> Injection:
        """How shifts go in."""
        return self.opening.setting.injection

    @cached_property
    def scorer(self) -> Scorer:
        """The app's.

        Raises:
            HspaceError: There is none.
        """
        if self.opening.scorer is None:
            raise HspaceError("no attributes are known here: start the app with --scorer")
        return load_scorer(self.opening.scorer, device=self.opening.device)

    @cached_property
    def regions(self) -> Regions | None:
        """Finds parts of pictures by name."""
        return None if self.opening.regions is None else load_regions(self.opening.regions)
