from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hspace import HspaceError
from hspace.diffusion import Setting
from hspace.directions import Direction

SettingOf = Callable[..., Setting]
TIMESTEPS = (900, 600, 300, 0)


def made(setting: Setting, seed: int, name: str = "d") -> Direction:
    generator = torch.Generator().manual_seed(seed)
    return Direction(torch.randn(4, *setting.h_shape, generator=generator, dtype=torch.float64), setting, name)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 4))
def test_the_projector_is_that_of_an_orthonormal_basis(setting_of: SettingOf, seed: int, k: int) -> None:
    setting = setting_of(TIMESTEPS)
    v, others = made(setting, seed), [made(setting, seed + 1 + i, f"e{i}") for i in range(k)]
    basis = torch.linalg.qr(torch.stack([e.vectors.flatten() for e in others], 1))[0]
    flat = v.vectors.flatten()
    torch.testing.assert_close(v.without(*others).vectors.flatten(), flat - basis @ (basis.T @ flat))


def test_per_timestep_is_orthogonal_at_every_timestep(setting_of: SettingOf) -> None:
    setting = setting_of(TIMESTEPS)
    v, e = made(setting, 0), made(setting, 1, "e")
    at_each = (v.without(e, per_timestep=True).vectors * e.vectors).flatten(1).sum(1)
    overall = (v.without(e).vectors * e.vectors).flatten(1).sum(1)
    torch.testing.assert_close(at_each, torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)
    assert float(overall.abs().max()) > 1e-3
    assert abs(float(overall.sum())) < 1e-12


def test_cosines_before_and_after_are_remembered(setting_of: SettingOf) -> None:
    setting = setting_of(TIMESTEPS)
    v, e = made(setting, 0, "smile"), made(setting, 1, "beard")
    clean = (v + 0.5 * e).renamed("smile").without(e)
    (report,) = clean.origin["without"]
    assert (clean.name, report["name"]) == ("smile without beard", "beard")
    assert report["cosine_before"] == pytest.approx((v + 0.5 * e).cosine(e))
    assert abs(report["cosine_after"]) < 1e-12


def test_clear_errors(setting_of: SettingOf) -> None:
    setting = setting_of(TIMESTEPS)
    v, e, f = made(setting, 0, "v"), made(setting, 1, "e"), made(setting, 2, "f")
    zero = Direction(torch.zeros_like(v.vectors), setting, "zero")
    with pytest.raises(HspaceError, match="without what"):
        v.without()
    with pytest.raises(HspaceError, match="one of them is zero"):
        v.without(zero)
    with pytest.raises(HspaceError, match=r"'e' and '1.0001 e' are nearly collinear"):
        v.without(e, 1.0001 * e, f)
    with pytest.raises(HspaceError, match=r"'e', 'f', 'e . f' are nearly collinear"):
        v.without(e, f, e + f)
    with pytest.raises(HspaceError, match=r"nothing is left of .* without e, f: it is a mixture of them"):
        (2 * e - f).without(e, f)
    with pytest.raises(HspaceError, match="different grids"):
        v.without(made(setting_of((900, 600, 300, 1)), 1))
