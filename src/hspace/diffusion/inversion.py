r"""Inversion: the latents whose sample is a given picture.

DDIM (eta 0): the steps of the sampler are undone one by one, from x_0 up. Step i of the sampler is
x_{t-1} = a x_t + b eps(x_t, t), so that

    x_t = (x_{t-1} - b eps(x_t, t)) / a,

which has x_t on both sides: the plain inversion (Song et al. 2021) puts x_{t-1} into eps, and `refine` rounds solve for
the fixed point (Pan et al., arXiv 2309.04907, iterate likewise), with Anderson's acceleration.

Edit-friendly DDPM (eta > 0; Huberman-Spiegelglas et al., arXiv 2304.06140): x_t ~ q(x_t | x_0) is drawn independently
for every t, and the noise of each step is solved for,

    z_t = (x_{t-1} - mu_t(x_t)) / sigma_t,

so that a run with these z ends at x_0 by construction. The last step has no noise (sigma 0); what it misses is kept as
the `remainder` and added in the end (ours).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from os import PathLike
from typing import Any, overload

import torch
from jaxtyping import Float
from torch import Tensor

from hspace import tensorfile
from hspace.diffusion.intervention import Recorder
from hspace.diffusion.latents import noise
from hspace.diffusion.schedule import Schedule
from hspace.diffusion.setting import Setting
from hspace.errors import HspaceError
from hspace.models.denoiser import Denoiser
from hspace.progress import Advance

__all__ = ["Inversion", "Part", "check_pictures", "inverted", "joined", "psnr"]

FORMAT = "hspace-inversion-1"

Part = tuple[Tensor, Tensor | None, Tensor | None]
"""x_T, noises and remainder of a batch."""


@dataclass(frozen=True, eq=False)
class Inversion:
    """Latents found from pictures, by `Sampler.invert`.

    Attributes:
        start: (n, c, h, w) x_T; of latent models that of latents.
        noises: (n, S, c, h, w) z of every step from the highest timestep down; None with eta 0.
        rest: (n, c, h, w) what is added in the end; None with eta 0.
        images: (n, k, h, w) the pictures, float32.
        setting: Of the sampler; a run needs the same grid and eta.
        names: Of the pictures.
        psnr: (n,) of the reconstruction, dB; for pictures in [-1, 1], 10 log10(4 / mean squared error).
        codec_psnr: (n,) of what the autoencoder alone makes of the pictures, there and back: what a latent model's
            reconstruction can reach. None for a pixel model.
    """

    start: Float[Tensor, "n c y x"]
    noises: Float[Tensor, "n s c y x"] | None
    rest: Float[Tensor, "n c y x"] | None
    images: Float[Tensor, "n k h w"]
    setting: Setting
    names: tuple[str, ...]
    psnr: Float[Tensor, " n"]
    codec_psnr: Float[Tensor, " n"] | None = None

    def __len__(self) -> int:
        return len(self.start)

    @overload
    def __getitem__(self, rows: slice) -> Inversion: ...
    @overload
    def __getitem__(self, rows: Sequence[int]) -> Chosen: ...
    def __getitem__(self, rows: slice | Sequence[int]) -> Inversion | Chosen:
        """A slice shares the tensors; rows in any order, and any number of times, are looked up when asked for."""
        if not isinstance(rows, slice):
            return Chosen(self, tuple(rows))
        noises = None if self.noises is None else self.noises[rows]
        rest = None if self.rest is None else self.rest[rows]
        names, psnr = self.names[rows], self.psnr[rows]
        of_codec = None if self.codec_psnr is None else self.codec_psnr[rows]
        return Inversion(self.start[rows], noises, rest, self.images[rows], self.setting, names, psnr, of_codec)

    def x_T(self) -> Float[Tensor, "n c y x"]:
        """Start of every sample."""
        return self.start

    def z(self, timestep: int) -> Float[Tensor, "n c y x"]:
        """Noise of a timestep of the grid.

        Raises:
            HspaceError: A run with eta > 0 of an inversion with eta 0, or on another grid.
        """
        timesteps = self.setting.schedule.timesteps
        if self.noises is None:
            raise HspaceError("these pictures were inverted with eta 0: sample with eta 0, or invert with eta > 0")
        if timestep not in timesteps:
            raise HspaceError(f"these pictures were inverted on another grid, without timestep {timestep}")
        return self.noises[:, timesteps.index(timestep)]

    def remainder(self) -> Float[Tensor, "n c y x"] | None:
        """What is added in the end."""
        return self.rest

    def check(self, setting: Setting) -> None:
        """Whether a run of this setting gives the pictures back.

        Raises:
            HspaceError: Another model, grid or eta.
        """
        if self.setting.weight_hash != setting.weight_hash:
            mine, other = (f"{s.model_id} {s.weight_hash}" for s in (self.setting, setting))
            raise HspaceError(f"pictures were inverted with the model {mine}; the run has {other}")
        if self.setting.schedule != setting.schedule:
            mine, other = (
                f"{len(grid)} steps from t = {grid.timesteps[0]}, eta {grid.etas[0]:g}"
                for grid in (self.setting.schedule, setting.schedule)
            )
            raise HspaceError(f"pictures were inverted with {mine}; the run has {other}: sample as they were inverted")

    def measured(self, reconstruction: Float[Tensor, "n k h w"]) -> Inversion:
        """With the PSNR of a reconstruction."""
        return replace(self, psnr=psnr(self.images, reconstruction))

    def described(self, row: int) -> str:
        """How well a picture was reconstructed, in words.

        Example:
            >>> import hspace
            >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
            >>> sampler.invert(sampler.run([0])).described(0).split(" of ")[0]
            'reconstructed with a PSNR'
        """
        words = f"reconstructed with a PSNR of {float(self.psnr[row]):.1f} dB"
        if self.codec_psnr is None:
            return words
        return f"{words}, where the autoencoder alone reaches {float(self.codec_psnr[row]):.1f} dB"

    def save(self, path: str | PathLike[str]) -> None:
        """One safetensors file, with the pictures as thumbnails and the setting.

        Raises:
            HspaceError: It can't be written; what was there before is untouched.
        """
        tensors = {"x_T": self.start, "z": self.noises, "remainder": self.rest, "images": self.images}
        header = {"setting": self.setting.to_json(), "names": list(self.names), "psnr": self.psnr.tolist()}
        if self.codec_psnr is not None:
            header["codec_psnr"] = self.codec_psnr.tolist()
        tensorfile.write(path, FORMAT, header, {name: x for name, x in tensors.items() if x is not None})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Inversion:
        """Open a file made by `save`, on any machine.

        Raises:
            HspaceError: Not such a file, truncated, of a wrong shape, or with NaN.
        """
        header, tensors = tensorfile.read(path, FORMAT, "an inversion")
        try:
            setting = Setting.from_json(header["setting"])
            names, psnr = tuple(map(str, header["names"])), torch.tensor(header["psnr"], dtype=torch.float32)
            of_codec = header.get("codec_psnr")
            of_codec = None if of_codec is None else torch.tensor(of_codec, dtype=torch.float32)
            start, images = tensors["x_T"], tensors["images"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error) if isinstance(error, HspaceError) else f"incomplete or damaged ({error})"
            raise HspaceError(f"{path}: {reason}") from error
        n, steps = len(start), len(setting.schedule)
        expected = {"x_T": start.shape, "images": images.shape, "remainder": start.shape}
        expected["z"] = torch.Size((n, steps, *start.shape[1:]))
        for name, tensor in tensors.items():
            if name not in expected or tensor.shape != expected[name]:
                raise HspaceError(f"{path}: tensor {name} of shape {tuple(tensor.shape)} does not belong there")
            if not (tensor.is_floating_point() and bool(tensor.isfinite().all())):
                raise HspaceError(f"{path}: tensor {name} holds NaN, infinite or no floating-point numbers")
        counts = {n, len(images), len(names), len(psnr), n if of_codec is None else len(of_codec)}
        if start.ndim != 4 or images.ndim != 4 or len(counts) > 1 or ("z" in tensors) != ("remainder" in tensors):
            raise HspaceError(f"{path}: incomplete: expected x_T, names and PSNR of {n} pictures")
        return cls(start, tensors.get("z"), tensors.get("remainder"), images, setting, names, psnr, of_codec)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some rows of an inversion, as latents: the noise of one step is looked up at a time."""

    inversion: Inversion
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | Sequence[int]) -> Chosen:
        chosen = self.rows[rows] if isinstance(rows, slice) else tuple(self.rows[row] for row in rows)
        return Chosen(self.inversion, chosen)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pictures."""
        return tuple(self.inversion.names[row] for row in self.rows)

    def x_T(self) -> Float[Tensor, "n c y x"]:
        """Start of every sample."""
        return self.inversion.start[list(self.rows)]

    def z(self, timestep: int) -> Float[Tensor, "n c y x"]:
        """Noise of a timestep of the grid."""
        return self.inversion.z(timestep)[list(self.rows)]

    def remainder(self) -> Float[Tensor, "n c y x"] | None:
        """What is added in the end."""
        rest = self.inversion.remainder()
        return None if rest is None else rest[list(self.rows)]

    def check(self, setting: Setting) -> None:
        """As for the whole."""
        self.inversion.check(setting)


def psnr(images: Float[Tensor, "n k h w"], others: Float[Tensor, "n k h w"]) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio of pictures in [-1, 1], dB, on the CPU.

    Example:
        >>> import torch
        >>> from hspace.diffusion.inversion import psnr
        >>> psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.2)).round(decimals=2)
        tensor([20.])
    """
    error = (others.cpu().float() - images.cpu().float()).square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error.clamp_min(1e-12))


