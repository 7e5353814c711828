"""A network of one's own in hspace: any eps = net(x, t), here a published DDPM of anime faces (64 x 64, MIT).

    hspace pca --model recipes/own_network.py:animefaces64 --samples 200 --steps 20 --dtype bfloat16 \
        --out anime.safetensors --figure anime-spectrum.png --picture anime-pca.png

ANIMEFACES64 names the folder with its network.py; default: ../shared/models/animefaces64 beside this repository.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from hspace import Denoiser

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "models" / "animefaces64"


def animefaces64() -> Denoiser:
    """The adapter. Its last alphas are near 0, where eps says nothing of x_0: the grid starts at t = 292 of 300."""
    folder = Path(os.environ.get("ANIMEFACES64", _BESIDE))
    spec = importlib.util.spec_from_file_location("animefaces64", folder / "network.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Denoiser(
        module.load(),
        module.alphas_cumprod(300),
        image_shape=(3, 64, 64),
        tap="mid.2",
        prediction_type="epsilon",
        start=292,
        model_id="animefaces64",
    )
