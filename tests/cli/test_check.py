from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run

ADAPTERS = """
import torch
from tests import networks, tiny

def good():
    return tiny.plain_denoiser(dtype=torch.float32)

class Detached(networks.Base):
    def middle(self, x):
        return super().middle(x).detach()

def bad():
    return networks.denoiser(networks.seeded(Detached))
"""


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    (tmp_path / "adapters.py").write_text(ADAPTERS)
    return tmp_path / "adapters.py"


def test_an_adapter_is_checked_line_by_line(run: Run, adapters: Path) -> None:
    result = run("check", f"{adapters}:good", "--device", "cpu", "--half", "bfloat16")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "plain: 16 checks, none fails"
    assert len(lines) == 17
    assert any(line.startswith("ok    encode and decode") and "replayed: 3 modules" in line for line in lines)
    assert lines[-1].startswith("ok    in torch.bfloat16")


def test_another_tap_is_checked_where_it_is_asked_for(run: Run, adapters: Path) -> None:
    result = run("check", f"{adapters}:good", "--tap", "never", "--device", "cpu")
    assert result.exit_code == 1
    assert "FAIL  tap                          HspaceError: tap 'never' is never reached" in result.stdout


def test_what_fails_is_said_and_told_by_the_exit_code(run: Run, adapters: Path) -> None:
    result = run("check", f"{adapters}:bad", "--dtype", "float64", "--json", "--device", "cpu")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["model"] == "custom"
    assert [check["name"] for check in found["checks"] if check["required"] and not check["passed"]] == ["gradients"]


def test_a_precision_that_is_no_half_is_refused(run: Run, adapters: Path) -> None:
    result = run("check", f"{adapters}:good", "--half", "float64")
    assert result.exit_code == 2
    assert "hspace: --half must be bfloat16 or float16, not 'float64'" in result.stderr
