"""All figures of speed and memory, each beside its limit or its naive baseline in the same run.

    python -m benchmarks                        # some 10 minutes on 1 thread of a CPU; writes both files below
    python -m benchmarks --long                 # 4,000 samples, not 1,000, for the cost of a sample
    python -m benchmarks --only strips pca      # prints; writes nothing unless told where
    python -m benchmarks --quick                # seconds: does everything run? The figures mean nothing

A and B take turns, and ratios are medians over rounds, for machines are noisy; CPU time stands beside wall time. A full
run is appended to docs/bench-history.json, and its table goes into docs/performance.md. Set OMP_NUM_THREADS for fewer
threads.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import FIGURES
from benchmarks.history import appended, commit, described, rewritten
from benchmarks.measure import Figure, Options
from hspace.device import default_device

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=FIGURES, default=list(FIGURES), metavar="NAME", help="some of them"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default=str(default_device()))
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--out", type=Path, help="history to append to")
    parser.add_argument("--docs", type=Path, help="page to write the table into")
    args = parser.parse_args(arguments)
    options = Options(args.device, args.dtype, 1 if args.quick else args.rounds, args.quick, args.long)
    if not args.quick and len(args.only) == len(FIGURES):
        args.out, args.docs = args.out or DOCS / "bench-history.json", args.docs or DOCS / "performance.md"
    revision = commit()  # files may change while it runs
    figures: list[Figure] = []
    for name in args.only:
        for figure in FIGURES[name](options):
            print(figure.line(), flush=True)
            figures.append(figure)
    run = described(figures, options, revision)
    if args.out:
        appended(args.out, run)
    if args.docs:
        rewritten(args.docs, run)


if __name__ == "__main__":
    main()
