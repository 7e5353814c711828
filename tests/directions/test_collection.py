from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hspace import HspaceError
from hspace.diffusion import Setting
from hspace.directions import Direction, Directions

SettingOf = Callable[..., Setting]


@pytest.fixture
def pcs(setting_of: SettingOf) -> Directions:
    items = [Direction(torch.full((4, 2, 3), float(i)), setting_of(), f"pc{i}") for i in range(4)]
    return Directions(items, {"share": torch.arange(16.0).reshape(4, 4)})


def test_by_name_and_by_index(pcs: Directions) -> None:
    assert pcs["pc2"] is pcs[2] is pcs[-2] is list(pcs)[2]
    assert "pc3" in pcs
    assert "pc4" not in pcs
    assert len(pcs) == 4


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        ([2, 0], [2, 0]),
        (["pc3", "pc1"], [3, 1]),
        (["pc3", 0, -2], [3, 0, 2]),
    ],
)
def test_a_part_carries_what_was_measured(pcs: Directions, key: Any, rows: list[int]) -> None:
    part = pcs[key]
    assert part.names == tuple(f"pc{row}" for row in rows)
    assert torch.equal(part.measured["share"], pcs.measured["share"][:, rows])
    assert part.setting == pcs.setting


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("smile", "no direction 'smile'; there are pc0, pc1, pc2, pc3"),
        (4, "no direction 4; there are 4"),
        (-5, "no direction -5"),
        (["pc0", 7], "no direction 7"),
        (slice(2, 2), "at least one"),
        (["pc0", "pc0"], "different names"),
    ],
)
def test_what_is_not_there(pcs: Directions, key: Any, message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        pcs[key]


def test_algebra_goes_item_by_item(pcs: Directions) -> None:
    for i, item in enumerate(2 * pcs - pcs[::-1]):
        torch.testing.assert_close(item.vectors, 2 * pcs[i].vectors - pcs[3 - i].vectors)
    assert torch.equal((-pcs)[3].vectors, -pcs[3].vectors)
    with pytest.raises(HspaceError, match="sets of 4 and 2 directions"):
        pcs + pcs[:2]


def test_norms_and_cosines_are_tables(pcs: Directions) -> None:
    assert torch.equal(pcs.norms()[2], pcs[2].norms())
    torch.testing.assert_close(pcs[1:].cosines(-pcs[1:]), -torch.ones(3, 3))
    with pytest.raises(HspaceError, match="undefined"):
        pcs.cosines()  # pc0 is zero


def test_renamed(pcs: Directions) -> None:
    renamed = pcs.renamed({"pc1": "yaw"})
    assert renamed.names == ("pc0", "yaw", "pc2", "pc3")
    assert torch.equal(renamed["yaw"].vectors, pcs["pc1"].vectors)
    assert renamed.measured is pcs.measured
    with pytest.raises(HspaceError, match="no direction 'pc9'"):
        pcs.renamed({"pc9": "yaw"})
    with pytest.raises(HspaceError, match="different names"):
        pcs.renamed({"pc1": "pc0"})


def test_sets_of_nothing_of_equal_names_or_of_two_settings_are_refused(pcs: Directions, setting_of: SettingOf) -> None:
    with pytest.raises(HspaceError, match="at least one"):
        Directions([])
    with pytest.raises(HspaceError, match="different names, found pc0, pc0"):
        Directions([pcs[0], pcs[0]])
    with pytest.raises(HspaceError, match="one setting"):
        Directions([pcs[0], Direction(torch.ones(4, 2, 3), setting_of(eta=1.0), "other")])
    with pytest.raises(HspaceError, match=r"measured 'share': expected shape \(4, 2\), found \(4, 4\)"):
        Directions([pcs[0], pcs[1]], pcs.measured)


def test_retimed(pcs: Directions, setting_of: SettingOf) -> None:
    assert pcs.retimed(setting_of()) is pcs
    finer = setting_of((900, 750, 600, 450, 300, 150, 0))
    retimed = pcs.retimed(finer)
    assert retimed.setting == finer
    assert retimed.names == pcs.names
    assert not retimed.measured
    assert torch.equal(retimed["pc2"].vectors, pcs["pc2"].retimed(finer).vectors)


def test_to(pcs: Directions) -> None:
    wide = pcs.to(dtype=torch.float64)
    assert {item.vectors.dtype for item in wide} == {torch.float64}
    assert wide.measured is pcs.measured
