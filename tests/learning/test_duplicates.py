"""Groups of directions that do the same, against groups found step by step."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hspace.learning.duplicates import same, signs


def cosines(seed: int, k: int) -> Tensor:
    vectors = torch.nn.functional.normalize(torch.randn(k, 3, generator=torch.Generator().manual_seed(seed)), dim=1)
    return vectors @ vectors.T


@given(st.integers(0, 10**6), st.integers(1, 9), st.floats(0.3, 0.99))
def test_groups_are_what_links_lead_to(seed: int, k: int, above: float) -> None:
    likeness = cosines(seed, k)
    groups = same(likeness, above)
    assert sorted(member for group in groups for member in group) == list(range(k))
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    for group in groups:
        assert group == sorted(group)
        reached, edge = {group[0]}, {group[0]}
        while edge:
            edge = {j for i in edge for j in range(k) if abs(float(likeness[i, j])) > above} - reached
            reached |= edge
        assert reached == set(group)


def test_a_chain_is_one_group_and_1_leaves_all_alone() -> None:
    likeness = torch.tensor([[1.0, 0.9, 0.5], [0.9, 1.0, -0.9], [0.5, -0.9, 1.0]])
    assert same(likeness, 0.8) == [[0, 1, 2]]
    assert same(likeness, 0.95) == [[0], [1], [2]]
    assert same(torch.ones(3, 3), 1.0) == [[0], [1], [2]]


def test_members_are_turned_to_go_with_the_first() -> None:
    likeness = torch.tensor([[1.0, -0.95, 0.9], [-0.95, 1.0, -0.8], [0.9, -0.8, 1.0]])
    assert signs(likeness, [0, 1, 2]) == [1, -1, 1]
    assert signs(likeness, [1, 2]) == [1, -1]


def test_signs_go_along_a_chain() -> None:
    """The ends have nothing in common but what is between them."""
    likeness = torch.tensor([[1.0, 0.95, -0.1], [0.95, 1.0, 0.95], [-0.1, 0.95, 1.0]])
    assert signs(likeness, [0, 1, 2]) == [1, 1, 1]
    assert signs(-likeness, [0, 1, 2]) == [1, -1, 1]