def check_pictures(images: Tensor, picture_shape: tuple[int, ...]) -> None:
    """Whether a model can invert them.

    Raises:
        HspaceError: None at all, another shape, no floats, or NaN.
    """
    if images.ndim != 4 or tuple(images.shape[1:]) != picture_shape or not len(images):
        expected = ", ".join(map(str, picture_shape))
        raise HspaceError(f"pictures must have shape (n, {expected}), found {tuple(images.shape)}")
    if not (images.is_floating_point() and bool(images.isfinite().all())):
        raise HspaceError("pictures must be finite floating-point numbers in [-1, 1]")


@torch.no_grad()
def inverted(
    model: Denoiser,
    schedule: Schedule,
    x_0: Tensor,
    seeds: Sequence[int],
    refine: int,
    where: slice,
    record: Recorder | None,
    advance: Advance,
) -> Part:
    """x_T, noises and remainder of a batch, on the CPU."""
    if refine < 0:
        raise HspaceError(f"refine must be at least 0, not {refine}")
    if not any(schedule.etas):
        return _ddim(model, schedule, x_0, refine, where, record, advance), None, None
    if not all(sigma > 0 for sigma in schedule.sigmas[:-1]):
        raise HspaceError("edit-friendly inversion needs eta > 0 at every step; DDIM inversion eta 0 at every step")
    return _edit_friendly(model, schedule, x_0, seeds, where, record, advance)


