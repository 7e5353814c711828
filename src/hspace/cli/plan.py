"""`hspace plan`: what a PCA of many samples will take."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from hspace.cli import options
from hspace.cli.session import open_model, open_sampler, say
from hspace.diffusion import Sampler
from hspace.discovery import PCA
from hspace.errors import HspaceError
from hspace.planning import Pass, Plan, at_throughput, counted, measured, planned

__all__ = ["command"]


def command(
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    samples: Annotated[int, typer.Option("--samples", "-n", help="Number of samples.")] = 1_000_000,
    components: Annotated[int, typer.Option("--components", "-k", help="Number of components.")] = 10,
    joint: Annotated[bool, typer.Option("--joint", help="One PCA of all timesteps instead of one for each.")] = False,
    processes: Annotated[
        str, typer.Option(help="How many, each with a device of its own; several numbers separated by commas.")
    ] = "1,8,64",
    tflops: Annotated[
        float | None,
        typer.Option(help="10^12 operations a second that a GPU would sustain. Default: the device here is measured."),
    ] = None,
    bandwidth: Annotated[float, typer.Option(help="GB a second from process to process.")] = 1.0,
    steps: options.Steps = 50,
    eta: options.Eta = "1",
    start: options.Start = None,
    tap: options.Tap = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Predict time, memory and communication of hspace pca before it is begun.

    A few steps and merges are measured here, or, with --tflops, the operations of the network are counted.
    """
    for option, value in (("--samples", samples), ("--tflops", tflops), ("--bandwidth", bandwidth)):
        if value is not None and value <= 0:
            raise HspaceError(f"{option} must be more than 0, not {value}")
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", processes):
        raise HspaceError(f"--processes must be numbers separated by commas, such as 1,8,64, not {processes!r}")
    pca = PCA(components, joint=joint)
    pca.check(samples)
    denoiser = open_model(model, tap, device if tflops is None else "meta", computing, asked)
    sampler = open_sampler(denoiser, steps, eta, start, batch_size)
    if tflops is None:
        costs = measured(pca, sampler)
        basis = f"measured on {sampler.model.device}, {torch.get_num_threads()} threads"
    else:
        one = _counted(sampler)
        costs = at_throughput(pca, one, steps, sampler.batch_size, tflops * 1e12)
        basis = f"{one.operations / 1e12:.3g} x 10^12 operations a sample and step at {tflops:g} x 10^12 a second"
    say(f"{samples} samples of {sampler.model.model_id}, {steps} steps, {components} components")
    say(f"batches of {costs.batch}; {basis}; {bandwidth:g} GB/s from process to process")
    plans = [planned(pca, costs, samples, steps, int(n), bandwidth=bandwidth * 1e9) for n in processes.split(",")]
    Console().print(_table(plans))
    if tflops is not None:
        say("not measured: memory of tensors alone, without that of libraries")


def _counted(sampler: Sampler) -> Pass:
    """On PyTorch's meta device: shapes are enough, and large models need no time."""
    model = sampler.model
    x_t = torch.zeros(1, *model.image_shape, device=model.device, dtype=model.state_dtype)
    try:
        one = counted(model.network, lambda: model.observe(x_t, sampler.timesteps[0]), model.tap)
        return replace(one, h_numbers=math.prod(model.h_shape))  # under guidance the tap sees two rows of a sample
    except (RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HspaceError(
            f"{model.model_id} can't be counted without numbers ({reason}): leave out --tflops"
        ) from error


def _table(plans: list[Plan]) -> Table:
    columns = [f"{plan.processes} process{'es' * (plan.processes > 1)}" for plan in plans]
    table = Table("", *columns, caption="memory and state: of each process", caption_justify="left")
    table.add_row("time", *(_time(plan.seconds) for plan in plans))
    for name in ("sampling", "folding", "merging"):
        seconds = [(getattr(plan, name), plan.seconds) for plan in plans]
        table.add_row(f"  {name}", *(f"{_time(part)}, {100 * part / whole:.2g} %" for part, whole in seconds))
    table.add_row("memory of the device", *(_size(plan.device) for plan in plans))
    table.add_row("memory of the machine", *(_size(plan.host) for plan in plans))
    table.add_row("state on disk", *(_size(plan.state) for plan in plans))
    table.add_row("sent in all", *(_size(plan.sent) for plan in plans))
    return table


def _time(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(n: int) -> str:
    return f"{n / 1e9:.2f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"
