"""Models of classes: one label, and where there is a class of its own for "none", guidance."""

from __future__ import annotations

import torch

from hspace.errors import HspaceError
from hspace.models.conditioning.branches import Branches
from hspace.models.conditioning.condition import Condition

__all__ = ["Labels"]


class Labels:
    """Condition by the number of a class.

    Args:
        classes: How many there are.
        none: Number that stands for no class; None for networks that know none.
        guidance_scale: Usual for the model.

    Example:
        >>> from hspace.models.conditioning import Condition, Labels
        >>> len(Labels(1000, none=1000).branches(Condition(label=3, guidance_scale=4.0)))
        2
    """

    default: Condition | None = None

    def __init__(self, classes: int, none: int | None = None, guidance_scale: float = 1.0) -> None:
        self.classes, self.none, self.guidance_scale = classes, none, guidance_scale

    @property
    def wanted(self) -> str:
        """For errors."""
        return f"a class, label 0 to {self.classes - 1}"

    def branches(self, condition: Condition) -> Branches:
        """One pass, or with guidance two.

        Raises:
            HspaceError: No such class, a prompt, or guidance of a network without a class for "none".
        """
        label = condition.label
        if condition.prompt is not None or condition.negative_prompt:
            raise HspaceError(f"the model takes no prompt, but {self.wanted}")
        if label is None or not 0 <= label < self.classes:
            raise HspaceError(f"the model takes {self.wanted}; found {'none' if label is None else label}")
        own = {"class_labels": torch.tensor([label])}
        if not condition.guided:
            return Branches((own,))
        if self.none is None:
            raise HspaceError("the model has no class for 'none' to guide against: guidance_scale must be 1")
        none = {"class_labels": torch.tensor([self.none])}
        return Branches((none, own), condition.guidance_scale, condition.shifted == "both")
