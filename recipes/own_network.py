"""A network of one's own in hspace: any eps = net(x, t), here a published DDPM of anime faces (64 x 64, MIT).

    hspace pca --model recipes/own_network.py:animefaces64 --samples 200 --steps 20 --dtype bfloat16 \
        --out anime.safetensors --figure anime-spectrum.png --picture anime-pca.png

`hspace check recipes/own_network.py:animefaces64` says whether it is what the package relies on; see docs/networks.md.
ANIMEFACES64 names the folder with its network.py; default: ../shared/models/animefaces64 beside this repository.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from hspace import Denoiser, HspaceError

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "models" / "animefaces64"


def animefaces64() -> Denoiser:
    """The adapter.

    The last alphas are near 0, where eps says nothing of x_0: the grid starts at t = 292 of 300. The tap is no
    bottleneck, because this network makes no use of its own: swapping the h of two pictures at t = 263 moves x_0 by
    0.0006 (root mean square) at `mid.2`, 8 x 8, and by 0.18 at `up.5.1`, 16 x 16.
    """
    folder = Path(os.environ.get("ANIMEFACES64", _BESIDE))
    if not (folder / "network.py").is_file():
        raise HspaceError(f"no network.py in {folder}: say with ANIMEFACES64 where the model is")
    sys.path.insert(0, str(folder))
    network: Any = importlib.import_module("network")
    return Denoiser(
        network.load(),
        network.alphas_cumprod(300),
        image_shape=(3, 64, 64),
        tap="up.5.1",
        prediction_type="epsilon",
        start=292,
        model_id="animefaces64",
    )
