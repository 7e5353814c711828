"""Pipelines as objects: wrapped networks, missing parts, schedulers and networks of other families."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    EDMEulerScheduler,
    FluxTransformer2DModel,
    KarrasVeScheduler,
    ScoreSdeVeScheduler,
    UNet2DModel,
)
from tests import pipelines, tiny
from torch import nn

import hspace
from hspace.errors import HspaceError
from hspace.models.wrappers import network_of, unwrapped

WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "DataParallel": nn.DataParallel,
    "compiled": lambda network: torch.compile(network, backend="eager"),
    "both": lambda network: torch.compile(nn.DataParallel(network), backend="eager"),
}


def assigned(pipe: Any, **parts: Any) -> Any:
    for name, part in parts.items():
        setattr(pipe, name, part)
    return pipe


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_wrapped_networks_are_taken_out(wrap: Callable[[nn.Module], Any]) -> None:
    pipe = pipelines.stable_diffusion()
    plain = hspace.load(pipe, prompt="smile", guidance_scale=3.0)
    pipe = assigned(pipelines.stable_diffusion(), unet=wrap(pipe.unet), vae=wrap(pipe.vae))
    model = hspace.load(pipe, prompt="smile", guidance_scale=3.0)
    assert model.network is plain.network
    assert model.codec is not None
    assert model.codec.autoencoder is plain.codec.autoencoder  # type: ignore[union-attr]
    assert model.model_id == plain.model_id
    x_t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.predict(x_t, 500).eps, plain.predict(x_t, 500).eps)


def test_a_wrapped_network_of_a_pair() -> None:
    network = tiny.unet()
    model = hspace.load((nn.DataParallel(network), tiny.scheduler()))
    assert (model.network is network, model.model_id) == (True, "UNet2DModel")
    assert unwrapped(network) is network
    assert unwrapped(None) is None
    assert network_of(SimpleNamespace(transformer=network)) is network


def flux() -> FluxTransformer2DModel:
    sizes = {"num_attention_heads": 2, "attention_head_dim": 8, "joint_attention_dim": 4, "pooled_projection_dim": 4}
    return FluxTransformer2DModel(in_channels=4, num_layers=1, num_single_layers=1, axes_dims_rope=(2, 2, 4), **sizes)


OBJECTS: dict[str, tuple[Callable[[], Any], str]] = {
    "unet=None": (
        lambda: assigned(pipelines.ddim(), unet=None),
        r"DDIMPipeline is no model: expected .unet \(or .transformer\) and .scheduler; it has .*unet \(None\)",
    ),
    "scheduler=None": (
        lambda: assigned(pipelines.stable_diffusion(), scheduler=None),
        r"StableDiffusionPipeline is no model: .*it has .*scheduler \(None\)",
    ),
    "neither": (lambda: SimpleNamespace(scheduler=tiny.scheduler()), "SimpleNamespace is no model: .*it has neither"),
    "no scheduler": (lambda: SimpleNamespace(unet=tiny.unet()), "SimpleNamespace is no model: expected a name, a"),
    "text_encoder=None": (
        lambda: assigned(pipelines.stable_diffusion(), text_encoder=None),
        "StableDiffusionPipeline has no text_encoder: prompts need the whole pipeline",
    ),
    "tokenizers=None": (
        lambda: assigned(pipelines.stable_diffusion_xl(), tokenizer=None, tokenizer_2=None),
        "StableDiffusionXLPipeline has no tokenizer: prompts need the whole pipeline",
    ),
    "a pair without its text encoder": (
        lambda: (pipelines.stable_diffusion().unet, tiny.scheduler()),
        "a UNet2DConditionModel needs its text encoder: load the whole pipeline",
    ),
    "FLUX": (
        lambda: SimpleNamespace(transformer=flux(), scheduler=tiny.scheduler()),
        "expected one of UNet2DModel, .*, found FluxTransformer2DModel; wrap a network of your own in hspace.Denoiser",
    ),
    "inpainting": (
        lambda: pipelines.stable_diffusion(in_channels=9),
        "the network takes 9 channels and returns 4: it needs more than x_t",
    ),
    "AudioLDM": (
        lambda: pipelines.stable_diffusion(
            class_embed_type="simple_projection", projection_class_embeddings_input_dim=4
        ),
        r"more than a prompt \(class_embed_type simple_projection\)",
    ),
    "EDM": (
        lambda: assigned(pipelines.ddim(), scheduler=EDMEulerScheduler()),
        "EDMEulerScheduler has no alphas_cumprod; expected a discrete schedule",
    ),
    "Karras": (
        lambda: assigned(pipelines.ddim(), scheduler=KarrasVeScheduler()),
        "KarrasVeScheduler has no alphas_cumprod; expected a discrete schedule",
    ),
    "variance exploding": (
        lambda: assigned(pipelines.ddim(), scheduler=ScoreSdeVeScheduler()),
        "ScoreSdeVeScheduler has no alphas_cumprod; expected a discrete schedule",
    ),
    "offloaded": (
        lambda: (tiny.unet().to("meta"), tiny.scheduler()),
        "the weights are offloaded: load the pipeline without sequential offload",
    ),
}


@pytest.mark.parametrize(("make", "message"), OBJECTS.values(), ids=OBJECTS.keys())
def test_objects_that_are_no_models_are_one_clear_line(make: Callable[[], Any], message: str) -> None:
    source = make()
    with pytest.raises(HspaceError, match=message) as caught:
        hspace.load(source)
    assert "\n" not in str(caught.value)


def test_parts_of_different_models() -> None:
    without_the_first = assigned(pipelines.stable_diffusion_xl(), text_encoder=None, tokenizer=None)
    of_another = assigned(pipelines.stable_diffusion(cross_attention_dim=12))
    for pipe, width in ((without_the_first, 16), (of_another, 12)):
        with pytest.raises(HspaceError, match=f"the network takes {width} numbers of each token, .* give 8: they are"):
            _ = hspace.load(pipe, prompt="smile").branches


def test_ddpm_with_any_kind_of_variance() -> None:
    """Which is the scheduler's business: hspace has its own eta."""
    for kind in ("fixed_small", "fixed_large", "learned_range"):
        model = hspace.load((tiny.unet(), DDPMScheduler(num_train_timesteps=50, variance_type=kind)))
        assert isinstance(model.network, UNet2DModel)
