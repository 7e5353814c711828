"""Tiny real pipelines of diffusers with random weights, in float32 on the CPU.

Each function builds a new one, the same for the same seed; `save_pretrained(folder)` writes what `from_pretrained` and
`hspace.load` open. Tokenizers know lower-case letters, so that any prompt can be said.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    LDMPipeline,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    VQModel,
)
from tests import tiny
from tests.attributes.tiny_transformers import tokenizer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

LATENT_SIZE = 8  # height and width of x_t, in all of them
PIXELS = 16  # of a picture of the latent ones: their decoders double the size
TOKENS = 16  # of a prompt
TEXT_WIDTH = 8

NOISE = {"beta_start": 1e-3, "beta_end": 0.1, "num_train_timesteps": tiny.TRAIN_TIMESTEPS, "clip_sample": False}
STABLE_DIFFUSION_NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def ddpm(prediction_type: str = "epsilon", seed: int = 0, **config: Any) -> DDPMPipeline:
    """A pixel model; x_t is (3, 8, 8), h of the mid block (8, 4, 4).

    Args:
        prediction_type: With "sample" most pixels stay within [0, 1]; an untrained eps leaves it.
        seed: Of the weights.
        config: Of the UNet2DModel.
    """
    unet = tiny.unet(seed, dtype=torch.float32, **config)
    return _quiet(DDPMPipeline(unet, DDPMScheduler(**NOISE, prediction_type=prediction_type)))


def ddim(prediction_type: str = "epsilon", seed: int = 0, **config: Any) -> DDIMPipeline:
    """The same network with DDIM."""
    unet = tiny.unet(seed, dtype=torch.float32, **config)
    return _quiet(DDIMPipeline(unet, DDIMScheduler(**NOISE, prediction_type=prediction_type)))


def ldm(prediction_type: str = "epsilon", seed: int = 0, **config: Any) -> LDMPipeline:
    """Unconditional latent diffusion in the layout of CompVis/ldm-celebahq-256: a VQModel that doubles the size."""
    with _seeded(seed):
        vqvae = VQModel(**_autoencoder(latent_channels=3), num_vq_embeddings=16)
    unet = tiny.unet(seed, dtype=torch.float32, **config)
    return _quiet(LDMPipeline(vqvae.eval(), unet, DDIMScheduler(**NOISE, prediction_type=prediction_type)))


def stable_diffusion(
    prediction_type: str = "epsilon", seed: int = 0, *, scheduler: Any = None, **config: Any
) -> StableDiffusionPipeline:
    """Stable Diffusion 1 (epsilon) or 2 (v_prediction); x_t is (4, 8, 8), h (8, 4, 4), pictures (3, 16, 16).

    Args:
        prediction_type: Of the default scheduler.
        seed: Of the weights.
        scheduler: Default: DDIM with the original's schedule.
        config: Of the U-Net.
    """
    with _seeded(seed):
        unet = UNet2DConditionModel(**{**_conditional_unet(), **config})
        vae = AutoencoderKL(**_autoencoder(latent_channels=4))
        text_encoder = CLIPTextModel(_text_config())
    return _quiet(
        StableDiffusionPipeline(
            vae=vae.eval(),
            text_encoder=text_encoder.eval(),
            tokenizer=tokenizer(model_max_length=TOKENS),
            unet=unet.eval(),
            scheduler=scheduler or DDIMScheduler(**STABLE_DIFFUSION_NOISE, prediction_type=prediction_type),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    )


def stable_diffusion_xl(seed: int = 0, *, scheduler: Any = None, **config: Any) -> StableDiffusionXLPipeline:
    """Stable Diffusion XL: two text encoders, the second pooled, and the sizes of the picture as conditions.

    Args:
        seed: Of the weights.
        scheduler: Default: DDIM with the original's schedule.
        config: Of the U-Net.
    """
    sizes = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
    projected = {"projection_class_embeddings_input_dim": TEXT_WIDTH + 6 * 4}  # height, width, crop, target
    with _seeded(seed):
        unet = UNet2DConditionModel(
            **{**_conditional_unet(), "cross_attention_dim": 2 * TEXT_WIDTH, **sizes, **projected, **config}
        )
        vae = AutoencoderKL(**_autoencoder(latent_channels=4))
        text_encoder = CLIPTextModel(_text_config())
        text_encoder_2 = CLIPTextModelWithProjection(_text_config(projection_dim=TEXT_WIDTH))
    return _quiet(
        StableDiffusionXLPipeline(
            vae=vae.eval(),
            text_encoder=text_encoder.eval(),
            text_encoder_2=text_encoder_2.eval(),
            tokenizer=tokenizer(model_max_length=TOKENS),
            tokenizer_2=tokenizer(model_max_length=TOKENS),
            unet=unet.eval(),
            scheduler=scheduler or DDIMScheduler(**STABLE_DIFFUSION_NOISE),
            add_watermarker=False,
        )
    )


def stable_diffusion_3(seed: int = 0, *, shift: float = 3.0, **config: Any) -> StableDiffusion3Pipeline:
    """Flow matching with a transformer of text and picture; without the third text encoder, which may be left out.

    Args:
        seed: Of the weights.
        shift: Of the schedule.
        config: Of the transformer.
    """
    options = {
        "sample_size": LATENT_SIZE,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 3,
        "attention_head_dim": 4,
        "num_attention_heads": 2,
        "caption_projection_dim": 8,
        "joint_attention_dim": 2 * TEXT_WIDTH,
        "pooled_projection_dim": 2 * TEXT_WIDTH,
        "pos_embed_max_size": LATENT_SIZE,
    }
    with _seeded(seed):
        transformer = SD3Transformer2DModel(**{**options, **config})
        vae = AutoencoderKL(**_autoencoder(latent_channels=4), shift_factor=0.06, scaling_factor=1.5)
        encoders = [CLIPTextModelWithProjection(_text_config(projection_dim=TEXT_WIDTH)).eval() for _ in range(2)]
    return _quiet(
        StableDiffusion3Pipeline(
            transformer=transformer.eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
            vae=vae.eval(),
            text_encoder=encoders[0],
            tokenizer=tokenizer(model_max_length=TOKENS),
            text_encoder_2=encoders[1],
            tokenizer_2=tokenizer(model_max_length=TOKENS),
            text_encoder_3=None,
            tokenizer_3=None,
        )
    )


def dit(seed: int = 0, *, scheduler: Any = None, **config: Any) -> DiTPipeline:
    """A class-conditional transformer with learned variance; 2 blocks, 16 tokens of 8 numbers.

    Args:
        seed: Of the weights.
        scheduler: Default: DDIM with the original's schedule.
        config: Of the transformer.
    """
    options = {
        "num_attention_heads": 2,
        "attention_head_dim": 4,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 2,
        "norm_num_groups": 2,
        "sample_size": LATENT_SIZE,
        "patch_size": 2,
        "num_embeds_ada_norm": 1000,  # the pipeline's class of no class is 1000
    }
    with _seeded(seed):
        transformer = DiTTransformer2DModel(**{**options, **config})
        vae = AutoencoderKL(**_autoencoder(latent_channels=4))
    return _quiet(DiTPipeline(transformer.eval(), vae.eval(), scheduler or DDIMScheduler(clip_sample=False)))


def pixart(seed: int = 0, *, scheduler: Any = None, **config: Any) -> PixArtAlphaPipeline:
    """A transformer with cross attention to the words of a T5; learned variance. The tokenizer is another one's.

    Args:
        seed: Of the weights.
        scheduler: Default: DDIM.
        config: Of the transformer.
    """
    options = {
        "num_attention_heads": 2,
        "attention_head_dim": 4,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 2,
        "cross_attention_dim": TEXT_WIDTH,
        "caption_channels": TEXT_WIDTH,
        "sample_size": LATENT_SIZE,
        "patch_size": 2,
    }
    widths = {"d_model": TEXT_WIDTH, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 57}
    with _seeded(seed):
        transformer = PixArtTransformer2DModel(**{**options, **config})
        vae = AutoencoderKL(**_autoencoder(latent_channels=4))
        text_encoder = T5EncoderModel(T5Config(**widths))
    return _quiet(
        PixArtAlphaPipeline(
            tokenizer=tokenizer(model_max_length=TOKENS),
            text_encoder=text_encoder.eval(),
            vae=vae.eval(),
            transformer=transformer.eval(),
            scheduler=scheduler or DDIMScheduler(clip_sample=False),
        )
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random weights of a seed; the generator of everybody else stays where it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _conditional_unet() -> dict[str, Any]:
    return {
        "sample_size": LATENT_SIZE,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (4, 8),
        "layers_per_block": 1,
        "norm_num_groups": 2,
        "attention_head_dim": 2,
        "cross_attention_dim": TEXT_WIDTH,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }


def _autoencoder(latent_channels: int) -> dict[str, Any]:
    return {
        "block_out_channels": (4, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": latent_channels,
        "norm_num_groups": 2,
        "sample_size": PIXELS,
    }


def _text_config(**more: Any) -> CLIPTextConfig:
    sizes = {"hidden_size": TEXT_WIDTH, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {"vocab_size": 57, "max_position_embeddings": TOKENS, "bos_token_id": 0, "eos_token_id": 1}
    return CLIPTextConfig(**sizes, **tokens, pad_token_id=1, **more)


def _quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe
