"""Trains the bundled portrait scorer: reads the twelve factors of `hspace.faces` from a 64 x 64 picture.

Half of the portraits come from the correlated population, half have independent factors, so that the scorer does not
take one factor for another that goes along with it. Three pictures in four are slightly blurred, noisy or both, so
that it also reads what a diffusion model draws. Portraits are rendered once and kept in OUT/portraits.safetensors.
Every random number of step n comes from (seed, n) alone: a run that is stopped and continued with --resume ends with
the weights of an uninterrupted one.

    python recipes/train_scorer.py --out runs/scorer                 # 220 s for the steps, after the rendering
    python recipes/train_scorer.py --out runs/scorer --device cuda

Writes OUT/state.safetensors (the training state), OUT/log.jsonl and OUT/portrait_scorer.safetensors, which goes to
src/hspace/attributes/weights/. The last line on stdout is the held-out correlation of each factor, as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from training_state import TrainingState

from hspace.atomic import writing
from hspace.attributes import Moments, PortraitScorer
from hspace.faces import FACTORS, factor_table, render_seeds

FIRST_TRAINING_SEED = 50_000_000
FIRST_HELD_OUT_SEED = 90_000_000  # faces64 is trained on seeds from 10 million, evaluated on small ones
HELD_OUT = 1000  # of the population, and as many with independent factors
POPULATION_SEEDS = 100_000  # behind the means and standard deviations that are the unit of the scores
MIRROR_SIGN = torch.tensor([-1.0 if name in {"yaw", "light"} else 1.0 for name in FACTORS])
"""What mirroring a picture does to its factors (both have mean 0 in the population, so the scores change sign too)."""


def population_moments() -> dict[str, Moments]:
    table = factor_table(range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + POPULATION_SEEDS))
    return {name: Moments(column.mean(), column.std()) for name, column in zip(FACTORS, table.T, strict=True)}


def standardized(seeds: range, population: dict[str, Moments], *, independent: bool) -> Tensor:
    table = torch.from_numpy(factor_table(seeds, independent=independent))
    moments = torch.tensor([population[name] for name in FACTORS], dtype=torch.float64)
    return ((table - moments[:, 0]) / moments[:, 1]).float()


def portraits(first: int, count: int, population: dict[str, Moments]) -> tuple[Tensor, Tensor]:
    """Images (2 count, 3, 64, 64) uint8 and standardized factors: the population's, then independent ones."""
    seeds = {False: range(first, first + count), True: range(first + count, first + 2 * count)}
    images = np.concatenate([render_seeds(seeds[independent], independent=independent) for independent in seeds])
    targets = [standardized(seeds[independent], population, independent=independent) for independent in seeds]
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.cat(targets)


def training_portraits(path: Path, count: int, population: dict[str, Moments]) -> tuple[Tensor, Tensor]:
    if not path.exists():
        images, targets = portraits(FIRST_TRAINING_SEED, count, population)
        with writing(path) as partial:
            save_file({"images": images, "targets": targets}, partial)
    tensors = load_file(path)
    return tensors["images"], tensors["targets"]


def augment(x: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror half of a batch, blur half by up to 0.8 pixels, add noise of up to 0.12 to half (images span 2)."""
    n = len(x)
    mirrored, blurred, noisy = torch.rand(3, n, 1, 1, 1, generator=generator) < 0.5
    width, level = torch.rand(2, n, 1, 1, 1, generator=generator)
    x = torch.where(mirrored, x.flip(-1), x)
    target = torch.where(mirrored.view(n, 1), target * MIRROR_SIGN, target)
    kernel = torch.exp(-torch.arange(-2, 3).float().square() / (2 * (0.8 * width + 0.05).square()))  # (n, 1, 1, 1, 5)
    kernel = (kernel / kernel.sum(-1, keepdim=True)).view(n, 1, 5).repeat_interleave(3, 0)
    soft = functional.pad(x, (2, 2, 2, 2), mode="replicate").view(1, 3 * n, 68, 68)
    soft = functional.conv2d(soft, kernel[:, :, None, :], groups=3 * n)
    soft = functional.conv2d(soft, kernel[:, :, :, None], groups=3 * n).view_as(x)
    x = torch.where(blurred, soft, x)
    return x + torch.randn(x.shape, generator=generator) * (0.12 * level * noisy), target


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 100 steps, then a half cosine to 1 % of the peak."""
    return peak * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def correlations(scorer: PortraitScorer, images: Tensor, targets: Tensor) -> dict[str, float]:
    device = scorer.head.weight.device
    with torch.no_grad():
        table = torch.cat([scorer.table(x.to(device) / 127.5 - 1.0).cpu() for x in images.split(250)])
    both = zip(FACTORS, table.T, targets.T, strict=True)
    return {name: round(float(torch.corrcoef(torch.stack(pair))[0, 1]), 4) for name, *pair in both}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--portraits", type=int, default=60_000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save-every", type=int, default=250)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    population = population_moments()
    images, targets = training_portraits(args.out / "portraits.safetensors", args.portraits // 2, population)
    torch.manual_seed(args.seed)  # the initial weights
    scorer = PortraitScorer(population).to(args.device)
    state = TrainingState(scorer, torch.optim.AdamW(scorer.parameters(), lr=0.0, weight_decay=1e-3), args.seed)
    if args.resume and (args.out / "state.safetensors").exists():
        state.load(args.out / "state.safetensors")

    running, started = 0.0, time.monotonic()
    with (args.out / "log.jsonl").open("a", encoding="utf-8") as log:
        while state.step < args.steps:
            generator = torch.Generator().manual_seed(state.seed * 1_000_003 + state.step)
            half = args.batch // 2
            i = torch.randint(args.portraits // 2, (2 * half,), generator=generator)
            i[half:] += args.portraits // 2  # the independent ones
            x, target = augment(images[i] / 127.5 - 1.0, targets[i], generator)
            with torch.autocast(torch.device(args.device).type, torch.bfloat16):
                scores = scorer.table(x.to(args.device))
            loss = (scores - target.to(args.device)).square().mean()
            loss.backward()
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(state.step, args.steps, args.lr)
            state.optimizer.step()
            state.optimizer.zero_grad()
            state.step += 1
            running += loss.item()
            if state.step % 50 == 0:
                row = {"step": state.step, "loss": round(running / 50, 5), "seconds": round(time.monotonic() - started)}
                log.write(json.dumps(row) + "\n")
                log.flush()
                running = 0.0
            if state.step % args.save_every == 0 or state.step == args.steps:
                state.save(args.out / "state.safetensors")

    target_file = args.out / "portrait_scorer.safetensors"
    scorer.save(target_file)
    scorer = PortraitScorer.from_file(target_file)  # what is measured is what is kept: float16 weights
    held_out = portraits(FIRST_HELD_OUT_SEED, HELD_OUT, population)
    scorer.held_out_correlation = correlations(scorer, *held_out)
    scorer.save(target_file)
    print(json.dumps(scorer.held_out_correlation))


if __name__ == "__main__":
    main()
