from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from hspace.attributes import PortraitScorer, Scorer, load_scorer
from hspace.errors import HspaceError
from hspace.faces import FACTORS, factor_table, render_seeds

SEEDS = range(600)  # the scorer was trained on seeds from 50 million


@pytest.fixture(scope="module")
def scorer() -> PortraitScorer:
    return load_scorer("portraits")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.from_numpy(render_seeds(SEEDS)).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.fixture(scope="module")
def scores(scorer: PortraitScorer, images: Tensor) -> dict[str, Tensor]:
    return scorer(images)


def test_is_a_scorer_in_eval_mode_without_gradients(scorer: PortraitScorer, scores: dict[str, Tensor]) -> None:
    assert isinstance(scorer, Scorer)
    assert not any(module.training for module in scorer.modules())
    assert not any(weight.requires_grad for weight in scorer.parameters())
    assert not any(score.requires_grad for score in scores.values())


def test_names_and_shapes(scores: dict[str, Tensor]) -> None:
    assert tuple(scores) == FACTORS
    assert {(score.shape, score.dtype) for score in scores.values()} == {((len(SEEDS),), torch.float32)}


@pytest.mark.parametrize("name", FACTORS)
def test_reads_each_factor_of_fresh_portraits(name: str, scores: dict[str, Tensor]) -> None:
    true = torch.from_numpy(factor_table(SEEDS)[:, FACTORS.index(name)]).float()
    assert torch.corrcoef(torch.stack([scores[name], true]))[0, 1] >= 0.95


@pytest.mark.parametrize("name", FACTORS)
def test_units_are_population_standard_deviations(name: str, scorer: PortraitScorer, scores: dict[str, Tensor]) -> None:
    assert abs(scores[name].mean()) < 0.15  # 600 portraits: a standard error of 0.04
    assert scores[name].std() == pytest.approx(1.0, abs=0.12)
    table = factor_table(range(4000))[:, FACTORS.index(name)]
    mean, std = scorer.population[name]
    assert mean == pytest.approx(table.mean(), abs=0.06 * table.std())
    assert std == pytest.approx(table.std(), rel=0.05)


def test_does_not_take_one_factor_for_another_that_goes_along_with_it(scorer: PortraitScorer) -> None:
    seeds = range(300)
    pixels = torch.from_numpy(render_seeds(seeds, independent=True)).permute(0, 3, 1, 2)
    read = scorer.table(pixels / 127.5 - 1)
    true = torch.from_numpy(factor_table(seeds, independent=True)).float()
    cross = torch.corrcoef(torch.cat([read, true], 1).T)[:12, 12:]
    assert cross.diagonal().min() >= 0.95
    assert (cross - cross.diagonal().diag()).abs().max() < 0.25  # chance alone gives 0.18 among 132 pairs


def test_written_correlations_pass_the_bar(scorer: PortraitScorer) -> None:
    assert tuple(scorer.held_out_correlation) == FACTORS
    assert min(scorer.held_out_correlation.values()) >= 0.95


def test_batch_equals_single(scorer: PortraitScorer, images: Tensor, scores: dict[str, Tensor]) -> None:
    for i in (0, 255, 256, 599):  # 256 images go through the network at a time
        alone = scorer(images[i : i + 1])
        assert all(torch.allclose(alone[name][0], scores[name][i], atol=1e-4) for name in FACTORS)


def test_table_and_features_are_the_scores(scorer: PortraitScorer, images: Tensor, scores: dict[str, Tensor]) -> None:
    features = scorer.features(images[:5])
    assert features.shape == (5, 128)
    torch.testing.assert_close(scorer.head(features), scorer.table(images[:5]))
    torch.testing.assert_close(scorer.table(images[:5])[:, 1], scores["smile"][:5], atol=1e-4, rtol=1e-4)


def test_reads_other_float_types(scorer: PortraitScorer, images: Tensor, scores: dict[str, Tensor]) -> None:
    half = scorer(images[:5].bfloat16())
    assert half["yaw"].dtype == torch.float32
    assert torch.allclose(half["yaw"], scores["yaw"][:5], atol=0.1)


def test_no_images_give_no_scores(scorer: PortraitScorer) -> None:
    assert scorer(torch.zeros(0, 3, 64, 64))["age"].shape == (0,)


def test_gradients_reach_the_images(scorer: PortraitScorer, images: Tensor) -> None:
    x = images[:2].clone().requires_grad_()
    scorer(x)["smile"].sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 1, 64, 64), (2, 64, 64, 3)])
def test_wrong_shapes_are_named(scorer: PortraitScorer, shape: tuple[int, ...]) -> None:
    with pytest.raises(HspaceError) as error:
        scorer(torch.zeros(shape))
    assert str(error.value) == f"the portrait scorer reads images of shape (n, 3, 64, 64), not {shape}"


def test_save_and_load_are_identical(scorer: PortraitScorer, images: Tensor, tmp_path: Path) -> None:
    scorer.save(tmp_path / "scorer.safetensors")
    loaded = PortraitScorer.from_file(tmp_path / "scorer.safetensors")
    assert torch.equal(loaded.table(images[:5]), scorer.table(images[:5]))
    assert (loaded.population, loaded.held_out_correlation) == (scorer.population, scorer.held_out_correlation)
    assert [path.name for path in tmp_path.iterdir()] == ["scorer.safetensors"]


def test_a_truncated_file_is_named(scorer: PortraitScorer, tmp_path: Path) -> None:
    path = tmp_path / "scorer.safetensors"
    scorer.save(path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(HspaceError, match=r"scorer\.safetensors is not a readable portrait scorer") as error:
        PortraitScorer.from_file(path)
    assert "\n" not in str(error.value)
