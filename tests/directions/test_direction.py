from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from hspace import HspaceError
from hspace.diffusion import Setting
from hspace.directions import Direction

SettingOf = Callable[..., Setting]

SHAPE = (4, 2, 3)
VECTORS = stnp.arrays(np.float64, SHAPE, elements=st.floats(-1e3, 1e3, allow_subnormal=False)).map(torch.from_numpy)
NUMBERS = st.floats(-1e3, 1e3, allow_subnormal=False)


@pytest.fixture(scope="module")
def direction_of(setting_of: SettingOf) -> Callable[..., Direction]:
    setting = setting_of()

    def make(vectors: torch.Tensor | None = None, name: str = "a", **more: Any) -> Direction:
        vectors = torch.arange(1.0, 25.0).reshape(SHAPE) if vectors is None else vectors
        return Direction(vectors, more.pop("setting", setting), name, **more)

    return make


Make = Callable[..., Direction]


@given(a=VECTORS, b=VECTORS, s=NUMBERS, t=NUMBERS)
def test_directions_are_a_vector_space(
    direction_of: Make, a: torch.Tensor, b: torch.Tensor, s: float, t: float
) -> None:
    one, other = direction_of(a, "a"), direction_of(b, "b")
    assert torch.equal((one + other).vectors, a + b)
    assert torch.equal((one - other).vectors, a - b)
    assert torch.equal((s * one).vectors, s * a)
    assert torch.equal((one * s).vectors, s * a)
    torch.testing.assert_close((s * (one + other)).vectors, (s * one + s * other).vectors, rtol=1e-9, atol=1e-6)
    torch.testing.assert_close(((s + t) * one).vectors, (s * one + t * one).vectors, rtol=1e-9, atol=1e-6)
    assert not (one - one).vectors.any()
    assert (one - one).norm() == 0


@given(a=VECTORS)
def test_minus_twice_is_the_same_bit_for_bit(direction_of: Make, a: torch.Tensor) -> None:
    direction = direction_of(a, origin={"method": "pca"})
    opposite = -direction
    again = -opposite
    assert again.vectors.numpy().tobytes() == a.numpy().tobytes()
    assert (again.name, again.origin, again.setting) == (direction.name, direction.origin, direction.setting)


@given(a=VECTORS, divisor=st.floats(0.1, 100))
def test_division(direction_of: Make, a: torch.Tensor, divisor: float) -> None:
    torch.testing.assert_close((direction_of(a) / divisor).vectors, a / divisor)


@given(a=VECTORS)
def test_norms(direction_of: Make, a: torch.Tensor) -> None:
    direction = direction_of(a)
    np.testing.assert_allclose(direction.norms(), np.linalg.norm(a.numpy().reshape(4, -1), axis=1))
    assert direction.norm() == pytest.approx(np.linalg.norm(a.numpy()))


@given(a=VECTORS, b=VECTORS, s=st.floats(1e-3, 1e3))
def test_cosine(direction_of: Make, a: torch.Tensor, b: torch.Tensor, s: float) -> None:
    one, other = direction_of(a), direction_of(b)
    if not (a.any() and b.any()):
        with pytest.raises(HspaceError, match="one of them is zero"):
            one.cosine(other)
        return
    cosine = one.cosine(other)
    assert -1 <= cosine <= 1
    assert cosine == pytest.approx(other.cosine(one), abs=1e-12)
    assert cosine == pytest.approx((s * one).cosine(other), abs=1e-9)
    assert cosine == pytest.approx(-one.cosine(-other), abs=1e-12)
    scaled = [x.numpy().ravel() / np.abs(x.numpy()).max() for x in (a, b)]
    assert cosine == pytest.approx(scaled[0] @ scaled[1] / np.prod([np.linalg.norm(x) for x in scaled]), abs=1e-9)
    assert one.cosine(one) == pytest.approx(1)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_cosine_of_very_small_and_large_float32_vectors(direction_of: Make, size: float) -> None:
    direction = direction_of()
    assert (size * direction).cosine(direction) == pytest.approx(1, abs=1e-6)


NAMES: list[tuple[Callable[[Direction, Direction], Direction], str]] = [
    (lambda a, b: a + b, "a + b"),
    (lambda a, b: a - b, "a - b"),
    (lambda a, b: -a, "-a"),
    (lambda a, b: (-a).__neg__(), "a"),
    (lambda a, b: a - (-b), "a + b"),
    (lambda a, b: 2 * a, "2 a"),
    (lambda a, b: -0.5 * a, "-0.5 a"),
    (lambda a, b: 2 * -a, "-2 a"),
    (lambda a, b: -2 * -a, "2 a"),
    (lambda a, b: -(2 * a), "-2 a"),
    (lambda a, b: 3 * (2 * a), "3 (2 a)"),
    (lambda a, b: 1 * a, "a"),
    (lambda a, b: a / 2, "0.5 a"),
    (lambda a, b: 2 * (a - b), "2 (a - b)"),
    (lambda a, b: -(a + b), "-(a + b)"),
    (lambda a, b: a - (a + b), "a - (a + b)"),
    (lambda a, b: a - (b - a), "a - (b - a)"),
    (lambda a, b: 2 * (2 * (a + b)), "2 (2 (a + b))"),
    (lambda a, b: 2 * a - b, "2 a - b"),
    (lambda a, b: 2 * ((a + b) - (-a)), "2 (a + b + a)"),
    (lambda a, b: -(-(a + b) - b), "-(-(a + b) - b)"),
]


