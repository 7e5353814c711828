"""What somebody asks of a conditional model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from hspace.errors import HspaceError

__all__ = ["Condition", "Shifted"]

Shifted = Literal["both", "conditional"]
"""Which passes of classifier-free guidance a shift of h goes into."""


@dataclass(frozen=True)
class Condition:
    r"""A prompt or a class, and how strongly it guides.

    Classifier-free guidance (Ho & Salimans, arXiv 2207.12598):

        output = uncond + guidance_scale * (cond - uncond)

    Directions are found under one condition and apply under others: it belongs to a run, not to h.

    Args:
        prompt: Text; None for a model without.
        negative_prompt: Text of the unconditional pass.
        label: Number of a class; None for a model without.
        guidance_scale: 1 or less: one pass, without guidance.
        shifted: Whether a shift of h goes into both passes or into the conditional one only. h is always that of the
            conditional pass.

    Raises:
        HspaceError: guidance_scale is not a finite number; an unknown `shifted`.

    Example:
        >>> from hspace.models.conditioning import Condition
        >>> Condition(prompt="a portrait", guidance_scale=5.0).guided, Condition(label=3).guided
        (True, False)
    """

    prompt: str | None = None
    negative_prompt: str = ""
    label: int | None = None
    guidance_scale: float = 1.0
    shifted: Shifted = "both"

    def __post_init__(self) -> None:
        if not math.isfinite(self.guidance_scale):
            raise HspaceError(f"guidance_scale must be a number, not {self.guidance_scale}")
        if self.shifted not in get_args(Shifted):
            raise HspaceError(f"shifted must be one of {', '.join(get_args(Shifted))}, not {self.shifted!r}")

    @property
    def guided(self) -> bool:
        """Whether there is an unconditional pass beside the conditional one."""
        return self.guidance_scale > 1

    def given(self) -> dict[str, Any]:
        """As `hspace.load` and `Denoiser.conditioned` take it, without what need not be said.

        Example:
            >>> from hspace.models.conditioning import Condition
            >>> Condition(prompt="a portrait").given()
            {'prompt': 'a portrait', 'guidance_scale': 1.0}
        """
        own = {"prompt": self.prompt, "label": self.label, "guidance_scale": self.guidance_scale}
        more = {"negative_prompt": self.negative_prompt, "shifted": self.shifted}
        said = {name: value for name, value in more.items() if value != getattr(Condition, name)}
        return {name: value for name, value in own.items() if value is not None} | said

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Condition:
        """The inverse of `to_json`.

        Raises:
            HspaceError: A field is unknown or of the wrong type.
        """
        match data:
            case {
                "prompt": str() | None,
                "negative_prompt": str(),
                "label": int() | None,
                "guidance_scale": int() | float(),
                "shifted": str(),
                **rest,
            } if not rest:
                return cls(**data)
        raise HspaceError("not the condition of a run: incomplete or damaged")

    def __str__(self) -> str:
        parts = []
        if self.prompt is not None:
            parts.append(f"prompt {self.prompt!r}")
        if self.label is not None:
            parts.append(f"label {self.label}")
        if self.guided:
            against = f" against {self.negative_prompt!r}" if self.negative_prompt else ""
            parts.append(f"guidance {self.guidance_scale:g}{against}")
            if self.shifted != "both":
                parts.append("shifted in the conditional pass only")
        return ", ".join(parts) or "no condition"
