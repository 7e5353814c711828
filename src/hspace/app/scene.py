"""What a visitor wants to see: a seed or a photo, sliders, a window, the way shifts go in. Plain values, no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from hspace.diffusion import Injection
from hspace.directions import Direction, Edit, Term
from hspace.errors import HspaceError

__all__ = ["LIMIT", "Scene"]

LIMIT = 5.0
"""Sliders go from -LIMIT to LIMIT, in standard deviations of h."""
_HIGHEST = 2**63  # of seeds and timesteps
_LONGEST = 1000  # characters of a prompt


@dataclass(frozen=True)
class Scene:
    """The state of the sliders.

    Args:
        seed: Of the sample that is edited.
        photo: Name of a photo to edit instead.
        strengths: By slider; those at 0 are left out.
        window: Timesteps first >= t >= last at which edits act; None: all.
        injection: How shifts go in; None: as the directions were found to.
        prompt: Of a text-to-image model; None: the app's own.

    Raises:
        HspaceError: A seed below 0, a strength beyond the limit or no number, a window that goes upwards, a prompt that
            is too long.

    Example:
        >>> from hspace.app.scene import Scene
        >>> Scene(seed=3, strengths={"smile": 2.0}).moved("age", -1).strengths
        {'smile': 2.0, 'age': -1.0}
    """

    seed: int = 0
    photo: str | None = None
    strengths: Mapping[str, float] = field(default_factory=dict)
    window: tuple[int, int] | None = None
    injection: Injection | None = None
    prompt: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < _HIGHEST:
            raise HspaceError("a seed is a whole number from 0 to 2^63 - 1")
        for name, strength in self.strengths.items():
            if not abs(strength) <= LIMIT:  # nor is NaN
                raise HspaceError(f"the slider {name!r} goes from {-LIMIT:g} to {LIMIT:g}, not to {strength}")
        if self.window is not None and not _HIGHEST > self.window[0] >= self.window[1] >= 0:
            raise HspaceError("a window goes from a high timestep down to a low one, 0 at the least")
        if self.injection is not None and self.injection not in get_args(Injection):
            raise HspaceError(f"injection must be one of {', '.join(get_args(Injection))}, not {self.injection!r}")
        if len(self.prompt or "") > _LONGEST:
            raise HspaceError(f"a prompt has at most {_LONGEST} characters, not {len(self.prompt or '')}")
        moved = {name: float(strength) for name, strength in self.strengths.items() if strength != 0}
        object.__setattr__(self, "strengths", moved)  # a copy: nobody else's, and equal for what looks the same

    def moved(self, slider: str, strength: float) -> Scene:
        """With one slider somewhere else."""
        return replace(self, strengths={**self.strengths, slider: strength})

    def reset(self) -> Scene:
        """With all sliders at 0."""
        return replace(self, strengths={})

    def edit(self, directions: Mapping[str, Direction]) -> Edit | None:
        """What the sliders make together; None where all are at 0.

        Args:
            directions: By slider; sliders that are gone count as 0. Their order is that of the sum, so that a picture
                depends on where the sliders are and not, in its last bits, on which was moved first.
        """
        terms = [
            Term(direction, self.strengths[name], None if direction.setting.space == "noise" else self.window)
            for name, direction in directions.items()
            if name in self.strengths
        ]
        return Edit(terms, self.injection) if terms else None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "seed": self.seed,
            "photo": self.photo,
            "strengths": dict(self.strengths),
            "window": None if self.window is None else list(self.window),
            "injection": self.injection,
            "prompt": self.prompt,
        }

    @classmethod
    def from_json(cls, data: Any) -> Scene:
        """The inverse of `to_json`; what comes from a browser is checked.

        Raises:
            HspaceError: Fields of other types, or out of range.
        """
        match data:
            case {
                "seed": int(seed),
                "photo": str() | None as photo,
                "strengths": dict(strengths),
                "window": None | [int(), int()] as window,
                "injection": None | "symmetric" | "asymmetric" as injection,
                "prompt": str() | None as prompt,
            } if not any(isinstance(number, bool) for number in (seed, *(window or ()))):
                pass
            case _:
                raise HspaceError("not the state of sliders: incomplete or damaged")
        for name, strength in strengths.items():
            if not isinstance(name, str) or isinstance(strength, bool) or not isinstance(strength, int | float):
                raise HspaceError("not the state of sliders: a strength is a number by name")
            if not abs(strength) <= LIMIT:
                raise HspaceError(f"the slider {name!r} goes from {-LIMIT:g} to {LIMIT:g}")
        return cls(seed, photo, strengths, None if window is None else (window[0], window[1]), injection, prompt)
