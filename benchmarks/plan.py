"""Plans of PCAs: held against what happens, and for GPUs that are not here.

    python benchmarks/plan.py check [--only 0 3] [--processes 1 2]   predicted and measured, faces64 on the CPU
    python benchmarks/plan.py gpus [--tflops 100] [--bandwidth 1]    1,000,000 samples of two large models, from shapes

For `check` every line is a job of fresh processes of one thread each: they measure costs for some seconds, as
`hspace plan` does, predict, and then do it. Time is that of the processor, for other work on the machine stretches the
clock on the wall, which stands beside it; memory is the peak of what is resident; bytes are those given to
torch.distributed (and what the system wrote for them). Of several processes the one that took most. Limit: 15 %.

For `gpus` nothing is measured but eigenvalue problems and packing on the CPU: operations and tensors are counted on
PyTorch's meta device, in the exact architectures of google/ddpm-ema-celebahq-256 and of Stable Diffusion 1.5 (with
guidance, two passes in one), and --tflops says what a GPU is thought to sustain.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import hspace
from hspace.jobs import world
from hspace.models import Tap
from hspace.planning import Pass, at_throughput, counted, measured, planned
from hspace.planning.memory import peak, peak_from_here


@dataclass(frozen=True)
class Size:
    """Of a job."""

    samples: int
    steps: int
    components: int
    batch: int


SIZES = (Size(100, 5, 10, 32), Size(64, 5, 10, 2), Size(64, 20, 25, 32), Size(256, 10, 25, 32), Size(500, 5, 10, 32))


def one(size: Size, seconds: float = 4.0) -> None:
    """A process of a job; prints what it predicts and finds."""
    torch.set_num_threads(1)
    processes = world("cpu")
    model = hspace.load("faces64", device="cpu", dtype=torch.bfloat16)
    sampler = hspace.Sampler(model, size.steps, batch_size=size.batch)
    pca = hspace.PCA(size.components)
    sampler.run(range(size.batch))  # warm up
    processes.arrive()
    costs = measured(pca, sampler, clock=time.process_time, seconds=seconds)
    plan = planned(pca, costs, size.samples, size.steps, processes.size, bandwidth=math.inf)  # waiting takes no time
    given = counting_bytes() if processes.size > 1 else lambda: 0
    processes.arrive()
    peak_from_here("cpu")
    wall, used, wrote = time.perf_counter(), time.process_time(), written()
    pca.fit(sampler, range(size.samples))
    found = {
        "cpu": [plan.seconds, time.process_time() - used],
        "memory": [plan.host, peak("cpu")],
        "sent": [plan.sent, given()],
        "wall": time.perf_counter() - wall,
        "wrote": written() - wrote,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def counting_bytes() -> Callable[[], int]:
    """From now on, what this process gives to others: a broadcast goes to each of them."""
    given = 0

    def count(name: str) -> None:
        real = getattr(dist, name)

        def counting(x: Tensor, *args: Any, **options: Any) -> Any:
            nonlocal given
            copies = 1 if name == "send" else (dist.get_world_size() - 1) * (dist.get_rank() == 0)
            given += copies * x.numel() * x.itemsize
            return real(x, *args, **options)

        setattr(dist, name, counting)

    for name in ("send", "broadcast"):
        count(name)
    return lambda: given


def written() -> int:
    """Bytes that this process has handed to the system, to sockets too; 0 where it does not tell."""
    file = Path("/proc/self/io")
    return int(file.read_text().split("wchar:")[1].split()[0]) if file.exists() else 0


def launched(processes: int, size: Size) -> list[dict[str, Any]]:
    own = [__file__, "one", "--size", json.dumps(asdict(size))]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {"GLOO_SOCKET_IFNAME": "lo", **os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *(launcher if processes > 1 else []), *own]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def check(args: argparse.Namespace) -> None:
    print("| samples x steps, components, batch | processes | processor, s | wall, s | memory, MB | sent, bytes |")
    print("|---|---|---|---|---|---|")
    worst = 0.0
    for number in args.only:
        for processes in args.processes:
            size = SIZES[number]
            found = launched(processes, size)
            assert len(found) == processes
            cpu, memory = (max((each[what] for each in found), key=lambda pair: pair[1]) for what in ("cpu", "memory"))
            sent = [found[0]["sent"][0], sum(each["sent"][1] for each in found)]
            wrote = sum(each["wrote"] for each in found)
            ratios = [predicted / is_ for predicted, is_ in (cpu, memory, sent) if is_]
            worst = max(worst, *(abs(ratio - 1) for ratio in ratios))
            through = f"{sent[0]} / {sent[1]} = {sent[0] / sent[1]:.4f} (system: {wrote})" if sent[1] else "0 / 0"
            print(
                f"| {size.samples} x {size.steps}, {size.components}, {size.batch} | {processes} "
                f"| {cpu[0]:.1f} / {cpu[1]:.1f} = {ratios[0]:.2f} | {max(each['wall'] for each in found):.1f} "
                f"| {memory[0] / 1e6:.0f} / {memory[1] / 1e6:.0f} = {ratios[1]:.2f} | {through} |",
                flush=True,
            )
    print(f"furthest off: {100 * worst:.1f} %   limit 15 %   load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


class Guided(nn.Module):
    """Stable Diffusion's network as one of x_t and t: with the prompt and without, in one pass."""

    def __init__(self, network: nn.Module, text: Tensor) -> None:
        super().__init__()
        self.network, self.text = network, text

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        text = self.text.expand(2 * len(x_t), -1, -1)
        both: Tensor = self.network(x_t.repeat(2, 1, 1, 1), timesteps.repeat(2), text).sample
        plain, prompted = both.chunk(2)
        return plain + 7.5 * (prompted - plain)


