from __future__ import annotations

from pathlib import Path

import pytest
from tests import tiny

import hspace
from hspace.errors import HspaceError
from hspace.usercode import import_function, names_function

OWN = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from tests import tiny

@dataclass
class Options:  # a dataclass looks its own module up
    kinds: ClassVar[int] = 1
    seed: int = 3

def faces():
    return tiny.plain_denoiser(Options().seed)

def pair():
    return tiny.unet(), tiny.scheduler()

def broken():
    raise RuntimeError("of the user's own")

number = 3
"""


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("models.py:faces", True),
        ("./models.py:faces", True),
        ("package.module:function", True),
        ("faces64", False),
        ("owner/name", False),
        ("models/folder", False),
        ("C:\\models\\folder", False),
        ("module:3", False),
        (":function", False),
    ],
)
def test_what_names_a_function(source: str, expected: bool) -> None:
    assert names_function(source) is expected


def test_functions_of_files_and_modules_make_models(own_file: Path) -> None:
    model = hspace.load(f"{own_file}:faces")
    assert model.weight_hash == tiny.plain_denoiser(3).weight_hash
    assert hspace.load("tests.tiny:plain_denoiser").weight_hash == tiny.plain_denoiser().weight_hash


def test_they_may_return_any_source_and_take_the_options_of_load(own_file: Path) -> None:
    model = hspace.load(f"{own_file}:pair", tap="before")
    assert (model.tap.name, model.weight_hash) == ("before", tiny.denoiser().weight_hash)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{own}:nothing", "own.py has no function 'nothing'"),
        ("{own}:number", "own.py has no function 'number'"),
        ("{folder}/missing.py:faces", "can't import .*missing.py"),
        ("no_such_module:faces", "can't import no_such_module"),
        ("tests.no_such_module:faces", "can't import tests.no_such_module"),
        ("..models:faces", "is not of the form module:function or file.py:function"),
        ("no function", "is not of the form module:function or file.py:function"),
    ],
)
def test_what_is_not_there_is_one_clear_line(own_file: Path, source: str, message: str) -> None:
    with pytest.raises(HspaceError, match=message) as caught:
        import_function(source.format(own=own_file, folder=own_file.parent))()
    assert "\n" not in str(caught.value)


def test_errors_of_the_users_code_come_through(own_file: Path) -> None:
    with pytest.raises(RuntimeError, match="of the user's own"):
        hspace.load(f"{own_file}:broken")
