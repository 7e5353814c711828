"""What turns a condition into what a network takes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from hspace.models.conditioning.branches import Branches
from hspace.models.conditioning.condition import Condition

__all__ = ["Conditioner"]


@runtime_checkable
class Conditioner(Protocol):
    """Knows the kind of condition that a network takes: a prompt, a class, or something of your own."""

    @property
    def default(self) -> Condition | None:
        """What holds when nothing is asked for; None where something has to be."""

    @property
    def guidance_scale(self) -> float:
        """What is usual for the model: that of the first condition that asks for none."""

    @property
    def wanted(self) -> str:
        """What has to be asked for, for errors: "a class, label 0 to 999"."""

    def branches(self, condition: Condition) -> Branches:
        """The passes of the network.

        Raises:
            HspaceError: A condition that the network does not take.
        """