def architectures() -> dict[str, tuple[Pass, int]]:
    """A pass of each for one sample in float16, and numbers of weights."""
    from diffusers import UNet2DConditionModel, UNet2DModel

    torch.set_default_dtype(torch.float16)
    with torch.device("meta"):
        pixels = UNet2DModel(
            sample_size=256,
            block_out_channels=(128, 128, 256, 256, 512, 512),
            down_block_types=(*4 * ("DownBlock2D",), "AttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "AttnUpBlock2D", *4 * ("UpBlock2D",)),
            attention_head_dim=None,
            downsample_padding=0,
            flip_sin_to_cos=False,
            freq_shift=1,
            norm_eps=1e-6,
        )
        latents = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        guided = Guided(latents, torch.zeros(1, 77, 768))
        timestep = torch.zeros(1, dtype=torch.int64)
        x_t = {3: torch.zeros(1, 3, 256, 256), 4: torch.zeros(1, 4, 64, 64)}
    torch.set_default_dtype(torch.float32)

    def weights(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    celeba = counted(pixels, lambda: pixels(x_t[3], timestep), Tap(pixels))
    both = counted(guided, lambda: guided(x_t[4], timestep), Tap(latents))
    # h of the prompted half alone is looked at
    stable = Pass(both.operations, both.activations, both.weights, both.h_numbers // 2, both.h_bytes)
    return {"CelebA-HQ-256": (celeba, weights(pixels)), "Stable Diffusion 1.5": (stable, weights(latents))}


def gpus(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    pca = hspace.PCA(args.components)
    print(f"{args.samples} samples, {args.steps} steps, {args.components} components, {args.tflops:g} TFLOP/s")
    heads = ("model", "GPUs", "time", "sampling", "folding", "merging", "GPU memory", "host", "state", "sent in all")
    for line in (heads, ["---"] * len(heads)):
        print(f"| {' | '.join(line)} |")
    notes = []
    for name, (single, weights) in architectures().items():
        notes.append(
            f"{name}: {weights / 1e6:.1f} million weights, {single.operations / 1e12:.3f} x 10^12 operations and "
            f"{single.activations / 1e6:.0f} MB of tensors a sample and step, h {single.h_numbers} numbers"
        )
        costs = at_throughput(pca, single, args.steps, args.batch, args.tflops * 1e12, clock=time.process_time)
        for n in args.gpus:
            plan = planned(pca, costs, args.samples, args.steps, n, bandwidth=args.bandwidth * 1e9)
            hours = [f"{x / 3600:.3g} h" for x in (plan.seconds, plan.sampling, plan.folding)]
            sizes = [f"{x / 1e9:.1f} GB" for x in (plan.device, plan.host, plan.state, plan.sent)]
            print(f"| {name}, batch {args.batch} | {n} | {' | '.join([*hours, f'{plan.merging:.0f} s', *sizes])} |")
    print("\n".join(notes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("check", "gpus", "one"), default="check")
    parser.add_argument("--only", type=int, nargs="+", choices=range(len(SIZES)), default=range(len(SIZES)))
    parser.add_argument("--processes", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--components", type=int, default=25)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--gpus", type=int, nargs="+", default=(1, 8, 64))
    parser.add_argument("--tflops", type=float, default=100.0)
    parser.add_argument("--bandwidth", type=float, default=1.0, help="GB a second")
    parser.add_argument("--size", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.what == "one":
        one(Size(**json.loads(args.size)))
    else:
        {"check": check, "gpus": gpus}[args.what](args)


if __name__ == "__main__":
    main()
