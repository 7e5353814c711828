"""The circumstances of a run: which model, which tap, which grid, how shifts go in.

A direction remembers the setting it was found in, and every run has one; comparing the two says whether and how the
direction applies.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hspace.diffusion.schedule import Injection, Schedule
from hspace.errors import HspaceError

__all__ = ["Setting"]


@dataclass(frozen=True)
class Setting:
    """Attributes:
    model_id: Name of the model.
    weight_hash: Of its weights.
    tap: Name of the tap.
    h_shape: Shape of one sample's h.
    schedule: Sampling grid with eta.
    injection: Symmetric or asymmetric.
    """

    model_id: str
    weight_hash: str
    tap: str
    h_shape: tuple[int, ...]
    schedule: Schedule
    injection: Injection = "symmetric"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Setting:
        """The inverse of `to_json`.

        Raises:
            HspaceError: A field is missing or unknown.
        """
        try:
            schedule = {k: tuple(v) if isinstance(v, list) else v for k, v in data["schedule"].items()}
            return cls(**{**data, "h_shape": tuple(data["h_shape"]), "schedule": Schedule(**schedule)})
        except (KeyError, TypeError, AttributeError) as error:
            raise HspaceError(f"not the setting of a run ({error})") from error

    def check_same_space(self, other: Setting) -> None:
        """Whether an h of one setting means the same in the other: same weights, tap, shape and training schedule.

        Raises:
            HspaceError: With what was expected and what was found.
        """
        for what, mine, theirs in (
            ("shape of h", self.h_shape, other.h_shape),
            ("weights", (self.model_id, self.weight_hash), (other.model_id, other.weight_hash)),
            ("tap", self.tap, other.tap),
            ("training timesteps", self.schedule.train_timesteps, other.schedule.train_timesteps),
        ):
            differ = mine[1] != theirs[1] if what == "weights" else mine != theirs  # one model may have two names
            if differ:
                raise HspaceError(f"a direction of another model: its {what} {_text(mine)}, here {_text(theirs)}")


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) and all(isinstance(v, str) for v in value) else str(value)
