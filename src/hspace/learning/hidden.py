"""Whether a shift is seen or only coded: can a fresh reconstructor tell shifts in degraded pictures?

A module that is trained against a reconstructor may hide a code in the picture, as CycleGAN does (Chu et al., arXiv
1712.02950), instead of a meaning. Codes do not survive JPEG, blur or noise; meanings do. Both pictures of a pair are
degraded, a new reconstructor learns from one part of the pairs and is asked about the rest (ours).
"""

from __future__ import annotations

import io

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from hspace.errors import HspaceError
from hspace.learning.pairs import Pairs
from hspace.learning.reconstructor import Reconstructor, ReconstructorSize, reconstruction_losses

__all__ = ["DEGRADATIONS", "degraded", "fresh_accuracy"]

DEGRADATIONS = ("none", "jpeg", "blur", "noise")
"""JPEG at quality 50; a Gaussian of 1/40 of the shorter side; normal noise of deviation 0.2 (pictures in [-1, 1])."""

_BATCH = 32


def degraded(images: Float[Tensor, "n c y x"], how: str, *, seed: int = 0) -> Float[Tensor, "n c y x"]:
    """Pictures that have lost detail.

    Args:
        images: In [-1, 1], one or three channels for JPEG.
        how: One of `DEGRADATIONS`.
        seed: Of the noise.

    Raises:
        HspaceError: An unknown degradation; JPEG of another number of channels.

    Example:
        >>> import torch
        >>> from hspace.learning.hidden import degraded
        >>> bool((degraded(torch.zeros(1, 3, 16, 16), "jpeg").abs() < 0.02).all())
        True
    """
    if how == "none":
        return images
    if how == "noise":
        return images + 0.2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    if how == "blur":
        sigma = min(images.shape[2:]) / 40
        return torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, sigma, sigma)))
    if how == "jpeg":
        if images.shape[1] not in (1, 3):
            raise HspaceError(f"JPEG is for pictures of 1 or 3 channels, not {images.shape[1]}")
        return torch.stack([_jpeg(image) for image in images])
    raise HspaceError(f"pictures are degraded by one of {', '.join(DEGRADATIONS)}, not {how!r}")


def fresh_accuracy(
    pairs: Pairs,
    how: str,
    n: int,
    size: ReconstructorSize,
    *,
    epochs: int = 20,
    held_out: float = 0.25,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> float:
    """Share of the held-out pairs whose type a new reconstructor tells, having learned from the others.

    Args:
        pairs: Of pictures; the last of them are held out.
        how: One of `DEGRADATIONS`, for both pictures, in learning and in asking.
        n: Number of types.
        size: Of the reconstructor.
        epochs: Passes over the pairs.
        held_out: Share.
        seed: Of the reconstructor, the order and the noise.
        device: Where it learns.

    Raises:
        HspaceError: An unknown degradation; no pairs on one side.
    """
    first = len(pairs) - round(held_out * len(pairs))
    if not 0 < first < len(pairs):
        raise HspaceError(f"{len(pairs)} pairs are too few to learn from some and ask about others")
    plain, shifted = (
        _stored(degraded(x, how, seed=seed + i), how).to(device) for i, x in enumerate((pairs.plain, pairs.shifted))
    )
    kinds, strengths = pairs.kinds.to(device), pairs.strengths.to(device)
    network = Reconstructor(plain.shape[1], n, size, min(plain.shape[2:]), seed=seed).to(device)
    network.scale_to(plain[:first], shifted[:first])
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * -(-first // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for _ in range(epochs):
            for rows in torch.randperm(first, generator=generator).split(_BATCH):
                answer = network(plain[rows], shifted[rows])
                entropy, error = reconstruction_losses(answer, kinds[rows], strengths[rows])
                optimizer.zero_grad()
                (entropy + 0.25 * error).mean().backward()
                optimizer.step()
                schedule.step()
    return _accuracy(network, plain[first:], shifted[first:], kinds[first:])


@torch.no_grad()
def _accuracy(network: Reconstructor, plain: Tensor, shifted: Tensor, kinds: Tensor) -> float:
    answers = [network(a, b).kinds.argmax(1) for a, b in zip(plain.split(256), shifted.split(256), strict=True)]
    return float((torch.cat(answers) == kinds).float().mean())


def _stored(images: Tensor, how: str) -> Tensor:
    """In 8 bits, as files are: blur alone loses nothing that exact arithmetic could not bring back."""
    return images if how == "none" else ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def _jpeg(image: Tensor) -> Tensor:
    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=50)
    back = np.asarray(Image.open(file), np.float32).reshape(pixels.shape)
    return torch.from_numpy(back).permute(2, 0, 1) / 127.5 - 1
