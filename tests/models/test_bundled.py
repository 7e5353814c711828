from __future__ import annotations

import pytest
import torch

import hspace
from hspace.models.bundled import BUNDLED, bundled_folder


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_models_load_and_see_the_noise(name: str) -> None:
    model = hspace.load(name, device="cpu")
    assert (model.model_id, model.tap.name, model.dtype) == (name, "mid_block", torch.float32)
    x_t = (
        model.alphas_cumprod[-1].sqrt() * torch.zeros(2, *model.image_shape)
        + hspace.Sampler(model, 1).latents([0, 1]).x_T()
    )
    prediction, h = model.observe(x_t, len(model.alphas_cumprod) - 1)
    assert h.shape == (2, *model.h_shape)
    assert float((prediction.eps - x_t).square().mean()) < 0.05  # the last timestep is all noise


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_weights_are_small_enough_for_the_package(name: str) -> None:
    files = list((bundled_folder(name) / "unet").glob("*.safetensors"))
    assert len(files) == 1
    assert files[0].stat().st_size <= 16_000_000


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_models_carry_a_card_and_no_path_of_the_machine_that_made_them(name: str) -> None:
    assert "## Quality" in (bundled_folder(name) / "README.md").read_text(encoding="utf-8")
    assert "_name_or_path" not in (bundled_folder(name) / "unet" / "config.json").read_text(encoding="utf-8")
