"""The directions that are bundled with faces64, from the annotated ones of its own samples:

    hspace supervised --scorer portraits --samples 1000 --extremes 100 --steps 20 --eta 0 --injection asymmetric \\
        --dtype bfloat16 --out annotated.safetensors
    python recipes/directions_faces64.py annotated.safetensors

Keeps those that move what they are for (docs/results.md), in half precision.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from hspace.directions import BUNDLED, Directions

KEPT = ["hair_length", "beard", "yaw", "smile", "age", "skin"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, default=BUNDLED["faces64"])
    args = parser.parse_args()
    found = Directions.load(args.file)[KEPT]
    Directions([item.to(dtype=torch.float16) for item in found]).save(args.out)


if __name__ == "__main__":
    main()
