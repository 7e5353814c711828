"""What is known of diffusers' pipelines is looked up in their code; for the rest see directions/test_applied.py."""

from __future__ import annotations

import inspect

import diffusers
import pytest

from hspace.diffusion import pipelines


@pytest.mark.parametrize("name", sorted(pipelines._HALVES))
def test_pipelines_whose_second_half_answers_to_the_prompt(name: str) -> None:
    kind = getattr(diffusers, name)
    code = inspect.getsource(kind.__call__)
    assert "noise_pred_uncond, noise_pred_text = noise_pred.chunk(2)" in code
    assert code.count("= self.unet(") == 1
    assert isinstance(kind.do_classifier_free_guidance, property)
