"""Trains `faces64`, the bundled diffusion model, on procedural portraits.

v-prediction with a cosine schedule, AdamW, bf16 autocast, EMA. Portraits are rendered as they are needed, so no
picture is seen twice. Every random number of step n comes from (seed, n) alone: a run that is stopped and continued
with --resume ends with the weights of an uninterrupted one.

    python recipes/train_faces64.py --out runs/faces64                      # CPU
    python recipes/train_faces64.py --out runs/faces64 --batch 128 --workers 12 --device cuda
    python recipes/train_faces64.py --out runs/faces64 --init FOLDER        # start from a diffusers UNet folder

Writes OUT/state.safetensors (the training state), OUT/log.jsonl and OUT/model, a diffusers folder with the EMA
weights in float16.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from training_state import TrainingState

from hspace.faces import FACTORS, IMAGE_SIZE, RANGES, render, sample_factors

TRAIN_TIMESTEPS = 1000


class Portraits(Dataset[Tensor]):
    """Portrait i is the one of seed `first + i`, as float32 in [-1, 1], shape (3, 64, 64)."""

    def __init__(self, first: int, count: int) -> None:
        self.first, self.count = first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Tensor:
        pixels = torch.from_numpy(render(sample_factors(self.first + i)))
        return pixels.permute(2, 0, 1).float() / 127.5 - 1.0


def make_unet() -> UNet2DModel:
    """6.3 M parameters; h is (128, 8, 8)."""
    return UNet2DModel(
        sample_size=IMAGE_SIZE,
        block_out_channels=(32, 64, 128, 128),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        attention_head_dim=32,
    )


def make_scheduler() -> DDIMScheduler:
    """Cosine, v-prediction. "trailing": sampling starts at t = 999, where x_t is pure noise, as the latents are."""
    return DDIMScheduler(
        TRAIN_TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 100 steps, then a half cosine to 3 % of the peak."""
    warm = min(1.0, (step + 1) / 100)
    return peak * warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / steps)))


class State(TrainingState):
    """And the moving average of the weights."""

    def __init__(self, unet: UNet2DModel, seed: int) -> None:
        optimizer = torch.optim.AdamW(unet.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=1e-4)
        super().__init__(unet, optimizer, seed)
        self.unet = unet
        self.ema = {name: p.detach().clone() for name, p in self.params.items()}

    def more(self) -> dict[str, Tensor]:
        return {f"ema.{name}": p for name, p in self.ema.items()}

    def update_ema(self) -> None:
        decay = min(0.9995, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, p in self.params.items():
                self.ema[name].lerp_(p, 1 - decay)

    def export(self, folder: Path) -> None:
        """The moving average as a diffusers folder, float16."""
        with torch.no_grad():
            config = {k: v for k, v in self.unet.config.items() if k != "_name_or_path"}  # a path of this machine
            unet = UNet2DModel.from_config(config)
            unet.load_state_dict({n: p.cpu() for n, p in self.ema.items()})
        unet.half().save_pretrained(folder / "unet")
        make_scheduler().save_pretrained(folder / "scheduler")


def pixel_weights(focus: Sequence[str], strength: float = 9.0) -> Tensor:
    """How much each pixel counts in the loss, (64, 64), mean 1: up to 1 + strength times more where `focus` shows.

    What minimises the expected squared error of a pixel does not depend on its weight: the model that is learned is
    the same, its small features (brows are 1 % of the picture) are learned sooner.
    """
    moved = np.zeros((IMAGE_SIZE, IMAGE_SIZE))
    for seed in range(64 if focus else 0):
        factors = sample_factors(seed)
        for name in focus:
            low, high = (render({**factors, name: value}).astype(float) for value in RANGES[name])
            moved = moved + np.abs(high - low).mean(2)
    moved = (moved + moved[:, ::-1]) / max(2 * moved.max(), 1e-9)
    weights = torch.from_numpy(1.0 + strength * moved).float()
    return weights / weights.mean()


def loss_of(
    unet: UNet2DModel, x0: Tensor, alphas_cumprod: Tensor, weights: Tensor, generator: torch.Generator
) -> Tensor:
    """Mean squared error of v = sqrt(alpha) n - sqrt(1 - alpha) x_0, timesteps stratified over the batch."""
    n = torch.randn(x0.shape, generator=generator).to(x0)
    u = (torch.arange(len(x0)) + torch.rand(len(x0), generator=generator)) / len(x0)
    t = (u * TRAIN_TIMESTEPS).long().to(x0.device)
    flip = (torch.rand(len(x0), generator=generator) < 0.5).to(x0.device)  # the population is mirror symmetric
    x0 = torch.where(flip[:, None, None, None], x0.flip(-1), x0)
    a = alphas_cumprod[t][:, None, None, None]
    with torch.autocast(x0.device.type, torch.bfloat16):
        v = unet(a.sqrt() * x0 + (1 - a).sqrt() * n, t).sample
    loss: Tensor = (weights * (v.float() - (a.sqrt() * n - (1 - a).sqrt() * x0)).square()).mean()
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="diffusers UNet folder to start from")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--focus", nargs="*", default=[], choices=FACTORS, help="factors whose pixels weigh more")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save-every", type=int, default=250)
    args = parser.parse_args()

    torch.manual_seed(args.seed)  # the initial weights
    unet = UNet2DModel.from_pretrained(args.init, torch_dtype=torch.float32) if args.init else make_unet()
    state = State(unet.to(args.device).train(), args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.resume and (args.out / "state.safetensors").exists():
        state.load(args.out / "state.safetensors")
    alphas_cumprod = make_scheduler().alphas_cumprod.to(args.device)
    weights = pixel_weights(args.focus).to(args.device)
    # Portrait seeds of training start at 10 million; evaluation uses small ones.
    first = 10_000_000 * (1 + state.seed) + state.step * args.batch
    loader = DataLoader(Portraits(first, (args.steps - state.step) * args.batch), args.batch, num_workers=args.workers)

    running, started = 0.0, time.monotonic()
    with (args.out / "log.jsonl").open("a", encoding="utf-8") as log:
        for x0 in loader:
            generator = torch.Generator().manual_seed(state.seed * 1_000_003 + state.step)
            loss = loss_of(unet, x0.to(args.device), alphas_cumprod, weights, generator)
            loss.backward()
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(state.step, args.steps, args.lr)
            torch.nn.utils.clip_grad_norm_(state.params.values(), 1.0)
            state.optimizer.step()
            state.optimizer.zero_grad()
            state.step += 1
            state.update_ema()
            running += loss.item()
            if state.step % 50 == 0:
                seconds = time.monotonic() - started
                log.write(
                    json.dumps({"step": state.step, "loss": round(running / 50, 5), "seconds": round(seconds)}) + "\n"
                )
                log.flush()
                running = 0.0
            if state.step % args.save_every == 0 or state.step == args.steps:
                state.save(args.out / "state.safetensors")
                state.export(args.out / "model")


if __name__ == "__main__":
    main()
