"""Measures a model of procedural portraits against fresh portraits, with the bundled scorer.

For each factor, the Kolmogorov-Smirnov distance between the scores of generated and of rendered pictures; over all, the
Frechet distance of the scorer's penultimate features, against that between two disjoint halves of rendered pictures of
the same size. The bars are 0.15 and a ratio of 10.

    python recipes/evaluate_faces64.py --out runs/quality                               # the bundled model
    python recipes/evaluate_faces64.py --model runs/faces64/model --out runs/quality --dtype bfloat16

2,000 samples of 50 steps take about half an hour on 2 CPU cores. A run that is stopped goes on where it was when the
command is repeated: OUT/images.safetensors keeps what is drawn. Writes OUT/quality.json and OUT/samples.png, a grid of
the first 64 samples; prints a table.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import hspace
from hspace.atomic import writing
from hspace.attributes import PortraitScorer, load_scorer
from hspace.evaluation.distances import frechet_distance, ks_distance
from hspace.faces import FACTORS, render_seeds

FIRST_DATA_SEED = 1_000_000  # faces64 is trained on seeds from 10 million, the scorer from 50 million
KS_BAR, FRECHET_BAR = 0.15, 10.0


def generated(model: hspace.Denoiser, args: argparse.Namespace) -> Tensor:
    """Samples as uint8, (n, 3, 64, 64); continues those in OUT/images.safetensors if they were drawn the same way."""
    path = args.out / "images.safetensors"
    made_by = {name: str(getattr(args, name)) for name in ("steps", "eta", "seed", "dtype")}
    made_by["weights"] = model.weight_hash
    images = torch.empty(0, *model.image_shape, dtype=torch.uint8)
    if path.exists():
        with safe_open(path, framework="pt") as file:
            if file.metadata() != made_by:
                raise SystemExit(f"{path} holds samples of {file.metadata()}, not of {made_by}: give another --out")
        images = load_file(path)["images"]
    sampler = hspace.Sampler(model, steps=args.steps, eta=args.eta, batch_size=args.batch)
    while len(images) < args.samples:
        started, first = time.monotonic(), len(images)
        last = min(first + 2 * args.batch, args.samples)
        x = sampler.run(range(args.seed + first, args.seed + last))
        images = torch.cat([images, ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)])
        with writing(path) as partial:
            save_file({"images": images}, partial, made_by)
        rate = (last - first) / (time.monotonic() - started)
        print(f"{last}/{args.samples} samples, {(args.samples - last) / rate:.0f} s left", flush=True)
    return images[: args.samples]


def read(scorer: PortraitScorer, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Scores and features of uint8 images."""
    with torch.no_grad():
        features = torch.cat([scorer.features(x / 127.5 - 1) for x in images.split(250)])
        return dict(zip(FACTORS, scorer.head(features).T, strict=True)), features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="faces64", help="anything that hspace.load takes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--eta", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0, help="of the first sample")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    model = hspace.load(args.model, device=args.device, dtype=getattr(torch, args.dtype))
    images = generated(model, args)
    n = len(images)
    data = torch.from_numpy(render_seeds(range(FIRST_DATA_SEED, FIRST_DATA_SEED + 2 * n))).permute(0, 3, 1, 2)

    scorer = load_scorer("portraits")
    drawn, drawn_features = read(scorer, images)
    half, half_features = read(scorer, data[:n])
    other, other_features = read(scorer, data[n:])
    factors = {
        name: {
            "ks": round(ks_distance(drawn[name], half[name]), 4),
            "ks_of_data_halves": round(ks_distance(other[name], half[name]), 4),
            "mean": round(drawn[name].mean().item(), 3),
            "std": round(drawn[name].std().item(), 3),
        }
        for name in FACTORS
    }
    distance = frechet_distance(drawn_features, half_features)
    floor = frechet_distance(other_features, half_features)
    worst = max(row["ks"] for row in factors.values())
    quality = {
        "samples": n,
        "steps": args.steps,
        "eta": args.eta,
        "first_seed": args.seed,
        "dtype": args.dtype,
        "model": model.model_id,
        "weight_hash": model.weight_hash,
        "factors": factors,
        "worst_ks": worst,
        "ks_bar": KS_BAR,
        "frechet": {
            "generated": round(distance, 4),
            "data_halves": round(floor, 4),
            "ratio": round(distance / floor, 3),
        },
        "frechet_bar": FRECHET_BAR,
        "passed": worst <= KS_BAR and distance <= FRECHET_BAR * floor,
    }
    with writing(args.out / "quality.json") as partial:
        partial.write_text(json.dumps(quality, indent=1) + "\n", encoding="utf-8")
    hspace.plot.grid(images[:64] / 127.5 - 1).save(args.out / "samples.png")

    print(f"{'factor':12} {'KS':>7} {'halves':>7} {'mean':>7} {'std':>7}   (scores in population standard deviations)")
    for name, row in factors.items():
        values = " ".join(f"{value:7.3f}" for value in row.values())
        print(f"{name:12} {values}{'   above the bar' if row['ks'] > KS_BAR else ''}")
    print(
        f"Frechet distance {distance:.3f}, data halves {floor:.3f}: ratio {distance / floor:.2f} (bar {FRECHET_BAR:g})"
    )
    print("passed" if quality["passed"] else "NOT passed")


if __name__ == "__main__":
    main()
