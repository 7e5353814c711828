"""z of every step on the model's device, drawn ahead of the network.

Noise is drawn on the CPU (a seed is the same sample everywhere). A GPU computes while the CPU goes on: there a thread
draws the noise of the next step meanwhile, and copies from pinned memory wait for nothing.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

from hspace.device import sent
from hspace.diffusion.latents import Latents
from hspace.diffusion.schedule import Schedule

__all__ = ["Noise"]


class Noise:
    """The noise of one batch.

    Args:
        latents: Of the batch.
        schedule: The grid of the run.
        device: Of the model. On the CPU, which would only take turns with itself, nothing is drawn ahead.

    Example:
        >>> import torch
        >>> from hspace.diffusion import Schedule, SeedLatents
        >>> from hspace.diffusion.ahead import Noise
        >>> schedule = Schedule((2, 1), alphas=(0.1, 0.5), final_alpha=1.0, etas=(1.0, 1.0), train_timesteps=3)
        >>> with Noise(SeedLatents((0, 1), (3, 8, 8)), schedule, torch.device("cpu")) as noise:
        ...     noise.at(0).shape, noise.at(1)
        (torch.Size([2, 3, 8, 8]), None)
    """

    def __init__(self, latents: Latents, schedule: Schedule, device: torch.device) -> None:
        self._latents, self._device = latents, device
        self._timesteps = schedule.timesteps
        self._noisy = [sigma > 0 for sigma in schedule.sigmas]
        self._thread = None if device.type == "cpu" else ThreadPoolExecutor(1, "hspace-noise")
        self._drawn: dict[int, Future[Tensor]] = {}

    def at(self, i: int) -> Tensor | None:
        """z of step i, float32; None where sigma is 0."""
        z = None
        if self._noisy[i]:
            drawn = self._drawn.pop(i, None)
            z = sent(self._latents.z(self._timesteps[i]) if drawn is None else drawn.result(), self._device)
        if self._thread is not None and i + 1 < len(self._noisy) and self._noisy[i + 1]:
            self._drawn[i + 1] = self._thread.submit(self._latents.z, self._timesteps[i + 1])
        return z

    def __enter__(self) -> Noise:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
