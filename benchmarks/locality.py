"""Do masked Jacobian directions change what they were asked to, and nothing else? On faces64, with ground truth.

For each region (found in the picture by its callable), a direction of one image at one timestep, sought with
outside_rank = 5, is applied at strengths -2 and 2:

    inside      share of the squared pixel change within the mask, worse of both signs (bar 0.70); the mask is the
                part as it was drawn, grown by 2 pixels by `portrait_regions`
    moves       the factor of the portrait that changes most between -2 and 2, in standard deviations of the population
    transfer    on how many of 8 other seeds the same direction moves that factor the same way (bar 6)

    python benchmarks/locality.py [--seed 1] [--figure docs/jacobian-local.png]

A direction acts at all timesteps, or from the one it was found at on ("after"): where a part of the picture is small,
early timesteps turn the whole face with it.
"""

from __future__ import annotations

import argparse

import torch

import hspace
from hspace.attributes import load_scorer, portrait_regions
from hspace.cli.options import parse_dtype
from hspace.directions import Direction, Edit
from hspace.evaluation import inside_share
from hspace.faces import FACTORS

STRENGTH, OTHERS = 2.0, 8


def edits(direction: Direction, window: tuple[int, int] | None) -> tuple[Edit, Edit]:
    return tuple(Edit.of(direction, sign * STRENGTH, window=window) for sign in (1, -1))  # type: ignore[return-value]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--regions", nargs="+", default=["eyes", "mouth", "hair"])
    parser.add_argument("--timesteps", type=int, nargs="+", default=[799, 599, 399])
    parser.add_argument("--outside-rank", type=int, default=5)
    parser.add_argument("--injection", default="asymmetric", choices=("symmetric", "asymmetric"))
    parser.add_argument("--unit-samples", type=int, default=100)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--figure", help="PNG: the best of each region on its own image and two others")
    args = parser.parse_args()

    sampler = hspace.Sampler(hspace.load("faces64", dtype=parse_dtype(args.dtype)), args.steps)
    scorer = load_scorer("portraits")
    others = range(1000, 1000 + OTHERS)
    plain = sampler.run([args.seed])
    best: list[Edit] = []
    shown: list[str] = []
    print(f"{'region':7} {'direction':10} {'acts':6} {'inside':>6}  {'change':>6}  moves (std)          transfer")
    for region in args.regions:
        jacobian = hspace.Jacobian(
            1,
            timesteps=args.timesteps,
            mask=region,
            regions=portrait_regions,
            outside_rank=args.outside_rank,
            injection=args.injection,
            unit_seeds=range(args.unit_samples),
        ).fit(sampler, [args.seed])
        assert jacobian.masks_ is not None
        rated: list[tuple[float, Edit]] = []
        for direction, timestep in zip(jacobian.directions_, jacobian.timesteps_, strict=True):
            for acts, window in (("all", None), ("after", (timestep, 0))):
                up, down = edits(direction, window)
                both = sampler.run([args.seed] * 2, [up, down])
                inside = float(inside_share(plain.expand_as(both), both, jacobian.masks_).min())
                own = scorer.table(both).diff(dim=0)[0].neg()
                moved = int(own.abs().argmax())
                on_others = scorer.table(sampler.run(others, up)) - scorer.table(sampler.run(others, down))
                same = int((on_others[:, moved].sign() == own[moved].sign()).sum())
                change = float((both - plain).square().mean().sqrt())
                print(
                    f"{region:7} {direction.name:10} {acts:6} {inside:6.2f}  {change:6.3f}  "
                    f"{FACTORS[moved]:11} {float(own[moved]):+5.2f}     {same}/{OTHERS}",
                    flush=True,
                )
                rated.append((float(own[moved].abs()) if inside >= 0.7 and same >= 6 else -1.0, up * (1 / STRENGTH)))
        strongest = max(rated, key=lambda pair: pair[0])
        if strongest[0] < 0:
            print(f"{region:7} nothing meets both bars: not in the figure")
        else:
            best.append(strongest[1])
            shown.append(region)
    if args.figure:
        rows = [args.seed, *others[:2]]
        hspace.plot.strip(sampler, rows, best, (-4, -2, 0, 2, 4), titles=shown).save(args.figure)


if __name__ == "__main__":
    main()
