r"""Gradients through the whole sampler, in the memory of one step.

A loss of x_0 depends on parameters theta that change h at every step. Only the small latents are kept on the way down;
on the way back every segment of steps runs once more, with its graph (Chen et al., arXiv 1604.06174; the algorithm of
Zhang et al., arXiv 2310.09912, is of this kind):

    without a graph:  X[S] = x_T;  X[i-1] = step_i(X[i]; theta)              keep the X
    g = dL/dx_0
    with a graph, i = 1 .. S:  y = step_i(X[i]; theta);  g, dtheta = vjp(y, (X[i], theta); g)

The result equals that of automatic differentiation through everything, to rounding. With `segment` steps in a graph
there are fewer latents to keep and the last segment need not run twice: memory for time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.device import is_out_of_memory, sent
from hspace.diffusion.intervention import ChangeOfH
from hspace.diffusion.latents import Latents
from hspace.diffusion.sampler import Sampler
from hspace.diffusion.schedule import Injection
from hspace.diffusion.step import stepped
from hspace.errors import HspaceError
from hspace.progress import Progress, reporting

__all__ = ["Gradients", "Loss", "backpropagate"]

Loss = Callable[[Tensor, slice], Tensor]
"""(x_0 (b, c, h, w), rows of the run) -> a scalar. x_0 of a latent model are latents, not decoded."""


class Gradients(NamedTuple):
    """What comes beside the gradients of the parameters, which are added to their `.grad`.

    Attributes:
        loss: Sum over the batches.
        x_0: (n, c, h, w) the samples, on the CPU.
        x_T: (n, c, h, w) dL/dx_T, on the CPU.
    """

    loss: float
    x_0: Float[Tensor, "n c y x"]
    x_T: Float[Tensor, "n c y x"]


def backpropagate(
    sampler: Sampler,
    latents: Latents | Iterable[int],
    change: ChangeOfH,
    loss: Loss,
    *,
    injection: Injection = "symmetric",
    segment: int = 1,
    progress: Progress = False,
) -> Gradients:
    """Add the gradients of a loss of x_0 to the `.grad` of every tensor that `change` and `loss` use.

    The network is frozen and gets none. Call it several times to accumulate, or in `torch.autocast`.

    Args:
        sampler: Draws the samples; a run of more rows than its batch size goes batch by batch, and losses add up. A
            batch that does not fit into memory starts again with half of its rows, as in `Sampler.run`, if that shows
            before its loss is asked for.
        latents: Or seeds.
        change: What becomes of h at every step; differentiable.
        loss: Of x_0 of a batch; any differentiable function, such as a reward or the loss of another network. It sees
            the latents of a latent model: one of pictures decodes them itself, by
            `model.codec.autoencoder.decode(x_0 / model.codec.scale + model.codec.shift).sample`.
        injection: Whether the changed h counts in x_0 and eps, or in x_0 only.
        segment: Steps in one graph. Memory grows with it; from the number of steps on it is automatic
            differentiation through everything.
        progress: True for a bar, or a function of (done, total) image-steps, there and back.

    Raises:
        HspaceError: A segment below 1; a loss that is no scalar or does not depend on the samples; out of memory once
            gradients of a batch are partly there.

    Example:
        >>> import torch, hspace
        >>> from hspace.diffusion import backpropagate
        >>> sampler = hspace.Sampler(hspace.load("faces64", device="cpu"), steps=3, eta=0.0)
        >>> shift = torch.zeros(sampler.model.h_shape, requires_grad=True)
        >>> found = backpropagate(sampler, range(2), lambda t, h, rows: h + shift, lambda x_0, rows: x_0.mean())
        >>> shift.grad.shape, bool(shift.grad.any())
        (torch.Size([128, 8, 8]), True)
    """
    if segment < 1:
        raise HspaceError(f"segment must be at least 1, not {segment}")
    rows = sampler.as_latents(latents)
    sampler.check(rows)
    model, schedule = sampler.model, sampler.schedule
    steps = len(schedule)
    starts = list(range(0, steps, segment))

    def ran(x_t: Tensor, first: int, here: Latents, where: slice) -> Tensor:
        """A segment from its first step on."""
        for i in range(first, min(first + segment, steps)):
            timestep = schedule.timesteps[i]
            z = sent(here.z(timestep), model.device) if schedule.sigmas[i] > 0 else None
            x_t, _ = stepped(model, schedule, i, x_t, z, partial(_called, change, timestep, where), injection)
            advance(len(x_t))
        return x_t

    def there(here: Latents, where: slice) -> tuple[list[Tensor], Tensor]:
        """x_t at the start of every segment, the last of them with a graph from it to x_0."""
        kept = [sent(here.x_T(), model.device).to(model.state_dtype)]
        with torch.no_grad():
            for first in starts[:-1]:
                kept.append(ran(kept[-1], first, here, where))
        with torch.enable_grad():
            kept[-1] = kept[-1].detach().requires_grad_()
            y = ran(kept[-1], starts[-1], here, where)
            rest = here.remainder()
            return kept, y if rest is None else y + rest.to(y)

    def back(kept: list[Tensor], x_0: Tensor, here: Latents, where: slice) -> tuple[Tensor, Tensor]:
        """The loss and dL/dx_T; gradients of parameters are added up on the way."""
        with torch.enable_grad():
            value = loss(x_0, where)
            _check(value)
            value.backward()
            gradient = _gradient(kept.pop())
            for first in reversed(starts[:-1]):
                x_t = kept.pop().detach().requires_grad_()
                torch.autograd.backward(ran(x_t, first, here, where), gradient)
                gradient = _gradient(x_t)
        return value.detach(), gradient

    def worked(where: slice) -> tuple[float, Tensor, Tensor]:
        here = rows[where]
        kept, x_0 = there(here, where)
        try:
            value, gradient = back(kept, x_0, here, where)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            n = where.stop - where.start
            raise HspaceError(
                f"out of memory on the way back through {n} samples, whose gradients are partly added up: start again "
                "with a smaller batch_size of the sampler"
            ) from error
        return float(value), x_0.detach().cpu(), gradient.cpu()

    again = steps - len(range(starts[-1], steps))  # all but the last segment run twice
    with reporting(progress, len(rows) * (steps + again)) as advance:
        values, samples, gradients = zip(*(found for _, found in sampler.batches(len(rows), worked)), strict=True)
    return Gradients(sum(values), torch.cat(samples), torch.cat(gradients))


def _gradient(x_t: Tensor) -> Tensor:
    if x_t.grad is None:
        raise HspaceError("the loss does not depend on the samples")
    return x_t.grad


def _called(change: ChangeOfH, timestep: int, where: slice, h: Tensor) -> Tensor:
    return change(timestep, h, where)


def _check(value: Tensor) -> None:
    if value.numel() != 1:
        raise HspaceError(f"a loss is one number, not a tensor of shape {tuple(value.shape)}")
    if not value.requires_grad:
        raise HspaceError("the loss does not depend on the samples")
