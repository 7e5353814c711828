"""Starts real processes, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """One thread each, this checkout, nothing of a launcher around the tests."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {
        **kept,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "DIFFUSERS_VERBOSITY": "error",
        **more,
    }


def torchrun(processes: int, *command: object) -> list[str]:
    """The command line of a launch on this machine."""
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    return [*start, "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", *map(str, command)]


def launched(processes: int, *command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    options = {"cwd": cwd, "env": environment(), "capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(torchrun(processes, *command), **options)  # type: ignore[call-overload, no-any-return]


def by_hand(size: int, port: int, *command: str, cwd: Path) -> Sequence[subprocess.Popen[str]]:
    """The same without a launcher that watches over them."""
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"LOCAL_WORLD_SIZE": str(size)}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=cwd,
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **shared),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
