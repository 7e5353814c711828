"""Every method on an h of tokens: found, saved, loaded, applied; masks lie on the grid of the tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests import transformers
from torch import Tensor

import hspace
from hspace import Direction, Directions, Edit, Sampler
from hspace.cli.edit import mask_for
from hspace.diffusion import RunChange
from hspace.learning import ShiftNetwork
from hspace.models import Denoiser

STEPS = 3
SEEDS = range(8)
SHAPE = (transformers.TOKENS, transformers.D)
every_kind = pytest.mark.parametrize("kind", transformers.KINDS)


def sampler(kind: str, eta: float = 0.0) -> Sampler:
    return Sampler(transformers.denoiser(kind), STEPS, eta)


def check(directions: Directions, on: Sampler, folder: Path) -> None:
    """They have the shape of h, survive a file, move samples, and at strength 0 do not."""
    directions.save(folder / "found.safetensors")
    loaded = Directions.load(folder / "found.safetensors")
    plain = on.run([0, 1])
    for mine, same in zip(directions, loaded, strict=True):
        assert mine.vectors.shape == (STEPS, *SHAPE)
        assert torch.equal(mine.vectors, same.vectors)
        assert torch.equal(on.run([0, 1], 0.0 * same), plain)
        assert not torch.allclose(on.run([0, 1], 3.0 * same), plain, atol=1e-3)


def brightness(images: Tensor) -> dict[str, Tensor]:
    return {"bright": images.mean((1, 2, 3))}


@every_kind
def test_pca(kind: str, tmp_path: Path) -> None:
    on = sampler(kind, 1.0)
    check(hspace.PCA(2).fit(on, SEEDS).directions_, on, tmp_path)


@every_kind
@pytest.mark.parametrize("pooled", [False, True])
def test_jacobian_against_a_dense_one(kind: str, pooled: bool, tmp_path: Path) -> None:
    on = sampler(kind)
    mask = torch.zeros(8, 8)
    mask[:, :4] = 1
    t = on.timesteps[1]
    options = {"timesteps": t, "mask": mask, "pooled": pooled, "unit_seeds": range(4), "tol": 1e-8}
    found = hspace.Jacobian(2, **options).fit(on, [0])
    assert found.route_ == "double_vjp"
    states: list[Tensor] = []
    on.run([0], visit=lambda timestep, x_t, rows: states.append(x_t.clone()) if timestep == t else None)
    model, encoding = on.model, on.model.encode(states[0], t)
    dense = torch.autograd.functional.jacobian(lambda h: model.decode(encoding, h).eps * mask, encoding.h)
    _, values, rows = torch.linalg.svd(dense.reshape(encoding.x_t.numel(), -1), full_matrices=False)
    torch.testing.assert_close(found.singular_values_.flatten(), values[:2], rtol=1e-6, atol=0)
    for direction, expected in zip(found.directions_, rows, strict=False):
        unit = direction.vectors[0].flatten().double()
        assert abs(float(unit @ expected / unit.norm())) > 1 - 1e-5
    check(found.directions_, on, tmp_path)


@every_kind
def test_labelled_and_annotated(kind: str, tmp_path: Path) -> None:
    on = sampler(kind)
    pictures = on.run(SEEDS).float()
    labels = [int(value > brightness(pictures)["bright"].median()) for value in brightness(pictures)["bright"]]
    check(hspace.Labelled(unit_seeds=range(4)).fit(on, pictures, labels).directions_, on, tmp_path)
    annotated = hspace.Annotated(n_extremes=3, unit_seeds=range(4)).fit(on, brightness, SEEDS)
    check(annotated.directions_, on, tmp_path)


@pytest.mark.parametrize("kind", ["global", "block"])
def test_learned(kind: str, tmp_path: Path) -> None:
    on = Sampler(transformers.denoiser("dit", dtype=torch.float32), STEPS, 0.0)
    options = {"iterations": 2, "batch_size": 4, "replay_size": 8, "checked": 8, "span": 6, "reconstructor": "lenet"}
    found = hspace.Learned(2, kind=kind, **options).fit(on, range(16))
    check(found.directions_, on, tmp_path)
    network = ShiftNetwork.load(_saved(found.network_, tmp_path / "network.safetensors"))
    change = network.change(on, kinds=[0, 1], strengths=[2.0, -2.0])
    assert isinstance(change, RunChange)
    assert torch.equal(on.run([0, 1], change), on.run([0, 1], found.network_.change(on, [0, 1], [2.0, -2.0])))


def _saved(network: ShiftNetwork, path: Path) -> Path:
    network.save(path)
    return path


@every_kind
def test_swaps_and_edits_with_a_mask_on_the_grid_of_tokens(kind: str) -> None:
    """Behind the last block a token is a cell of the picture: outside of the mask a step changes nothing."""
    suffix = ":1" if kind == "sd3" else ""
    on = Sampler(transformers.denoiser(kind, f"transformer.transformer_blocks.{transformers.BLOCKS - 1}{suffix}"), 1)
    mask = mask_for("0,0,4,2", on.model, on.setting())
    assert mask.tolist() == [[1.0, 1.0, 0.0, 0.0]] + [[0.0] * 4] * 3
    vectors = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    direction = Direction(vectors, on.setting(), "d")
    plain = on.run([0])
    for changed in (on.run([0], Edit.of(direction, 2.0, mask=mask)), hspace.swap(on, [0], [1], mask=mask)):
        apart = (changed - plain).abs().sum((0, 1))
        assert bool((apart[:2, :4] > 1e-6).all())
        apart[:2, :4] = 0
        assert float(apart.max()) < 1e-6


def test_transfer_and_random_directions() -> None:
    on = sampler("sd3")
    plain = on.run([2])
    for direction in (hspace.transfer(on, [0], [1]), hspace.random_directions(on.setting(), [1.0] * STEPS)[0]):
        assert direction.vectors.shape == (STEPS, *SHAPE)
        assert not torch.allclose(on.run([2], 1.0 * direction), plain, atol=1e-4)


def test_asymmetric_injection_decodes_twice_from_one_encoding() -> None:
    model: Denoiser = transformers.denoiser("pixart")
    on = Sampler(model, STEPS, 0.0)
    direction = hspace.random_directions(on.setting("asymmetric"), [1.0] * STEPS)[0]
    replayed = on.run([0, 1], direction)
    whole = transformers.denoiser("pixart")
    whole.__dict__["replay"] = hspace.models.replay.Replay((), "not asked")
    torch.testing.assert_close(replayed, Sampler(whole, STEPS, 0.0).run([0, 1], direction), rtol=0, atol=1e-9)
    assert model.can_replay