@pytest.mark.parametrize(("combine", "name"), NAMES, ids=[name for _, name in NAMES])
def test_names_say_what_was_done(
    direction_of: Make, combine: Callable[[Direction, Direction], Direction], name: str
) -> None:
    assert combine(direction_of(name="a"), direction_of(name="b")).name == name


def test_origin_of_a_sum_holds_both(direction_of: Make) -> None:
    total = direction_of(origin={"method": "pca"}) - direction_of(origin={"method": "random"})
    assert total.origin == {"method": "sum", "of": [{"method": "pca"}, {"method": "random"}]}


def test_renamed_with_origin_and_dtype(direction_of: Make) -> None:
    direction = direction_of(origin={"method": "pca"})
    assert direction.renamed("yaw").name == "yaw"
    assert direction.with_origin(moves="yaw").origin == {"method": "pca", "moves": "yaw"}
    wide = direction.to(dtype=torch.float64)
    assert wide.vectors.dtype == torch.float64
    assert wide.name == direction.name
    assert wide.setting == direction.setting
    assert torch.equal(wide.vectors.float(), direction.vectors)


@pytest.mark.parametrize("number", [np.float64(2), 2.0, 2])
def test_numbers_of_numpy_from_both_sides(direction_of: Make, number: Any) -> None:
    direction = direction_of()
    for product in (number * direction, direction * number):
        assert isinstance(product, Direction)
        assert torch.equal(product.vectors, 2 * direction.vectors)


@pytest.mark.parametrize(
    "nonsense",
    [lambda a: a + 1, lambda a: 1 + a, lambda a: a - 1, lambda a: a * "2", lambda a: a * a, lambda a: a / a],
)
def test_what_makes_no_sense_is_a_type_error(direction_of: Make, nonsense: Callable[[Direction], object]) -> None:
    with pytest.raises(TypeError):
        nonsense(direction_of())


@pytest.mark.parametrize("strength", [math.nan, math.inf, -math.inf])
def test_strength_must_be_finite(direction_of: Make, strength: float) -> None:
    with pytest.raises(HspaceError, match=f"strength must be a finite number, not {strength}"):
        strength * direction_of()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_vectors_must_be_finite(direction_of: Make, bad: float) -> None:
    vectors = torch.ones(SHAPE)
    vectors[2, 1, 0] = bad
    with pytest.raises(HspaceError, match="'smile' holds NaN or infinite"):
        direction_of(vectors, "smile")
    with pytest.raises(HspaceError, match="holds NaN or infinite"):
        1e30 * direction_of(1e30 * torch.ones(SHAPE))


def test_vectors_must_have_the_shape_of_the_setting(direction_of: Make) -> None:
    with pytest.raises(HspaceError, match=r"'a': expected vectors of shape \(4, 2, 3\), found \(3, 2, 3\)"):
        direction_of(torch.ones(3, 2, 3))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"weight_hash": "1" * 16}, f"its weights tiny {'0' * 16}, here tiny {'1' * 16}"),
        ({"tap": "before"}, "its tap mid_block, here before"),
        ({"h_shape": (3, 2)}, r"its shape of h \(2, 3\), here \(3, 2\)"),
    ],
)
def test_directions_of_other_models_are_refused(
    direction_of: Make, setting_of: SettingOf, other: dict[str, Any], message: str
) -> None:
    setting = setting_of(**other)
    stranger = direction_of(torch.ones(4, *setting.h_shape), "b", setting=setting)
    with pytest.raises(HspaceError, match=message):
        direction_of() + stranger
    with pytest.raises(HspaceError, match=message):
        direction_of() - stranger
    with pytest.raises(HspaceError, match=message):
        direction_of().cosine(stranger)


def test_directions_of_other_grids_must_be_retimed_first(direction_of: Make, setting_of: SettingOf) -> None:
    setting = setting_of((901, 600, 300, 0))
    shifted = direction_of(torch.ones(SHAPE), "b", setting=setting)
    with pytest.raises(HspaceError, match="different settings"):
        direction_of() + shifted
    with pytest.raises(HspaceError, match="different grids: retime one"):
        direction_of().cosine(shifted)
    noisy = direction_of(setting=setting_of(eta=1.0))
    with pytest.raises(HspaceError, match="eta"):
        direction_of() + noisy
    assert direction_of().cosine(noisy) == pytest.approx(1)


def test_calibrated_sets_the_norms_and_keeps_the_direction(direction_of: Make) -> None:
    stds = torch.tensor([0.1, 1.0, 5.0, 100.0])
    direction = direction_of()
    calibrated = direction.calibrated(stds)
    torch.testing.assert_close(calibrated.norms(), stds)
    units, before = (x.vectors / x.norms()[:, None, None] for x in (calibrated, direction))
    torch.testing.assert_close(units, before)
    assert torch.equal(direction.calibrated([0.1, 1.0, 5.0, 100.0]).vectors, calibrated.vectors)


@pytest.mark.parametrize(
    ("stds", "message"),
    [
        ([1.0, 1.0], "expected 4 standard deviations"),
        ([1.0, 0.0, 1.0, 1.0], "'a': standard deviations must be positive, found 0"),
        ([1.0, math.nan, 1.0, 1.0], "must be positive, found nan"),
    ],
)
def test_calibrated_refuses(direction_of: Make, stds: list[float], message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        direction_of().calibrated(stds)


def test_a_direction_that_is_zero_somewhere_has_no_unit(direction_of: Make) -> None:
    vectors = torch.ones(SHAPE)
    vectors[1] = 0
    with pytest.raises(HspaceError, match="zero at a timestep"):
        direction_of(vectors).calibrated([1.0] * 4)