def _ddim(
    model: Denoiser,
    schedule: Schedule,
    x_0: Tensor,
    refine: int,
    where: slice,
    record: Recorder | None,
    advance: Advance,
) -> Tensor:
    x_t: Tensor = x_0
    for i in reversed(range(len(schedule))):
        timestep, alpha, alpha_prev = schedule.timesteps[i], schedule.alphas[i], schedule.alphas_prev[i]
        a = math.sqrt(alpha_prev / alpha)
        b = math.sqrt(1 - alpha_prev) - a * math.sqrt(1 - alpha)
        below = x_t

        def undone(x: Tensor) -> Tensor:
            return (below - b * model.predict(x, timestep).eps) / a  # noqa: B023 (called within this round)

        x_t = _fixed_point(undone, below, refine)
        if record is not None:
            record(timestep, model.observe(x_t, timestep)[1], where)
        advance(len(x_t))
    return x_t.cpu()


def _fixed_point(g: Callable[[Tensor], Tensor], x: Tensor, refine: int, memory: int = 4) -> Tensor:
    """g(x), improved by `refine` rounds of Anderson's acceleration towards x = g(x); a row never gets worse.

    Plain iteration does not contract where the network removes noise almost completely; with the last few rounds taken
    together (Anderson 1965) it converges there too.
    """
    shape, x = x.shape, x.flatten(1)
    moved = g(x.reshape(shape)).flatten(1)
    best, least = moved, torch.full_like(x[:, 0], torch.inf)
    gaps: list[Tensor] = [moved - x]
    images: list[Tensor] = [moved]
    x = moved
    for _ in range(refine + 1 if refine else 0):  # the last one only tells whether the others helped
        moved = g(x.reshape(shape)).flatten(1)
        gaps, images = [*gaps[-memory:], moved - x], [*images[-memory:], moved]
        error = gaps[-1].norm(dim=1)
        better = error < least
        best, least = torch.where(better[:, None], x, best), torch.where(better, error, least)
        differences = torch.stack([after - before for before, after in pairwise(gaps)], 2).double()
        steps = [after - before for before, after in pairwise(images)]
        normal = differences.mT @ differences
        ridge = 1e-10 * normal.diagonal(dim1=1, dim2=2).amax(1)[:, None, None] + 1e-300
        weights = torch.linalg.solve(
            normal + ridge * torch.eye(normal.shape[1]).to(normal), differences.mT @ gaps[-1].double()[..., None]
        )
        x = moved - (torch.stack(steps, 2) @ weights.to(moved))[..., 0]
    return best.reshape(shape)


def _edit_friendly(
    model: Denoiser,
    schedule: Schedule,
    x_0: Tensor,
    seeds: Sequence[int],
    where: slice,
    record: Recorder | None,
    advance: Advance,
) -> Part:
    shape = tuple(x_0.shape[1:])

    def drawn(i: int) -> Tensor:
        """x_t of q(x_t | x_0) for step i, each from a stream of its own."""
        alpha = schedule.alphas[i]
        fresh = noise(seeds, schedule.timesteps[i] + 1, shape).to(x_0)
        return math.sqrt(alpha) * x_0 + math.sqrt(1 - alpha) * fresh

    start = x_t = drawn(0)
    zs = []
    for i, (timestep, sigma) in enumerate(zip(schedule.timesteps, schedule.sigmas, strict=True)):
        (eps, predicted), h = model.observe(x_t, timestep)
        if record is not None:
            record(timestep, h, where)
        mean = schedule.step(i, predicted, eps)
        target = drawn(i + 1) if i + 1 < len(schedule) else x_0
        z = (target - mean) / sigma if sigma > 0 else torch.zeros_like(x_0)
        x_t = mean + sigma * z if sigma > 0 else mean  # as the sampler computes it
        zs.append(z.cpu())
        advance(len(x_t))
    return start.cpu(), torch.stack(zs, 1), (x_0 - x_t).cpu()


def joined(parts: Sequence[Any]) -> Any:
    """Tensors of batches in one; None stays None."""
    return None if parts[0] is None else torch.cat(list(parts))
