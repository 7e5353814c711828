"""Where figures go: a JSON file that grows, and the table in docs/performance.md."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Figure, Options
from hspace.atomic import writing
from hspace.errors import HspaceError
from hspace.version import __version__

Run = dict[str, Any]

BEGIN, END = "<!-- figures: written by python -m benchmarks -->", "<!-- end of figures -->"


def described(figures: list[Figure], options: Options, revision: str | None = None) -> Run:
    """A run with all that its figures depend on; `revision` is the commit when it began."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": revision,
        "machine": machine(options.device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "hspace": __version__,
        "threads": torch.get_num_threads(),
        **vars(options),
        "figures": [figure.to_json() for figure in figures],
    }


def machine(device: str) -> str:
    """Processor, cores and memory; the card, where one is used."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        name = next(iter(models), name)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    found = f"{name}, {os.cpu_count()} cores, {memory:.0f} GB"
    return f"{torch.cuda.get_device_name(device)}; {found}" if device.startswith("cuda") else found


def commit() -> str | None:
    """Of the checkout, with a + where files have changed since; None outside of one."""
    here = Path(__file__).parent
    try:
        found = [
            subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return found[0] + "+" * bool(found[1])


def appended(path: Path, run: Run) -> None:
    """Adds a run to the history."""
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    with writing(path) as partial:
        partial.write_text(json.dumps([*runs, run], indent=1) + "\n", encoding="utf-8")


def table(run: Run) -> str:
    """Markdown, with the machine."""
    threads = f"{run['threads']} thread{'s' * (run['threads'] > 1)}"
    head = (
        f"{run['machine']}; torch {run['torch']}, {threads}, {run['device']}, faces64 in {run['dtype']} unless a line "
        f"says otherwise; commit {run['commit']}, {run['date'][:10]}. Medians of {run['rounds']} alternating rounds; "
        "the ratio is the median of the rounds' ratios. Memory, and what is measured in fresh processes, once each."
    )
    lines = ["| what | beside | figures | ratio | of CPU time | limit |", "|---|---|---|---|---|---|"]
    for figure in run["figures"]:
        cpu = "" if figure["cpu_ratio"] is None else f"{figure['cpu_ratio']:.2f}"
        pair = f"{figure['ours']:.3g} / {figure['theirs']:.3g} {figure['unit']}"
        what = f"{figure['name']} ({figure['note']})" if figure["note"] else figure["name"]
        lines.append(f"| {what} | {figure['baseline']} | {pair} | {figure['ratio']:.2f} | {cpu} | {figure['limit']} |")
    return "\n".join([head, "", *lines])


def rewritten(path: Path, run: Run) -> None:
    """Puts the table between the markers of a page.

    Raises:
        HspaceError: No such page, or no markers in it.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise HspaceError(f"{path}: expected the lines {BEGIN} and {END} once each, for the table to go between")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    with writing(path) as partial:
        partial.write_text(f"{before}{BEGIN}\n{table(run)}\n{END}{after}", encoding="utf-8")
