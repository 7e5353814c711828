"""Runs what lies before the tap once and what lies behind it many times, by the network's own forward.

While a network is encoded, the outermost modules that are done before the tap is reached keep what their forward
returned; while it is decoded, their forward returns that. Everything else runs as always: the modules around the tap
and behind it, and whatever they compute between their modules. Nothing of any network is copied or known beforehand:
which modules these are, and whether replaying them gives what a full pass gives, is found out by `probing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from hspace.models.forwards import Forward, overriding
from hspace.models.outputs import mapped, tensors

__all__ = ["Leaf", "Recorded", "Replay", "Replayed", "repeat"]

Recorded = list[list[Any]]
"""What modules returned: for each of `Replay.modules` its calls, in order."""


@dataclass(frozen=True)
class Leaf:
    """A tensor that a module returned.

    Attributes:
        along: The dimension along which it grows with the batch; None: it does not, such as a positional embedding.
        rows: Entries along it for each row of the batch, such as the windows of a picture.
        groups: Blocks along it that hold all rows each: it lies there as (groups, n, rows / groups).
        in_place: Whether what follows changes it in place: it is copied when recorded and when replayed.
    """

    along: int | None = 0
    rows: int = 1
    groups: int = 1
    in_place: bool = False


@dataclass(frozen=True)
class Replayed:
    """A module that is replayed.

    Attributes:
        module: It.
        calls: The tensors of each of its calls before the tap; later ones run.
        alone: Whether these are all its calls.
    """

    module: nn.Module
    calls: tuple[tuple[Leaf, ...], ...]
    alone: bool = True


@dataclass(frozen=True, eq=False)
class Replay:
    """How a network is decoded at one tap.

    Attributes:
        modules: Those that are replayed; none: every decoding is a full pass.
        reason: In words, how it is decoded and why.
    """

    modules: tuple[Replayed, ...]
    reason: str

    @property
    def possible(self) -> bool:
        """Whether anything is replayed."""
        return bool(self.modules)

    def without_shared(self) -> Replay:
        """Only with modules that are called nowhere else: compiled code may hold calls of those that are."""
        alone = tuple(each for each in self.modules if each.alone)
        reason = self.reason if alone else "full pass: every module before the tap is called again behind it"
        return replace(self, modules=alone, reason=reason)

    @contextmanager
    def recording(self, recorded: Recorded) -> Iterator[None]:
        """Within the context, what the modules return is appended to the list, which is empty before."""
        recorded.extend([] for _ in self.modules)
        running = 0

        def recorder(each: Replayed, outputs: list[Any]) -> Forward:
            forward = each.module.forward

            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal running
                running += 1
                try:
                    output = forward(*args, **kwargs)
                finally:
                    running -= 1
                if not running:  # a call by another replayed module does not happen in a replay
                    outputs.append(_kept(output, each, len(outputs)))
                return output

            return call

        pairs = zip(self.modules, recorded, strict=True)
        with overriding({each.module: recorder(each, outputs) for each, outputs in pairs}):
            yield

    def fits(self, recorded: Recorded, batch: int) -> bool:
        """Whether modules were called, and returned what they did, as often and of such shapes as they should.

        Args:
            recorded: Of one pass.
            batch: Rows of the batch that the network saw.
        """
        if [len(outputs) for outputs in recorded] != [len(each.calls) for each in self.modules]:
            return False
        calls = zip(chain(*(each.calls for each in self.modules)), chain(*recorded), strict=True)
        return all(
            len(found := tensors(output)) == len(leaves)
            and all(
                leaf.along is None or tensor.shape[leaf.along : leaf.along + 1] == (leaf.rows * batch,)
                for leaf, tensor in zip(leaves, found, strict=True)
            )
            for leaves, output in calls
        )

    @contextmanager
    def replaying(self, recorded: Recorded, times: int, branches: int = 1) -> Iterator[None]:
        """Within the context the modules return what was recorded, the batch repeated.

        Args:
            recorded: Of one pass with a batch of (branches, n) rows.
            times: k: the network sees (branches, k, n) rows.
            branches: Blocks of all samples in the batch: 2 with classifier-free guidance.
        """

        def replayer(each: Replayed, outputs: list[Any]) -> Forward:
            forward, remaining = each.module.forward, iter(zip(outputs, each.calls, strict=False))

            def call(*args: Any, **kwargs: Any) -> Any:
                for output, leaves in remaining:
                    return _again(output, leaves, times, branches)
                return forward(*args, **kwargs)

            return call

        pairs = zip(self.modules, recorded, strict=True)
        with overriding({each.module: replayer(each, outputs) for each, outputs in pairs}):
            yield


def repeat(value: Tensor, times: int, groups: int = 1, along: int = 0) -> Tensor:
    """(groups n, ...) -> (groups k n, ...): each group k = `times` times, one after the other.

    Its memory format stays; one copy is made, and none for k = 1.

    Args:
        value: The tensor.
        times: k.
        groups: Blocks that hold all n rows each.
        along: The dimension of the rows.

    Example:
        >>> import torch
        >>> from hspace.models.replay import repeat
        >>> repeat(torch.tensor([0, 1, 10, 11]), 2, groups=2).tolist()
        [0, 1, 0, 1, 10, 11, 10, 11]
    """
    if times == 1:
        return value
    return torch.cat([block for block in value.chunk(groups, along) for _ in range(times)], along)


def _kept(output: Any, each: Replayed, number: int) -> Any:
    if number >= len(each.calls):
        return output  # one more than there should be: it does not fit
    expected = iter(each.calls[number])
    return mapped(lambda tensor: tensor.clone() if next(expected, Leaf()).in_place else tensor, output)


def _again(output: Any, leaves: tuple[Leaf, ...], times: int, branches: int) -> Any:
    expected = iter(leaves)

    def again(tensor: Tensor) -> Tensor:
        leaf = next(expected)
        repeated = tensor if leaf.along is None else repeat(tensor, times, leaf.groups * branches, leaf.along)
        return repeated.clone() if leaf.in_place and repeated is tensor else repeated

    return mapped(again, output)
