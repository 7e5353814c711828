"""Published architectures at their full size, with random weights: do they load and step, and in how much memory?

    python -m benchmarks.architectures [--only ldm-celebahq-256] [--threads 1] [--device cpu]

Each is built after the configuration that is published with its weights, saved as diffusers saves it, and opened by
`hspace.load`, in float32. Each line is of a fresh process: the peak of its resident memory while it works (weights
included; on a GPU that of the device), and seconds by the clock and of the CPU, loading left out but in "load". Batches
are of one sample but where a line says otherwise. Random weights cost what trained ones do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, LDMPipeline, UNet2DModel, VQModel

import hspace
from benchmarks.measure import peak, synchronize
from hspace.models import Denoiser
from hspace.models.products import products
from hspace.planning.memory import peak_from_here

ROOT = Path(__file__).resolve().parents[1]

Work = Callable[[Denoiser], object]


def ddpm_celebahq_256() -> DDPMPipeline:
    """google/ddpm-ema-celebahq-256 (Ho et al., arXiv 2006.11239), the model of the papers on h-space."""
    unet = UNet2DModel(
        sample_size=256,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(128, 128, 256, 256, 512, 512),
        down_block_types=(*("DownBlock2D",) * 4, "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", *("UpBlock2D",) * 4),
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )
    return DDPMPipeline(unet, DDPMScheduler(beta_start=0.0001, beta_end=0.02, variance_type="fixed_small"))


def ldm_celebahq_256() -> LDMPipeline:
    """CompVis/ldm-celebahq-256 (Rombach et al., arXiv 2112.10752)."""
    unet = UNet2DModel(
        sample_size=64,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(224, 448, 672, 896),
        down_block_types=("DownBlock2D", *("AttnDownBlock2D",) * 3),
        up_block_types=(*("AttnUpBlock2D",) * 3, "UpBlock2D"),
        attention_head_dim=32,
    )
    vqvae = VQModel(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(128, 256, 512),
        layers_per_block=2,
        latent_channels=3,
        sample_size=256,
        num_vq_embeddings=8192,
        scaling_factor=1.0,  # which its file lacks
    )
    noise = DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False)
    return LDMPipeline(vqvae, unet, noise)


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "ddpm-celebahq-256": ddpm_celebahq_256,
    "ldm-celebahq-256": ldm_celebahq_256,
}


def stepped(model: Denoiser) -> None:
    sampler = _sampler(model, eta=1.0)
    direction = hspace.PCA(1).fit(sampler, range(2)).directions_["pc0"]
    sampler.run([0], 2.0 * direction, pictures=False)


def drawn(model: Denoiser) -> None:
    sampler = _sampler(model, eta=0.0)
    sampler.batch_size = 4
    sampler.run(range(4), pictures=False)


def decoded(model: Denoiser, n: int = 1) -> None:
    model.to_pictures(torch.randn(n, *model.image_shape, device=model.device))


def inverted(model: Denoiser) -> None:
    pictures = torch.rand(1, *model.picture_shape) * 2 - 1
    _sampler(model, eta=0.0).invert(pictures, refine=0, reconstruct=False)


def multiplied(model: Denoiser) -> None:
    with torch.no_grad():
        x_t = torch.randn(1, *model.image_shape, device=model.device)
        encoding = model.encode(x_t, len(model.alphas_cumprod) // 2)
    jacobian = products(model, encoding)  # checks itself by one J v and one J^T u
    jacobian.transposed(jacobian.forward(encoding.h.reshape(1, 1, -1)))


WORKS: dict[str, tuple[str, Work]] = {
    "step": ("PCA of one step of 2 samples, an edited step", stepped),
    "batch": ("one step of 4 samples side by side", drawn),
    "decode": ("decoder, 1 picture", decoded),
    "decode 8": ("decoder, 8 pictures", lambda model: decoded(model, 8)),
    "invert": ("one step of DDIM inversion", inverted),
    "jacobian": ("2 products with J and 2 with its transpose", multiplied),
}


def worked(folder: Path, name: str, device: str) -> tuple[float, float, float]:
    """MB and seconds, by the clock and of the CPU, of a piece of work in this process."""
    if name == "load":
        work: Callable[[], object] = lambda: hspace.load(folder, device)  # noqa: E731
    else:
        model = hspace.load(folder, device)
        work = lambda: WORKS[name][1](model)  # noqa: E731
    peak_from_here(device)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    synchronize()
    return peak(device), time.perf_counter() - wall, time.process_time() - cpu


def _sampler(model: Denoiser, eta: float) -> hspace.Sampler:
    return hspace.Sampler(model, 1, eta, spacing="trailing", batch_size=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES), metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.work == "build":
        pipe = ARCHITECTURES[args.only[0]]()
        pipe.save_pretrained(args.folder)
        parts = {name: part for name, part in pipe.components.items() if hasattr(part, "parameters")}
        print({name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()})
        return
    if args.work:
        print(*worked(args.folder, args.work, args.device))
        return
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:

            def fresh(work: str, only: str = name, folder: str = folder) -> str:
                rest = ["--threads", str(args.threads), "--device", args.device, "--folder", folder, "--work", work]
                command = [sys.executable, "-m", "benchmarks.architectures", "--only", only, *rest]
                done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
                return done.stdout.strip()

            print(f"{name}, parameters: {fresh('build')}", flush=True)
            latent = (Path(folder) / "vqvae").is_dir()
            for work in ("load", *(each for each in WORKS if latent or not each.startswith("decode"))):
                memory, wall, cpu = map(float, fresh(work).split())
                words = "hspace.load" if work == "load" else WORKS[work][0]
                print(f"  {words:45} {memory:6.0f} MB {wall:7.1f} s {cpu:7.1f} s of the CPU", flush=True)


if __name__ == "__main__":
    main()
