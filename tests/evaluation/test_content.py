"""SSIM against its formula written out at one place of the picture; pixels against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests import tiny

from hspace.errors import HspaceError
from hspace.evaluation import content, of_features, ssim


def test_ssim_at_one_place() -> None:
    """Pictures that are constant but for noise inside the window: the mean over the picture by direct sums."""
    random = np.random.default_rng(0)
    a, b = random.uniform(-1, 1, (2, 1, 1, 11, 11))
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    padded = [np.pad(x[0, 0], 5, mode="symmetric") for x in (a, b)]
    values = []
    for i in range(11):
        for j in range(11):
            x, y = (p[i : i + 11, j : j + 11] for p in padded)
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy = (weights * x * x).sum() - mx**2, (weights * y * y).sum() - my**2
            cov = (weights * x * y).sum() - mx * my
            c1, c2 = 0.02**2, 0.06**2
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    found = ssim(torch.from_numpy(a), torch.from_numpy(b))
    assert float(found) == pytest.approx(float(np.mean(values)), abs=1e-9)


def test_equal_pictures_and_shifted_ones() -> None:
    x = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    assert float(ssim(x, x).min()) == pytest.approx(1)
    assert content(x, x + 0.25)["pixel"] == pytest.approx(0.25, abs=1e-6)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    assert content(x, x + 0.1 * noise)["ssim"] > content(x, x + 0.5 * noise)["ssim"]


def test_errors() -> None:
    with tiny.unchecked_types(), pytest.raises(HspaceError, match=r"compared in pairs, not \(1, 3, 4, 4\) with"):
        ssim(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(HspaceError, match=r"the distance 'mean' gave \(\) numbers for 2 pairs"):
        content(torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4), {"mean": lambda a, b: (a - b).mean()})
    with pytest.raises(HspaceError, match=r"the distance 'odd' gave a number that is not finite"):
        content(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4), {"odd": lambda a, b: a.sum((1, 2, 3)) / 0})


def test_distance_of_features() -> None:
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, -3.0]])
    distance = of_features(lambda images: images)
    assert float(distance(a, b)) == pytest.approx(1)
    assert float(distance(a, 2 * a)) == pytest.approx(0, abs=1e-12)
