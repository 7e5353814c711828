"""Everything that docs/results.md says, by one command:

    python recipes/results --work results [--only STAGE ...] [--docs docs]

Stages that have their JSON in the working folder are not run again. On 2 CPU cores all of it takes four to five hours;
the stages of the anime model need its checkpoint (see recipes/own_network.py) and are left out where it is not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import anime
import annotated
import carried
import contests
import efficiency
import inversion
import labelled
import page
import projection
import torch
from common import Work, say

from hspace.cli.options import parse_dtype

STAGES: dict[str, Callable[[Work], None]] = {
    "annotated": annotated.find,
    "labelled": labelled.find,
    "response": annotated.response,
    "projection": projection.measure,
    "annotated-decoder": annotated.find_in_decoder,
    "projection-decoder": projection.measure_in_decoder,
    "inversion": inversion.measure,
    "swapped": carried.swapped,
    "variants": carried.variants,
    "efficiency": efficiency.run,
    "benchmark": contests.run,
}
OF_ANIME: dict[str, Callable[[Work], None]] = {
    "anime-inversion": anime.inversion,
    "anime-labelled": anime.labelled,
    "anime-strips": anime.draw,
}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--only", nargs="+", choices=[*STAGES, *OF_ANIME])
    parser.add_argument("--dtype", default="bfloat16")
    args = parser.parse_args()
    work = Work(args.work, args.docs, parse_dtype(args.dtype))
    stages = {**STAGES, **(OF_ANIME if anime.there() else {})}
    for name in args.only or stages:
        if name not in stages:
            say(f"{name}: the anime model or its pictures are not there")
            continue
        if (work.folder / f"{name}.done").exists():
            continue
        began = time.monotonic()
        say(f"== {name}")
        stages[name](work)
        (work.folder / f"{name}.done").write_text(f"{time.monotonic() - began:.0f} s\n")
    page.write(work)


if __name__ == "__main__":
    main()
