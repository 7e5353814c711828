from __future__ import annotations

import pytest

from hspace.attributes import load_scorer
from hspace.attributes.registry import SCORERS
from hspace.errors import HspaceError


def test_unknown_scorers_are_named_with_the_known_ones() -> None:
    with pytest.raises(HspaceError, match="unknown scorer 'faces'; bundled scorers: portraits"):
        load_scorer("faces")


@pytest.mark.parametrize("name", SCORERS)
def test_bundled_files_are_small_enough_for_the_package(name: str) -> None:
    assert SCORERS[name].stat().st_size <= 3_000_000
