"""The effect matrix shows every number, on one scale around 0."""

from __future__ import annotations

import torch

from hspace.plot import effect_matrix


def test_numbers_names_and_scale() -> None:
    figure = effect_matrix(torch.tensor([[2.0, -0.1], [-4.0, 0.0]]), ["pc0", "pc1"], ["yaw", "age"], title="all")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["+2.0", "-0.1", "-4.0", "+0.0"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["yaw", "age"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["pc0", "pc1"]
    assert axes.images[0].get_clim() == (-4.0, 4.0)
    assert axes.get_title() == "all"
