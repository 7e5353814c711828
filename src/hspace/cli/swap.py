"""`hspace swap`: h of some samples in the place of others' (Haas et al., arXiv 2303.11073, figure 2a)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from hspace.atomic import writing
from hspace.cli import options
from hspace.cli.session import open_model, open_sampler, say
from hspace.directions import swap
from hspace.plot import crossed

__all__ = ["command"]


def command(
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    seeds: Annotated[str, typer.Option(help="Samples, a row for each, such as 0:4.")] = "0:4",
    donors: Annotated[str, typer.Option(help="Seeds whose h goes in, a column for each.")] = "10:14",
    window: Annotated[str | None, typer.Option(help="Timesteps at which h is replaced, such as 700:300.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG.")] = Path("swap.png"),
    steps: options.Steps = 50,
    eta: options.Eta = "1",
    start: options.Start = None,
    tap: options.Tap = None,
    injection: options.Injection = "symmetric",
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Draw samples with the h of others: what comes with h, and what stays with x_T and the skip connections."""
    rows, columns = options.parse_seeds(seeds), options.parse_seeds(donors, "--donors")
    span, mode = options.parse_window(window), options.parse_injection(injection)
    options.check_picture(out)
    sampler = open_sampler(open_model(model, tap, device, computing, asked), steps, eta, start, batch_size)
    plain = sampler.run([*rows, *columns], progress=True)
    pairs = [(row, column) for row in rows for column in columns]
    receivers, givers = ([pair[i] for pair in pairs] for i in (0, 1))
    swapped = swap(sampler, receivers, givers, window=span, injection=mode, progress=True)
    left, above = torch.split(plain, [len(rows), len(columns)])
    titles, heads = [f"seed {seed}" for seed in rows], [f"h of seed {seed}" for seed in columns]
    picture = crossed(left, above, swapped, titles, heads)
    with writing(out) as partial:
        picture.save(partial)
    say(f"{len(rows)} samples with the h of {len(columns)} others in {out}")
