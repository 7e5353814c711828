"""Transformers of diffusers: tokens of a block as h, and what is replayed of the blocks before it."""

from __future__ import annotations

import re

import pytest
import torch
from tests import transformers
from torch import Tensor

from hspace.errors import HspaceError
from hspace.testing import check_denoiser

every_kind = pytest.mark.parametrize("kind", transformers.KINDS)


@every_kind
def test_the_tokens_of_a_block_are_h(kind: str) -> None:
    model = transformers.denoiser(kind)
    assert model.h_shape == (transformers.TOKENS, transformers.D)
    report = check_denoiser(model, half=torch.bfloat16)
    assert report["encode and decode"].found == model.replay.reason


@every_kind
def test_blocks_before_the_tap_are_replayed(kind: str) -> None:
    model = transformers.denoiser(kind)
    names = {module: name for name, module in model.network.named_modules()}
    replayed = {names[each.module].removeprefix("transformer.") for each in model.replay.modules}
    assert {"pos_embed", "transformer_blocks.0", "transformer_blocks.1"} <= replayed
    assert not {"transformer_blocks.2", "proj_out", "proj_out_1"} & replayed
    assert re.fullmatch(r"replayed: \d modules before the tap, \d\d% of the parameters", model.replay.reason)


def test_the_text_is_the_first_stream_of_sd3_and_the_picture_the_second() -> None:
    text, image = (transformers.denoiser("sd3", f"transformer.transformer_blocks.1{which}") for which in ("", ":1"))
    assert (text.h_shape, image.h_shape) == ((5, transformers.D), (transformers.TOKENS, transformers.D))
    assert (text.tap.name, image.tap.name) == ("transformer.transformer_blocks.1", "transformer.transformer_blocks.1:1")
    x_t = torch.randn(2, *transformers.IMAGE_SHAPE, dtype=torch.float64)
    for model in (text, image):
        eps = model.predict(x_t, 50).eps
        shifted = model.predict(x_t, 50, shift=torch.randn(model.h_shape)).eps  # a constant is taken away by the norms
        assert not torch.allclose(eps, shifted)
    last = transformers.denoiser("sd3", f"transformer.transformer_blocks.{transformers.BLOCKS - 1}")
    with pytest.raises(HspaceError, match=r"transformer_blocks.2' is no tensor but NoneType: choose another"):
        last.encode(x_t, 50)  # the text ends there
    assert last.tapped(f"{last.tap.name}:1").h_shape == image.h_shape


def test_a_token_lies_where_it_is_in_the_picture() -> None:
    """Behind the last block a token makes the pixels of its cell and no others: the order is row by row."""
    for kind in transformers.KINDS:
        suffix = ":1" if kind == "sd3" else ""
        model = transformers.denoiser(kind, f"transformer.transformer_blocks.{transformers.BLOCKS - 1}{suffix}")
        x_t = torch.randn(1, *transformers.IMAGE_SHAPE, dtype=torch.float64)
        shift: Tensor = torch.zeros(model.h_shape)
        shift[6] = torch.randn(transformers.D)  # row 1, column 2 of 4 x 4
        moved = (model.predict(x_t, 50, shift=shift).eps - model.predict(x_t, 50).eps).abs().sum((0, 1))
        inside = torch.zeros(8, 8, dtype=torch.bool)
        inside[2:4, 4:6] = True
        assert bool((moved[inside] > 1e-9).all())
        assert bool((moved[~inside] < 1e-12).all())
