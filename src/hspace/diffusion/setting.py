"""The circumstances of a run: which model, which tap, which grid, how shifts go in.

A direction remembers the setting it was found in, and every run has one; comparing the two says whether and how the
direction applies.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, get_args

from hspace.diffusion.schedule import Injection, Schedule
from hspace.errors import HspaceError
from hspace.models.conditioning import Condition

__all__ = ["Setting", "Space"]

Space = Literal["h", "noise"]
"""Where a direction lives: in h at every timestep, or in x_T, where the trajectory starts."""


@dataclass(frozen=True)
class Setting:
    """The circumstances of one run.

    Attributes:
        model_id: Name of the model.
        weight_hash: Of its weights.
        tap: Name of the tap; "x_T" in the space of noise.
        h_shape: Shape of one sample's h; in the space of noise that of x_T.
        schedule: Sampling grid with eta.
        injection: Symmetric or asymmetric; it means nothing in the space of noise.
        space: h, or x_T.
        condition: Prompt or class of the run; None for unconditional models. Directions apply under any, so it does not
            count when settings are compared.
    """

    model_id: str
    weight_hash: str
    tap: str
    h_shape: tuple[int, ...]
    schedule: Schedule
    injection: Injection = "symmetric"
    space: Space = "h"
    condition: Condition | None = field(default=None, compare=False)

    @property
    def timesteps(self) -> tuple[int, ...]:
        """Those at which a direction has a vector, descending: all of the grid, or in the space of noise the first."""
        return self.schedule.timesteps if self.space == "h" else self.schedule.timesteps[:1]

    def in_noise(self, image_shape: tuple[int, ...]) -> Setting:
        """The same circumstances for directions of x_T, which has the shape of a picture."""
        return replace(self, tap="x_T", h_shape=tuple(image_shape), space="noise")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types; without a condition where there is none."""
        data = asdict(self)
        return {name: value for name, value in data.items() if name != "condition" or value is not None}

    @classmethod
    def from_json(cls, data: Any) -> Setting:
        """The inverse of `to_json`.

        Raises:
            HspaceError: A field is missing, unknown or of the wrong type.
        """
        if not _is_setting(data):
            raise HspaceError("not the setting of a run: incomplete or damaged")
        try:
            schedule: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data["schedule"].items()}
            condition = None if data.get("condition") is None else Condition.from_json(data["condition"])
            parts = {"h_shape": tuple(data["h_shape"]), "schedule": Schedule(**schedule), "condition": condition}
            return cls(**{**data, **parts})
        except (KeyError, TypeError, AttributeError) as error:
            raise HspaceError(f"not the setting of a run ({error})") from error

    def check_same_space(self, other: Setting) -> None:
        """Whether an h of one setting means the same in the other: same weights, tap, shape and training schedule.

        Raises:
            HspaceError: With what was expected and what was found.
        """
        if self.weight_hash == other.weight_hash:  # one model may have two names
            other = replace(other, model_id=self.model_id)
        if self.space != other.space:
            names = {"h": "h", "noise": "x_T"}
            raise HspaceError(f"a direction of {names[self.space]} can't be used as one of {names[other.space]}")
        for what, mine, theirs in (
            ("shape of h", self.h_shape, other.h_shape),
            ("weights", f"{self.model_id} {self.weight_hash}", f"{other.model_id} {other.weight_hash}"),
            ("tap", self.tap, other.tap),
            ("training timesteps", self.schedule.train_timesteps, other.schedule.train_timesteps),
        ):
            if mine != theirs:
                raise HspaceError(f"a direction of another model: its {what} {mine}, here {theirs}")


def _is_setting(data: Any) -> bool:
    """Whether JSON has the fields and types of a setting, for every step as many numbers, on a grid that descends."""
    match data:
        case {
            "model_id": str(),
            "weight_hash": str(),
            "tap": str(),
            "h_shape": [*shape],
            "schedule": {
                "timesteps": [*timesteps],
                "alphas": [*alphas],
                "etas": [*etas],
                "final_alpha": final_alpha,
                "train_timesteps": train_timesteps,
            },
            "injection": injection,
            **rest,
        }:
            return (
                all(isinstance(number, int) for number in (*shape, *timesteps, train_timesteps))
                and all(isinstance(number, (int, float)) for number in (*alphas, *etas, final_alpha))
                and len(timesteps) == len(alphas) == len(etas) > 0
                and all(high > low for high, low in pairwise(timesteps))
                and injection in get_args(Injection)
                and rest.get("space", "h") in get_args(Space)
            )
    return False
