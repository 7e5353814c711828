from __future__ import annotations

import torch
from tests import tiny

import hspace
from hspace.diffusion import Intervention


def test_directions_and_edits_are_interventions() -> None:
    sampler = hspace.Sampler(tiny.denoiser(), 3)
    direction = hspace.Direction(torch.ones(3, 8, 4, 4), sampler.setting(), "smile")
    for edit in (direction, 2.0 * direction, hspace.Edit.of(direction), tiny.Shift({})):
        assert isinstance(edit, Intervention)
    assert not isinstance([direction], Intervention)
