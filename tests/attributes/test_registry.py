from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hspace.attributes import (
    ImageClassifier,
    PortraitScorer,
    ZeroShot,
    load_regions,
    load_scorer,
    portrait_regions,
)
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

def brightness(images):
    return {"brightness": images.mean((1, 2, 3))}

number = 3
"""


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "own_regions.py"
    path.write_text(OWN, encoding="utf-8")
    return path


PROMPTS = {"smile": ("a smiling face", "a serious face")}


def test_scorers_by_name(own_file: Path, classifier_folder: Path, clip_folder: Path) -> None:
    assert isinstance(load_scorer(), PortraitScorer)
    assert next(load_scorer("portraits", device="meta").parameters()).device.type == "meta"
    assert load_scorer("hspace.attributes:portrait_regions") is portrait_regions
    assert load_scorer(f"{own_file}:brightness")(torch.ones(2, 3, 4, 4))["brightness"].tolist() == [1, 1]
    classifier = load_scorer(classifier_folder, device="cpu")
    assert isinstance(classifier, ImageClassifier)
    assert list(classifier(torch.zeros(1, 3, 8, 8))) == ["calm", "smile", "frown"]
    clip = load_scorer(str(clip_folder), prompts=PROMPTS, device="cpu")
    assert isinstance(clip, ZeroShot)
    assert list(clip(torch.zeros(1, 3, 8, 8))) == ["smile"]


@pytest.mark.parametrize(
    ("name", "prompts", "message"),
    [
        (
            "faces",
            None,
            r"unknown scorer 'faces' \(no folder of that name\); bundled scorers: portraits; your own: mod",
        ),
        ("faces", PROMPTS, r"unknown scorer 'faces' .* a folder or a hub id owner/name"),
        ("{own}", None, r"unknown scorer '.*own_regions.py' \(is a file\); .* scores by seed: see read_scores"),
        ("nobody/nothing", None, "can't get model 'nobody/nothing' from the hub"),
        ("{folder}", None, "no transformers model: expected config.json"),
        ("{clip}", None, "is a CLIP model, which needs prompts"),
        ("{classifier}", PROMPTS, "is a classifier .* takes no prompts"),
        ("portraits", PROMPTS, "prompts are for CLIP models; the scorer 'portraits' takes none"),
        ("{own}:brightness", PROMPTS, "prompts are for CLIP models; the scorer '.*own_regions.py:brightness' takes"),
        ("{own}:nothing", None, "own_regions.py has no function 'nothing'"),
    ],
)
def test_scorers_that_are_not_there_are_one_clear_line(
    own_file: Path, classifier_folder: Path, clip_folder: Path, name: str, prompts: Any, message: str
) -> None:
    source = name.format(own=own_file, folder=own_file.parent, clip=clip_folder, classifier=classifier_folder)
    with pytest.raises(HspaceError, match=message) as caught:
        load_scorer(source, prompts=prompts)
    assert "\n" not in str(caught.value)


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
