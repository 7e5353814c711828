"""What makes the samples of a job these and no others, for its state on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hspace.diffusion.sampler import Sampler
from hspace.diffusion.schedule import Injection
from hspace.jobs.job import digest

__all__ = ["about_run"]


def about_run(sampler: Sampler, seeds: Sequence[int], injection: Injection = "symmetric") -> dict[str, Any]:
    """Model, tap, grid, batches and seeds, as plain JSON types.

    The size of a batch is part of it, and so are the network's layout and compiled stages: last bits depend on them.

    Example:
        >>> import hspace
        >>> from hspace.diffusion.identity import about_run
        >>> sorted(about_run(hspace.Sampler(hspace.load("faces64"), steps=2), range(4)))
        ['batch_size', 'channels_last', 'compiled', 'dtype', 'samples', 'seeds', 'setting']
    """
    return {
        "setting": sampler.setting(injection).to_json(),
        "dtype": str(sampler.model.dtype).removeprefix("torch."),
        "channels_last": sampler.model.is_channels_last,
        "compiled": sampler.model.is_compiled,
        "batch_size": sampler.batch_size,
        "samples": len(seeds),
        "seeds": digest(seeds),
    }
