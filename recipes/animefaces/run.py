"""Every method of the package on a network of someone else's (recipes/own_network.py), from end to end:

    python recipes/animefaces/run.py [--only STAGE ...] [--work runs/animefaces] [--docs docs]

A stage is some commands (commands.py); docs/animefaces.md shows them with what came out. Stages that are done are not
run again, and one that was interrupted goes on. Run it in the root of the repository; the model and its pictures are
looked for in ../shared, or where ANIMEFACES64 and ANIMEFACES say.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import attributes
import figures
from commands import Stage, stages

from hspace.atomic import writing


def run(stage: Stage, work: Path) -> None:
    """Its commands, one after the other; what they cost is left beside what they wrote."""
    done = work / f"{stage.name}.done"
    if done.exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    for words, text in zip(stage.arguments(), stage.commands, strict=True):
        again = stage.resumes or (stage.name == "learned" and any((work / "learning").glob("population.*")))
        print(f"$ {text}", flush=True)
        began, used = time.monotonic(), _cpu()
        subprocess.run([sys.executable, "-m", "hspace", *words, *(["--resume"] if again else [])], check=True)
        cost = {"command": text, "minutes": (time.monotonic() - began) / 60, "cpu_minutes": (_cpu() - used) / 60}
        with (work / "costs.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(cost) + "\n")
    with writing(done) as partial:
        partial.touch()


def _cpu() -> float:
    """Seconds that the commands have used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/animefaces"))
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the strips of the page go")
    parser.add_argument("--only", nargs="+", metavar="STAGE")
    args = parser.parse_args()
    chosen = stages(args.work, Path(os.path.relpath(attributes.pictures())))
    known = [stage.name for stage in chosen]
    if unknown := sorted({*(args.only or known)} - {*known, "figures"}):
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(known)}, figures")
    for stage in chosen:
        if stage.name in (args.only or known):
            run(stage, args.work)
    if not args.only or "figures" in args.only:
        figures.draw(args.work, args.docs)


if __name__ == "__main__":
    main()
