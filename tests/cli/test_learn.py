"""`hspace learn` on a tiny model on disk: files, figures, going on after Ctrl-C, bad input."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests import tiny
from tests.cli.conftest import Run

import hspace
from hspace.learning import ShiftNetwork

TINY = ("-n", 12, "-k", 2, "--span", 4, "-s", 2, "--per-iteration", 4, "--reconstructor", "lenet", "--device", "cpu")


def test_learns_names_and_draws(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(
        "def judge(images):\n    return {'bright': images.mean((1, 2, 3)), 'red': images[:, 0].mean((1, 2))}\n"
    )
    result = run(
        *("learn", "-m", tiny_folder, *TINY, "--iterations", 3, "--strip-every", 1e-6, "--hidden-codes", 12),
        *("--scorer", "judge.py:judge", "--picture", "strip.png", "-o", "learned.safetensors", "--noise", 0),
    )
    assert result.exit_code == 0, result.output
    assert "ended after iteration 3 (iterations); on 200 fresh samples the reconstructor tells" in result.output
    assert "fresh reconstructors on degraded pictures: none " in result.output
    found = hspace.Directions.load(tmp_path / "learned.safetensors")
    assert 1 <= len(found) <= 2
    assert all(item.origin["moves"]["attribute"] in ("bright", "red") for item in found)
    assert (tmp_path / "strip.png").stat().st_size > 0
    assert len((tmp_path / "learning" / "log.csv").read_text().splitlines()) == 4
    assert list((tmp_path / "learning" / "strips").glob("*.png"))
    assert "told apart with accuracy" in run("inspect", "learned.safetensors").output


def test_a_block_has_its_network_beside(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    result = run("learn", "-m", tiny_folder, *TINY, "--iterations", 1, "--kind", "block", "-o", "b.safetensors")
    assert result.exit_code == 0, result.output
    assert ShiftNetwork.load(tmp_path / "b.network.safetensors").shift.n == 2


def test_real_pictures(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    assert run("sample", "-m", tiny_folder, "-s", 2, "--seeds", "0:2", "-o", "real/a.png").exit_code == 0
    result = run("learn", "-m", tiny_folder, *TINY, "--iterations", 1, "--real", "real")
    assert result.exit_code == 0, result.output
    result = run("learn", "-m", tiny_folder, *TINY, "--iterations", 1, "--real", "nowhere", "--work", "other")
    assert result.exit_code == 2
    assert "expected a folder of pictures, found nothing" in result.output


def test_after_ctrl_c_the_same_command_goes_on(tiny_folder: Path, tmp_path: Path) -> None:
    """In a real process; what it leaves is complete, and the directions are those of a run without a break."""
    arguments = [str(x) for x in ("learn", "-m", tiny_folder, *TINY, "--iterations", 40, "--strip-every", 0)]
    handled = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    start = [sys.executable, "-c", f"{handled}; from hspace.cli import main; sys.argv[0] = 'hspace'; main()"]
    part = subprocess.Popen(
        [*start, *arguments, "--work", "part"], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    log = tmp_path / "part" / "log.csv"
    try:
        limit = time.monotonic() + 120
        while not (log.exists() and len(log.read_text().splitlines()) > 3):
            assert part.poll() is None, part.communicate()
            assert time.monotonic() < limit
            time.sleep(0.01)
        part.send_signal(signal.SIGINT)
        _, message = part.communicate(timeout=120)
    finally:
        part.kill()
    assert part.returncode == 2
    assert "hspace: interrupted after iteration " in message
    assert "its state is in part; go on with --resume" in message
    for more in (("--work", "part", "--resume", "-o", "a.safetensors"), ("--work", "whole", "-o", "b.safetensors")):
        subprocess.run([*start, *arguments, *more], cwd=tmp_path, check=True, capture_output=True)
    a, b = (hspace.Directions.load(tmp_path / name) for name in ("a.safetensors", "b.safetensors"))
    assert all(bool((x.vectors == y.vectors).all()) for x, y in zip(a, b, strict=True))


def test_ctrl_c_before_the_training(
    run: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the samples are drawn there is nothing to resume, and the message does not say that there is."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hspace.PCA, "fit_in", interrupted)
    result = run("learn", "-m", tiny_folder, *TINY, "--iterations", 1)
    assert result.exit_code == 2
    assert "hspace: interrupted; training had not begun" in result.output


def test_a_score_that_never_varies_names_nothing(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(
        "def judge(images):\n    return {'still': 0 * images.mean((1, 2, 3)), 'bright': images.mean((1, 2, 3))}\n"
    )
    result = run("learn", "-m", tiny_folder, *TINY, "--iterations", 1, "--scorer", "judge.py:judge")
    assert result.exit_code == 0, result.output
    found = hspace.Directions.load(tmp_path / "learned.safetensors")
    assert all(item.origin["moves"]["attribute"] == "bright" for item in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "spiral"), "--kind must be one of global, block, not 'spiral'"),
        (("--parametrisation", "free"), "--parametrisation must be one of ortho, linear, fixed, not 'free'"),
        (("--reconstructor", "vgg"), "--reconstructor must be one of resnet18, lenet, not 'vgg'"),
        (("-n", 0), "--samples must be at least 1, not 0"),
        (("-n", 3), "a span of 4 components needs more samples than that, not 3"),
        (("-k", 5), "5 directions don't fit into a span of 4"),
        (("--iterations", 0), "iterations must be at least 1, not 0"),
        (("--max-strength", 0.1), "strengths must be 0 <= min <= max"),
        (("--hidden-codes", 3), "--hidden-codes must be 0 or at least 4, not 3"),
        (("--resume", "--work", "nowhere"), "nothing to resume: there is no state.safetensors in nowhere"),
        (("--scorer", "nowhere"), "nowhere"),
        (("--picture", "p"), "expected the name of a picture, such as p.png"),
    ],
)
def test_bad_input(run: Run, tiny_folder: Path, tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    with tiny.unchecked_types():
        result = run("learn", "-m", tiny_folder, *TINY, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "learned.safetensors").exists()
