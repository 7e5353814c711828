from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hspace.attributes import load_regions, load_scorer, portrait_regions
from hspace.attributes.registry import REGIONS, SCORERS
from hspace.errors import HspaceError

OWN = """
from dataclasses import dataclass
import torch

@dataclass
class Options:  # a dataclass looks its own module up
    name: str = "all"

def whole(images):
    return {Options().name: torch.ones(len(images), *images.shape[2:])}

number = 3
"""


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "own_regions.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_unknown_scorers_are_named_with_the_known_ones() -> None:
    with pytest.raises(HspaceError, match="unknown scorer 'faces'; bundled scorers: portraits"):
        load_scorer("faces")


@pytest.mark.parametrize("name", SCORERS)
def test_bundled_files_are_small_enough_for_the_package(name: str) -> None:
    assert SCORERS[name].stat().st_size <= 3_000_000


@pytest.mark.parametrize("name", REGIONS)
def test_bundled_regions_are_there(name: str) -> None:
    assert load_regions(name)(torch.zeros(1, 3, 64, 64))


def test_regions_come_from_modules_and_files(own_file: Path) -> None:
    assert load_regions("portraits") is portrait_regions
    assert load_regions("hspace.attributes:portrait_regions") is portrait_regions
    assert load_regions(f"{own_file}:whole")(torch.zeros(2, 3, 4, 5))["all"].shape == (2, 4, 5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("faces", "unknown regions 'faces'; bundled regions: portraits; your own: module:function or file.py:function"),
        ("..regions:whole", "'..regions:whole' is not of the form module:function"),
        ("{own}:nothing", "own_regions.py has no function 'nothing'"),
        ("{own}:number", "own_regions.py has no function 'number'"),
        ("{folder}/missing.py:whole", "can't import .*missing.py"),
        ("no_such_module:whole", "no_such_module:whole: can't import no_such_module"),
        ("hspace.no_such_module:whole", "can't import hspace.no_such_module"),
    ],
)
def test_regions_that_are_not_there_are_one_clear_line(own_file: Path, name: str, message: str) -> None:
    with pytest.raises(HspaceError, match=message) as caught:
        load_regions(name.format(own=own_file, folder=own_file.parent))
    assert "\n" not in str(caught.value)
