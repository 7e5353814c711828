from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hspace.attributes import portrait_regions
from hspace.errors import HspaceError
from hspace.faces import PARTS, parts, render_seeds, sample_factors
from hspace.masks import Regions, as_masks, grown

SEEDS = range(40)


def drawn(independent: bool) -> Tensor:
    return torch.from_numpy(render_seeds(SEEDS, independent=independent)).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.fixture(scope="module")
def images() -> Tensor:
    return drawn(independent=False)


@pytest.fixture(scope="module")
def found(images: Tensor) -> dict[str, Tensor]:
    return portrait_regions(images)


def truth(name: str, *, independent: bool = False) -> Tensor:
    masks = np.stack([parts(sample_factors(seed, independent=independent))[name] for seed in SEEDS])
    return torch.from_numpy(masks).float()


def test_masks_by_name(found: dict[str, Tensor]) -> None:
    assert isinstance(portrait_regions, Regions)
    assert tuple(found) == PARTS
    assert {(mask.shape, mask.dtype) for mask in found.values()} == {((len(SEEDS), 64, 64), torch.float32)}
    assert all(((mask == 0) | (mask == 1)).all() for mask in found.values())


@pytest.mark.parametrize("independent", [False, True])
def test_what_is_read_from_a_portrait_is_where_its_factors_put_it(independent: bool) -> None:
    found = portrait_regions(drawn(independent))
    for name in PARTS:
        true = truth(name, independent=independent)
        there = true.flatten(1).any(1)
        assert torch.equal(found[name].flatten(1).any(1), there), name  # beards: neither missed nor made up
        wide = grown(true, 2)
        overlap = (found[name] * wide).sum((1, 2)) / torch.maximum(found[name], wide).sum((1, 2))
        assert overlap[there].mean() > 0.85, name
        inside = (found[name] * true).sum((1, 2)) / true.sum((1, 2))
        assert inside[there].mean() > 0.99, name  # the margin holds what the scorer is off by


def test_batch_equals_single(images: Tensor, found: dict[str, Tensor]) -> None:
    alone = portrait_regions(images[3:4])
    assert all(torch.equal(alone[name][0], found[name][3]) for name in PARTS)


def test_reads_other_float_types_and_pictures_with_gradients(images: Tensor, found: dict[str, Tensor]) -> None:
    eyes = portrait_regions(images[:2].double().requires_grad_())["eyes"]
    assert torch.equal(eyes, found["eyes"][:2])
    assert not eyes.requires_grad


def test_no_pictures_give_no_masks() -> None:
    assert portrait_regions(torch.zeros(0, 3, 64, 64))["mouth"].shape == (0, 64, 64)


def test_they_are_masks_of_a_picture_by_name(images: Tensor, found: dict[str, Tensor]) -> None:
    masks = as_masks("mouth", (64, 64), regions=portrait_regions, images=images)
    assert torch.equal(masks, found["mouth"])
    with pytest.raises(HspaceError, match=r"region 'beard' is empty in .* of 40 pictures"):
        as_masks("beard", (64, 64), regions=portrait_regions, images=images)


def test_noise_is_read_as_some_portrait() -> None:
    noise = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 5
    assert portrait_regions(noise)["face"].flatten(1).any(1).all()


def test_bad_pictures_are_named() -> None:
    with pytest.raises(HspaceError, match=r"images of shape \(n, 3, 64, 64\), not \(1, 3, 32, 32\)"):
        portrait_regions(torch.zeros(1, 3, 32, 32))
    with pytest.raises(HspaceError, match="images with finite values only"):
        portrait_regions(torch.full((1, 3, 64, 64), torch.nan))
