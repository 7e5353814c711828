"""Inversion of 32 held-out portraits at 50 steps in float32: PSNR, and a batch against one at a time."""

from __future__ import annotations

import torch
from common import Work, portraits, say

import hspace

HELD_OUT = range(900_000, 900_032)  # no seed of the model's training or of the scorer's
STEPS = 50


def measure(work: Work) -> None:
    sampler_of = {eta: hspace.Sampler(hspace.load("faces64"), STEPS, eta) for eta in (0.0, 1.0)}
    images = portraits(HELD_OUT)
    found = {}
    for name, eta, refine in (
        ("DDIM, 5 fixed-point iterations", 0.0, 5),
        ("edit-friendly DDPM", 1.0, 0),
    ):
        whole = sampler_of[eta].invert(images, refine=refine)
        single = [sampler_of[eta].invert(images[i : i + 1], refine=refine, seeds=[i]) for i in range(2)]
        apart = max(float((one.x_T() - whole[i : i + 1].x_T()).abs().max()) for i, one in enumerate(single))
        found[name] = {
            "mean": float(whole.psnr.mean()),
            "least": float(whole.psnr.min()),
            "batch_and_single_differ_by": apart,
            "psnr": [round(x, 2) for x in whole.psnr.tolist()],
        }
        say(f"{name}: {found[name]['mean']:.1f} dB, least {found[name]['least']:.1f}, x_T apart {apart:.1e}")
        assert bool(torch.isfinite(whole.psnr).all())
        work.write("inversion", found)
