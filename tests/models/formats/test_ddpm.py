"""Converted DDPM-PyTorch checkpoints compute what the original computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from tests.models.formats.originals.ddpm import Model, sinusoids
from tests.models.formats.originals.saving import made, save, state, x_t
from torch import nn

import hspace
from hspace.errors import HspaceError
from hspace.models import convert
from hspace.models.formats import ddpm
from hspace.models.formats.layout import Checkpoint, build

VARIANTS: dict[str, dict[str, Any]] = {
    "attention on one level": {"attn_resolutions": (16,)},
    "attention below": {"attn_resolutions": (8,)},
    "attention everywhere": {"attn_resolutions": (16, 8)},
    "attention in the middle only": {"attn_resolutions": ()},
    "one residual block": {"num_res_blocks": 1},
    "three levels, as CelebA-HQ has six": {"ch_mult": (1, 1, 2), "attn_resolutions": (4,)},
    "grey": {"channels": 1},
}


class Waves(nn.Module):
    """The original's sinusoids, which diffusers rounds otherwise (in float32, both)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        return sinusoids(t, self.width)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_network_computes_what_the_original_computes(tmp_path: Path, options: dict[str, Any]) -> None:
    original = made(lambda: Model(16, **options))
    done = convert(save(state(original), tmp_path / "model.ckpt"), tmp_path / "out", image_size=16)
    model = hspace.load(tmp_path / "out", device="cpu", dtype=torch.float64)
    x = x_t(options.get("channels", 3))
    network: Any = model.network
    assert (done.format, done.network) == ("DDPM-PyTorch", "UNet2DModel")
    assert done.parameters == sum(p.numel() for p in original.parameters())
    assert model.image_shape == tuple(x.shape[1:])
    with torch.no_grad():
        expected = [original(x, torch.full((2,), t)) for t in (0, 1, 500, 999)]
        found = [network(x, torch.full((2,), t)).sample for t in (0, 1, 500, 999)]
        network.time_proj = Waves(32)
        exact = [network(x, torch.full((2,), t)).sample for t in (0, 1, 500, 999)]
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_the_schedule_is_that_of_ho_et_al(tmp_path: Path) -> None:
    convert(save(state(made(lambda: Model(16))), tmp_path / "model.ckpt"), tmp_path / "out")
    alphas = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    model = hspace.load(tmp_path / "out", device="cpu")
    torch.testing.assert_close(model.alphas_cumprod, alphas, rtol=1e-5, atol=0)
    assert (model.prediction_type, model.spacing, model.final_alpha) == ("epsilon", "leading", 1.0)


def test_the_size_is_told_by_the_one_level_with_attention(tmp_path: Path) -> None:
    file = save(state(made(lambda: Model(64, ch_mult=(1, 1, 1)))), tmp_path / "model.ckpt")
    done = convert(file, tmp_path / "out")
    assert hspace.load(tmp_path / "out", device="cpu").image_shape == (3, 64, 64)
    assert done.notes[0] == "image size 64, assuming that attention is at 16 x 16"


def test_without_such_a_level_it_has_to_be_said(tmp_path: Path) -> None:
    file = save(state(made(lambda: Model(16, attn_resolutions=(16, 8)))), tmp_path / "model.ckpt")
    with pytest.raises(HspaceError, match=r"model\.ckpt: doesn't say how large its pictures are"):
        convert(file, tmp_path / "out")


def test_celeba_hq_is_the_model_that_diffusers_has() -> None:
    """The configuration of SDEdit's `celeba_hq.ckpt`, and that of google/ddpm-ema-celebahq-256."""
    with torch.device("meta"):
        original = Model(256, ch=128, ch_mult=(1, 1, 2, 2, 4, 4))
    made_of = ddpm.blueprint(Checkpoint("celeba_hq.ckpt", original.state_dict()), {})
    down = ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"]
    up = ["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4
    known = {
        "sample_size": 256,
        "block_out_channels": [128, 128, 256, 256, 512, 512],
        "down_block_types": down,
        "up_block_types": up,
        "layers_per_block": 2,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "attention_head_dim": None,
    }
    assert {name: made_of.config[name] for name in known} == known
    network = build(made_of)
    assert isinstance(network, UNet2DModel)
    assert sum(p.numel() for p in network.parameters()) == 113_673_219
    assert sum(p.numel() for p in original.parameters()) == 113_673_219


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("mid.attn_1.k.bias"), r"1 missing \(mid\.attn_1\.k\.bias\)"),
        (lambda s: s.update({"mid.attn_2.k.bias": torch.zeros(1)}), r"1 left over \(mid\.attn_2\.k\.bias\)"),
        (
            lambda s: s.update({"temb.dense.0.weight": torch.zeros(128, 31)}),
            r"temb\.dense\.0\.weight: expected shape \(128, 32\), found \(128, 31\)",
        ),
        (lambda s: s["conv_out.bias"].fill_(torch.nan), r"conv_out\.bias holds NaN or infinite numbers"),
        (lambda s: s.pop("conv_out.weight"), r"tensor conv_out\.weight is missing"),
        (lambda s: s.pop("down.0.downsample.conv.weight"), "without convolution is not supported"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: Any, message: str) -> None:
    tensors = state(made(lambda: Model(16)))
    change(tensors)
    with pytest.raises(HspaceError, match=message):
        convert(save(tensors, tmp_path / "model.ckpt"), tmp_path / "out", image_size=16)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]
