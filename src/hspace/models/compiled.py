"""torch.compile for a network whose h is read and changed: stage by stage, with hooks between the stages.

A graph of the whole network would have no place for hooks that come and go. What is compiled are the forward functions
of its stages (`conv_in`, each down block, the mid block, ...); taps lie between them, and the stage around a tap inside
one runs as it is. Derivatives (of second order, too) are taken of the network as it is.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hspace.errors import HspaceWarning
from hspace.models.forwards import Forward, overriding
from hspace.models.tap import Tap

__all__ = ["CompiledStages"]


class CompiledStages:
    """The stages of a network in compiled form.

    Nothing is compiled before the first call, and once more for each memory layout and for a second batch size, which
    then stands for all. Where that fails, one `HspaceWarning` says so, and the network runs as it is from there on.

    Args:
        network: Stays as it is outside of `installed`.
        backend: Of torch.compile.
    """

    def __init__(self, network: nn.Module, backend: str = "inductor") -> None:
        self.backend = backend
        self._stages: dict[nn.Module, Forward] = {}
        try:
            for i, stage in enumerate(_stages(network)):
                self._stages[stage] = self._guarded(stage, _own_code(stage.forward, f"stage_{i}"))
        except RuntimeError as error:  # no torch.compile for this Python or this machine
            self._fall_back(error)

    @contextmanager
    def installed(self, tap: Tap) -> Iterator[None]:
        """Within the context stages run in compiled form, but for one with the tap inside."""
        chosen = [
            (stage, forward)
            for stage, forward in self._stages.items()
            if stage is tap.module or all(module is not tap.module for module in stage.modules())
        ]
        if torch.is_grad_enabled():
            chosen = []
        with overriding(dict(chosen)):
            yield

    def _guarded(self, stage: nn.Module, forward: Forward) -> Forward:
        """Compiled; the stage's own forward where that fails, before anything has run."""
        original, compiled = stage.forward, torch.compile(forward, backend=self.backend)

        def call(*args: Any, **kwargs: Any) -> Any:
            if stage not in self._stages:
                return original(*args, **kwargs)
            try:
                return compiled(*args, **kwargs)
            except torch._dynamo.exc.TorchDynamoException as error:
                self._fall_back(error)
            return original(*args, **kwargs)

        return call

    def _fall_back(self, error: Exception) -> None:
        self._stages.clear()
        reason = " ".join(str(error).split("Set TORCHDYNAMO_VERBOSE")[0].split())[:200]
        warnings.warn(f"torch.compile fails here, the network runs as it is ({reason})", HspaceWarning, stacklevel=2)


def _stages(network: nn.Module) -> list[nn.Module]:
    """Children that have modules inside, those of lists in their place."""
    children: list[nn.Module] = []
    for child in network.children():
        children += child.children() if isinstance(child, nn.ModuleList) else [child]
    return [child for child in children if any(True for _ in child.children())]


def _own_code(forward: Forward, name: str) -> Forward:
    """The same function with code of its own: torch.compile counts and generalizes by code, which stages share."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    code = call.__code__.replace(co_name=name)
    return types.FunctionType(code, call.__globals__, name, None, call.__closure__)
