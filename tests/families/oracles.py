"""What diffusers' own pipelines do: the states they go through, what their network says, how h is moved by hand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

__all__ = ["Step", "hooked", "steps_of"]


class Step(NamedTuple):
    """What a pipeline hands to its scheduler: the network's output, guided where it is."""

    output: Tensor
    timestep: int
    x_t: Tensor


def steps_of(pipe: Any, *args: Any, **options: Any) -> tuple[list[Step], Any]:
    """The steps of `pipe(*args, **options)`, and what it returned."""
    step, seen = pipe.scheduler.step, []

    @functools.wraps(step)
    def recorded(output: Tensor, timestep: Any, sample: Tensor, *rest: Any, **more: Any) -> Any:
        seen.append(Step(output.clone(), int(timestep), sample.clone()))
        return step(output, timestep, sample, *rest, **more)

    pipe.scheduler.step = recorded
    try:
        returned = pipe(*args, **options)
    finally:
        del pipe.scheduler.step
    return seen, returned


@contextmanager
def hooked(module: nn.Module, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """`change` of the module's output in every pass."""
    handle = module.register_forward_hook(lambda _, __, output: change(output))
    try:
        yield
    finally:
        handle.remove()
