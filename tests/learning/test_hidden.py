"""Degradations against their definitions; a code is lost in them and a visible change is not."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from hspace.errors import HspaceError
from hspace.learning.hidden import DEGRADATIONS, degraded, fresh_accuracy
from hspace.learning.pairs import Pairs

SIDE = 48
N = 128


def smooth(n: int, channels: int, seed: int = 0) -> Tensor:
    """Pictures of few low frequencies, within [-0.8, 0.8]."""
    coarse = torch.rand(n, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    return 1.6 * functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1) - 0.8


def test_none_is_the_picture_itself() -> None:
    x = smooth(2, 3)
    assert degraded(x, "none") is x


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(channels: int) -> None:
    x = smooth(2, channels) * 1.5  # beyond [-1, 1] it is clipped
    found = degraded(x, "jpeg")
    assert found.shape == x.shape
    for picture, back in zip(x, found, strict=True):
        pixels = ((picture.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels).save(file, "JPEG", quality=50)
        decoded = np.asarray(Image.open(file)).reshape(SIDE, SIDE, channels)
        np.testing.assert_array_equal(((back.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy(), decoded)
    error = (found - x.clamp(-1, 1)).abs()
    assert 1e-3 < float(error.mean()) < 0.1


def test_jpeg_of_other_channels() -> None:
    with pytest.raises(HspaceError, match="JPEG is for pictures of 1 or 3 channels, not 4"):
        degraded(smooth(1, 4), "jpeg")


def test_blur_is_a_gaussian_of_the_pictures_size() -> None:
    """A point becomes exp(-r^2 / 2 sigma^2) / (2 pi sigma^2), in its own picture and channel."""
    x = torch.zeros(2, 3, 80, 80)
    x[0, 1, 35, 42] = 1.0
    found = degraded(x, "blur")
    sigma = 2.0
    rows, columns = torch.meshgrid(torch.arange(80) - 35, torch.arange(80) - 42, indexing="ij")
    gaussian = torch.exp(-(rows**2 + columns**2) / (2 * sigma**2)) / (2 * torch.pi * sigma**2)
    torch.testing.assert_close(found[0, 1], gaussian, atol=1e-4, rtol=0)
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    assert float(found[1].abs().max()) == 0
    assert found.dtype == torch.float32


def test_noise_is_normal_and_a_function_of_the_seed() -> None:
    x = smooth(8, 3)
    noise = degraded(x, "noise", seed=1) - x
    assert float(noise.std()) == pytest.approx(0.2, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=5e-3)
    torch.testing.assert_close(degraded(x, "noise", seed=1) - x, noise)
    assert not torch.equal(degraded(x, "noise", seed=2) - x, noise)


def pairs(change: Tensor) -> Pairs:
    """Of two types: by a change and by its negative."""
    plain = smooth(N, 1)
    kinds = torch.randint(2, (N,), generator=torch.Generator().manual_seed(1))
    signs = (2.0 * kinds - 1).reshape(-1, 1, 1, 1)
    return Pairs(plain, plain + signs * change, kinds, torch.ones(N))


@pytest.fixture(scope="module")
def code() -> Pairs:
    """Every other pixel of every other row against the rest: nothing of it is left at half the resolution."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    pattern = 0.002 * torch.where((rows % 2 == 0) & (columns % 2 == 0), 3.0, -1.0)
    window = torch.hann_window(SIDE)  # an edge of the pattern would survive
    return pairs(pattern * window[:, None] * window)


@pytest.fixture(scope="module")
def visible() -> Pairs:
    """The middle gets brighter or darker."""
    patch = torch.zeros(SIDE, SIDE)
    patch[8:16, 8:16] = 0.8
    return pairs(patch)


@pytest.mark.parametrize("how", DEGRADATIONS)
def test_a_visible_change_survives(visible: Pairs, how: str) -> None:
    assert fresh_accuracy(visible, how, 2, "lenet", epochs=20) >= 0.95


@pytest.mark.parametrize(("how", "least", "most"), [("none", 0.95, 1.0), ("jpeg", 0.2, 0.7), ("blur", 0.2, 0.7)])
def test_a_code_does_not(code: Pairs, how: str, least: float, most: float) -> None:
    assert least <= fresh_accuracy(code, how, 2, "lenet", epochs=40) <= most


def test_the_last_pairs_are_held_out(visible: Pairs) -> None:
    """With their types the wrong way round, the share of right answers is what was wrong before."""
    kinds = visible.kinds.clone()
    kinds[-N // 4 :] = 1 - kinds[-N // 4 :]
    turned = Pairs(visible.plain, visible.shifted, kinds, visible.strengths)
    before = fresh_accuracy(visible, "none", 2, "lenet", epochs=20)
    assert fresh_accuracy(turned, "none", 2, "lenet", epochs=20) == pytest.approx(1 - before)
    assert before > 0.9


def test_the_same_from_the_same_seed(code: Pairs) -> None:
    torch.manual_seed(0)
    first = torch.rand(2)
    torch.manual_seed(0)
    accuracies = [fresh_accuracy(code, "noise", 2, "lenet", epochs=2) for _ in range(2)]
    assert accuracies[0] == accuracies[1]
    assert torch.equal(torch.rand(2), first)


def test_errors(code: Pairs) -> None:
    with pytest.raises(HspaceError, match="degraded by one of none, jpeg, blur, noise, not 'dust'"):
        degraded(code.plain, "dust")
    one = Pairs(code.plain[:1], code.shifted[:1], code.kinds[:1], code.strengths[:1])
    with pytest.raises(HspaceError, match="1 pairs are too few"):
        fresh_accuracy(one, "none", 2, "lenet")
    with pytest.raises(HspaceError, match="128 pairs are too few"):
        fresh_accuracy(code, "none", 2, "lenet", held_out=0.0)
