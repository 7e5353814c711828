"""`hspace app` says what is wrong before it opens a port."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", 0), "--port must be from 1 to 65535, not 0"),
        (("--auth", "me"), "--auth must look like USER:PASSWORD"),
        (("--directions", "none.safetensors"), "none.safetensors"),
    ],
)
def test_bad_input(run: Run, tiny_folder: Path, arguments: tuple[object, ...], message: str) -> None:
    result = run("app", "-m", tiny_folder, "--device", "cpu", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_directions_of_another_model(run: Run, directions_file: Path) -> None:
    result = run("app", "--directions", directions_file, "--device", "cpu")
    assert result.exit_code == 2
    assert "a direction of another model" in result.output
