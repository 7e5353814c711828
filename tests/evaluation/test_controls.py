"""p-values: right under the null, on numbers and on a real network; small where an effect is; corrections by hand."""

from __future__ import annotations

import pytest
import torch
from tests import tiny
from torch import Tensor

import hspace
from hspace.directions import Directions
from hspace.errors import HspaceError
from hspace.evaluation.controls import holm, p_values, verdicts
from hspace.evaluation.response import respond


def test_false_positives_on_correlated_attributes() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(5, 5, generator=generator)
    p = []
    for _ in range(1000):
        drawn = torch.randn(1, 40, 5, generator=generator) @ mixing
        p.append(float(p_values(drawn[:, 0], drawn[:, 1:]).min()))
    assert 0.035 < sum(x <= 0.05 for x in p) / len(p) < 0.065


def test_false_positives_of_random_directions_of_a_network() -> None:
    """200 random directions of a real U-Net against random controls of their length."""
    sampler = hspace.Sampler(tiny.denoiser(dtype=torch.float32), 2, 0.0)
    norms = torch.tensor([1.0, 0.7])
    everything = [
        item.renamed(f"{i}-{j}")
        for i, length in enumerate((0.5, 1.0))
        for j, item in enumerate(hspace.random_directions(sampler.setting(), norms * length, n=200, seed=i))
    ]

    def judge(images: Tensor) -> dict[str, Tensor]:
        return {
            "bright": images.mean((1, 2, 3)),
            "red": images[:, 0].mean((1, 2)),
            "left": images[..., :4].mean((1, 2, 3)),
        }

    response = respond(sampler, Directions(everything), judge, range(2), strengths=(-3, 3))
    effects = response.change().mean(1)  # (400, 3)
    tested = torch.cat([effects[:100], effects[200:300]])
    controls = torch.stack([effects[100:200], effects[300:]])  # of either length, shared by the hundred tested
    p = torch.cat([p_values(row[None], controls[i // 100][None]) for i, row in enumerate(tested)])
    share = float((p.min(1).values < 0.05).float().mean())
    assert 0.02 <= share <= 0.08


def test_false_positives_beside_real_directions() -> None:
    """One direction of chance among eleven real ones: their size must not make it significant."""
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"d{j}" for j in range(12))
    alone = family = 0
    for _ in range(300):
        drawn = torch.randn(12, 21, 6, generator=generator)
        effects, controls = drawn[:, 0].clone(), drawn[:, 1:]
        effects[1:] *= 10
        found = verdicts(names, tuple("abcdef"), effects, controls)
        alone += found[0].p <= 0.05
        family += found[0].real
    assert 0.02 < alone / 300 < 0.08
    assert family / 300 < 0.08


def test_an_effect_is_found_and_told() -> None:
    generator = torch.Generator().manual_seed(3)
    controls = torch.randn(2, 39, 4, generator=generator)
    effects = torch.tensor([[0.1, 9.0, 0.2, 0.1], [0.1, -0.2, 0.3, 0.1]])
    real, nothing = verdicts(("pc0", "pc1"), ("yaw", "age", "skin", "beard"), effects, controls)
    assert real.attribute == "age"
    assert real.p == pytest.approx(1 / 79)
    assert real.corrected == pytest.approx(2 / 79)
    assert real.words == "moves age more than 39 random directions of its length"
    assert nothing.corrected > 0.5
    assert nothing.words.startswith("does no more than random directions of its length")
    assert (real.real, real.own, nothing.real, nothing.own, real.kind) == (True, True, False, False, "gaussian")
    meant = verdicts(("pc0", "pc1"), ("yaw", "age", "skin", "beard"), effects, controls, own=("skin", "yaw"))[0]
    assert (meant.real, meant.own) == (True, False)
    assert meant.words == "moves age more than 39 random directions of its length, but not skin"
    of_labels = verdicts(("a", "b"), tuple("wxyz"), effects, controls, kind="shuffled")
    assert of_labels[0].words == "moves x more than 39 directions of its length from shuffled labels"
    assert "no more than rivals (" in verdicts(("a", "b"), tuple("wxyz"), effects, controls, kind="rivals")[1].words


def test_lengths_do_not_matter() -> None:
    """A direction ten times as long, with controls as long, has the same p."""
    generator = torch.Generator().manual_seed(4)
    effects, controls = torch.randn(1, 3, generator=generator), torch.randn(1, 19, 3, generator=generator)
    both = p_values(torch.cat([effects, 10 * effects]), torch.cat([controls, 10 * controls]))
    assert bool((both[0] == both[1]).all())


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_errors() -> None:
    with (
        pytest.raises(HspaceError, match=r"controls of shape \(2, 3, 4\) don't go with effects of shape \(1, 4\)"),
        tiny.unchecked_types(),
    ):
        p_values(torch.zeros(1, 4), torch.zeros(2, 3, 4))
    with pytest.raises(HspaceError, match=r"10 controls of each direction can show nothing at the level 0.05: take 19"):
        verdicts(("a",), ("x",), torch.zeros(1, 1), torch.zeros(1, 10, 1))
    with pytest.raises(HspaceError, match=r"1 directions and 1 attributes were measured, 2 and 1 named"):
        verdicts(("a", "b"), ("x",), torch.zeros(1, 1), torch.zeros(1, 40, 1))
