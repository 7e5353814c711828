"""Samples drawn by all processes of a launcher, kept on disk while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.diffusion.identity import about_run
from hspace.diffusion.latents import as_seeds
from hspace.diffusion.sampler import Sampler
from hspace.jobs import Checkpoint, Job, Table
from hspace.progress import Progress

__all__ = ["draw_each", "draw_samples"]


def draw_samples(
    sampler: Sampler,
    seeds: Iterable[int],
    *,
    progress: Progress = False,
    checkpoint: Checkpoint | None = None,
) -> Float[Tensor, "n c y x"]:
    """As `sampler.run(seeds)`, each process its share; all of them get all pictures.

    Args:
        sampler: Draws them.
        seeds: Of the samples.
        progress: True for a bar, or a function of (done, total) image-steps.
        checkpoint: Where the state is kept, to go on from; see `hspace.Checkpoint`.

    Raises:
        HspaceError: A state of another job; another process is lost.

    Example:
        >>> import hspace
        >>> from hspace.diffusion import draw_samples
        >>> draw_samples(hspace.Sampler(hspace.load("faces64"), steps=2), range(2)).shape
        torch.Size([2, 3, 64, 64])
    """
    table = Table()
    _draw(sampler, as_seeds(seeds), table, lambda _, pictures: {"x_0": pictures}, progress, checkpoint)
    return table["x_0"]


def draw_each(
    sampler: Sampler,
    seeds: Iterable[int],
    use: Callable[[tuple[int, ...], Float[Tensor, "b c y x"]], None],
    *,
    progress: Progress = False,
    checkpoint: Checkpoint | None = None,
) -> None:
    """The same for more pictures than memory holds: each process hands on those that it draws, batch by batch.

    Args:
        sampler: Draws them.
        seeds: Of the samples.
        use: Takes the seeds and the pictures of a batch, which it writes somewhere for instance; after an interruption
            it may be given again what it was given last.
        progress: True for a bar, or a function of (done, total) image-steps.
        checkpoint: Where is kept which ones are done.

    Raises:
        HspaceError: A state of another job; another process is lost.
    """

    def row(some: tuple[int, ...], x_0: Tensor) -> dict[str, Tensor]:
        use(some, x_0)
        return {"done": torch.ones(len(some), dtype=torch.bool)}

    _draw(sampler, as_seeds(seeds), Table(), row, progress, checkpoint)


def _draw(
    sampler: Sampler,
    seeds: tuple[int, ...],
    table: Table,
    row: Callable[[tuple[int, ...], Tensor], dict[str, Any]],
    progress: Progress,
    checkpoint: Checkpoint | None,
) -> None:
    job = Job({"job": "sample", **about_run(sampler, seeds)}, checkpoint, device=sampler.model.device)
    with job.stage("samples", len(seeds), table) as stage:
        left = stage.of(seeds)
        for where, x_0 in sampler.stream(left, progress=stage.shows(progress)) if left else ():
            stage.add(row(tuple(left[where]), x_0))
