from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from tests import tiny
from torch import Tensor

from hspace.models.networks import GuidedUNet2DModel

CONFIG: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "down_block_types": ("AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D"),
}


def network(**options: Any) -> GuidedUNet2DModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GuidedUNet2DModel(**CONFIG, **options).double().eval()


def output(net: UNet2DModel, t: float = 5) -> Tensor:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out: Tensor = net(x, torch.full((2,), t)).sample
    return out


def test_without_options_it_is_diffusers_network() -> None:
    plain = tiny.unet(**CONFIG, attention_head_dim=8)
    ours = network(attention_head_dim=8)
    ours.load_state_dict(plain.state_dict())
    assert torch.equal(output(ours), output(plain))


def test_heads_of_one_size_are_a_number_of_heads_on_each_level() -> None:
    """Both attended levels have 8 channels: two heads, or heads of 4."""
    same = {"block_out_channels": (8, 8)}
    sized = tiny.unet(**{**CONFIG, **same}, attention_head_dim=4)
    with torch.random.fork_rng():
        counted = GuidedUNet2DModel(**{**CONFIG, **same}, num_attention_heads=2, attention_head_dim=None)
    counted = counted.double().eval()
    counted.load_state_dict(sized.state_dict())
    assert torch.equal(output(counted), output(sized))


def test_the_number_of_heads_matters_and_holds_for_every_processor() -> None:
    one, four = (network(num_attention_heads=heads, attention_head_dim=None) for heads in (1, 4))
    four.load_state_dict(one.state_dict())
    assert float((output(one) - output(four)).abs().max()) > 1e-6
    fused = output(four)
    for module in four.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())
    torch.testing.assert_close(output(four), fused, rtol=0, atol=1e-6)  # its softmax is in float32


def test_the_scale_of_timesteps() -> None:
    plain, scaled = network(), network(timestep_scale=0.25)
    scaled.load_state_dict(plain.state_dict())
    torch.testing.assert_close(output(scaled, 400), output(plain, 100), rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{"num_attention_heads": 2, "attention_head_dim": None}, {"time_channels": 24}])
def test_save_and_load_are_identical(tmp_path: Path, options: dict[str, Any]) -> None:
    net = network(**options)
    net.save_pretrained(tmp_path)
    again = GuidedUNet2DModel.from_pretrained(tmp_path, low_cpu_mem_usage=False, torch_dtype=torch.float64)
    assert {name: again.config[name] for name in options} == options
    torch.testing.assert_close(output(again), output(net), rtol=0, atol=1e-12)
