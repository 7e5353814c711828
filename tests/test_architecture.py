"""A room imports from rooms above its own only; docs/architecture.md has the list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "hspace"
BASE = {"errors", "version", "atomic", "progress", "masks", "tensorfile", "usercode", "photos", "hub", "device"}
BASE_OF_JOBS = BASE
BASE = BASE | {"jobs"}
MAY_IMPORT = {
    "jobs": BASE_OF_JOBS,
    "models": BASE,
    "diffusion": BASE | {"models"},
    "directions": BASE | {"diffusion"},
    "learning": BASE | {"diffusion"},
    "discovery": BASE | {"models", "diffusion", "directions", "learning", "attributes"},
    "planning": BASE | {"models", "diffusion", "discovery"},
    "faces": BASE,
    "attributes": BASE | {"faces"},
    "testing": BASE | {"models", "diffusion", "directions"},
    "evaluation": BASE | {"diffusion", "directions", "attributes"},
    "benchmark": BASE | {"models", "diffusion", "directions", "discovery", "attributes", "faces", "evaluation"},
    "plot": BASE | {"diffusion", "directions"},
    "report": BASE | {"directions", "evaluation"},
}
MAY_IMPORT["app"] = BASE | (set(MAY_IMPORT) - {"testing"})


def imported_rooms(file: Path) -> set[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "hspace" else [node.module]
            )
    return {name.split(".")[1] for name in names if name.startswith("hspace.")}


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_from_rooms_above_only(room: str) -> None:
    for file in (SOURCE / room).rglob("*.py"):
        assert imported_rooms(file) <= MAY_IMPORT[room] | {room}, file


def test_every_room_is_in_the_list() -> None:
    rooms = {folder.name for folder in SOURCE.iterdir() if (folder / "__init__.py").exists()}
    assert rooms == set(MAY_IMPORT) | {"cli"}
