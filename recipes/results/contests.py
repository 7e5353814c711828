"""Methods side by side, by the command that anybody would use."""

from __future__ import annotations

import subprocess
import sys

from common import CONTESTS, Work, say


def run(work: Work) -> None:
    for tap in CONTESTS:
        command = [
            *(sys.executable, "-m", "hspace", "benchmark", "--tap", tap, "--work", f"benchmark/{tap}"),
            *("--dtype", str(work.dtype).removeprefix("torch."), "--out", f"benchmark-{tap}.json"),
        ]
        say(" ".join(command[2:]))
        subprocess.run(command, check=True, cwd=work.folder)
