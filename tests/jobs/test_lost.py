"""A process that is killed ends the job with one line, and what was done is kept."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.jobs.launching import by_hand, environment, launched, torchrun

import hspace

COUNTED_AS_LOST_SOONER = (
    "import hspace.jobs.pulse as p; p.LOST_AFTER = 10.0; from hspace.cli import main; main()"  # instead of a minute
)
OPTIONS = ("-k", "2", "-s", "2", "--batch-size", "4", "--device", "cpu", "--dtype", "float64", "-o", "out.safetensors")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until_saved(folder: Path, processes: int, running: Sequence[subprocess.Popen[str]]) -> None:
    """Wait for the states of all processes."""
    end = time.monotonic() + 300
    while len(list(folder.glob("out.partial.components.rank*"))) < processes:
        assert time.monotonic() < end, "no state was saved"
        assert all(process.poll() is None for process in running), [process.communicate() for process in running]
        time.sleep(0.05)


@pytest.mark.parametrize(("size", "victim"), [(3, 1), (2, 0)])
def test_without_a_launcher_that_watches(size: int, victim: int, tiny_folder: Path, tmp_path: Path) -> None:
    command = (
        "-c",
        COUNTED_AS_LOST_SOONER,
        "pca",
        "-m",
        str(tiny_folder),
        "-n",
        "1000000",
        *OPTIONS,
        "--save-every",
        "0.1",
    )
    running = by_hand(size, free_port(), *command, cwd=tmp_path)
    try:
        until_saved(tmp_path, size, running)
        running[victim].kill()
        others = [process for rank, process in enumerate(running) if rank != victim]
        ends = [process.communicate(timeout=300) for process in others]
    finally:
        for process in running:
            process.kill()
    lines = [line for _, stderr in ends for line in stderr.splitlines() if line.startswith("hspace: ")]
    what = f"process {victim} of {size} was lost: killed, or its machine is gone"
    assert lines == [f"hspace: {what}; what was done is kept, resume goes on"]
    assert [process.returncode for process in others] == [2] * (size - 1)
    assert not any("Traceback" in stderr for _, stderr in ends)
    assert len(list(tmp_path.glob("out.partial.components.rank*"))) == size


def test_under_torchrun_and_resumed(tiny_folder: Path, tmp_path: Path) -> None:
    command = ("-m", "hspace", "pca", "-m", tiny_folder, "-n", 2000, *OPTIONS)
    launcher = subprocess.Popen(
        torchrun(2, *command, "--save-every", 0.1),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until_saved(tmp_path, 2, [launcher])
        children = [int(pid) for pid in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()]
        os.kill(children[1], signal.SIGKILL)
        _, stderr = launcher.communicate(timeout=300)
    finally:
        launcher.kill()
    assert launcher.returncode != 0
    lines = [line for line in stderr.splitlines() if line.startswith("hspace: ")]
    assert len(lines) == 1
    assert re.search(r"(process \d of 2|SIGTERM).*; what was done is kept, resume goes on", lines[0])
    assert len(list(tmp_path.glob("out.partial.components.rank*"))) == 2
    result = launched(2, *command, "--resume", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("2 components of 2000 samples in out.safetensors") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["out.safetensors"]
    found = hspace.Directions.load(tmp_path / "out.safetensors")
    assert "--resume" not in found[0].origin["command"]
    alone = [sys.executable, *map(str, command), "-o", "alone.safetensors"]
    subprocess.run(alone, cwd=tmp_path, env=environment(), check=True, capture_output=True, timeout=300)
    expected = hspace.Directions.load(tmp_path / "alone.safetensors")
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.vectors, other.vectors, rtol=1e-3, atol=1e-3)


def test_an_error_of_one_process_ends_all_with_that_error(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(
        "import os\ndef judge(x):\n    return {'bright': x.mean((1, 2, 3)) / (os.environ['RANK'] != '1')}\n"
    )
    options = ("--scorer", "judge.py:judge", "-n", "20000", "--extremes", "2", *OPTIONS[2:])
    running = by_hand(2, free_port(), "-m", "hspace", "supervised", "-m", str(tiny_folder), *options, cwd=tmp_path)
    try:
        ends = [process.communicate(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    lines = [line for _, stderr in ends for line in stderr.splitlines() if line.startswith("hspace: ")]
    assert len(lines) == 1
    assert "bright" in lines[0]
    assert [process.returncode for process in running] == [2, 2]
