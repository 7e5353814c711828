"""The population of procedural portraits: twelve named factors and how they go together.

Every portrait is a function of twelve numbers. They are **not** independent, on purpose: a model trained on these
pictures learns the correlations, so directions found in it are entangled, and how much is known exactly.

One latent group (two equally likely values, "a" and "b") and age stand behind all correlations:

========================  ================================================================================
longer hair in group b    hair_length ~ N(0.20, 0.18) in a, N(0.75, 0.18) in b, clipped to [0, 1]
beards only in group a    P(beard) = 0.4 in a, 0 in b: beards and long hair exclude each other
group b smiles more       smile ~ N(-0.15, 0.5) in a, N(0.35, 0.5) in b, clipped to [-1, 1]
older faces wear glasses  P(glasses) = 0.15 + 0.5 age
========================  ================================================================================

The other seven factors are independent of everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINARY", "FACTORS", "RANGES", "Factors", "factor_table", "sample_factors"]

Factors: TypeAlias = Mapping[str, float]

RANGES: dict[str, tuple[float, float]] = {
    "yaw": (-1.0, 1.0),
    "smile": (-1.0, 1.0),
    "mouth_open": (0.0, 1.0),
    "age": (0.0, 1.0),
    "hair_length": (0.0, 1.0),
    "glasses": (0.0, 1.0),
    "skin": (0.0, 1.0),
    "hair_tone": (0.0, 1.0),
    "beard": (0.0, 1.0),
    "light": (-1.0, 1.0),
    "background": (0.0, 1.0),
    "brow": (-1.0, 1.0),
}
"""Lowest and highest value of each factor."""

FACTORS: tuple[str, ...] = tuple(RANGES)
"""Names of the factors, in the order of every table and score vector."""

BINARY: frozenset[str] = frozenset({"glasses", "beard"})
"""Factors that are either 0 or 1."""


def sample_factors(seed: int, *, independent: bool = False) -> dict[str, float]:
    """Draw the factors of one portrait.

    Args:
        seed: Determines the factors completely; any two seeds are independent.
        independent: Draw every factor uniformly over its range instead of from the correlated population
            (what a scorer needs in order not to inherit the population's correlations).

    Returns:
        One value for each name in `FACTORS`, within `RANGES`.

    Example:
        >>> from hspace.faces import sample_factors
        >>> sample_factors(0) == sample_factors(0)
        True
        >>> sample_factors(3)["beard"] in (0.0, 1.0)
        True
    """
    rng = np.random.default_rng((seed, 0x0FACE5))
    if independent:
        uniform = {name: rng.uniform(low, high) for name, (low, high) in RANGES.items()}
        return {name: float(value >= 0.5) if name in BINARY else value for name, value in uniform.items()}

    group_a = bool(rng.random() < 0.5)
    age = float(rng.beta(1.2, 1.6))
    mouth_open = float(np.clip(rng.normal(0.1, 0.35), 0.0, 1.0)) if rng.random() < 0.6 else 0.0
    return {
        "yaw": rng.uniform(-1.0, 1.0),
        "smile": float(np.clip(rng.normal(-0.15 if group_a else 0.35, 0.5), -1.0, 1.0)),
        "mouth_open": mouth_open,
        "age": age,
        "hair_length": float(np.clip(rng.normal(0.20 if group_a else 0.75, 0.18), 0.0, 1.0)),
        "glasses": float(rng.random() < 0.15 + 0.5 * age),
        "skin": rng.uniform(),
        "hair_tone": rng.uniform(),
        "beard": float(group_a and rng.random() < 0.4),
        "light": rng.uniform(-1.0, 1.0),
        "background": rng.uniform(),
        "brow": rng.uniform(-1.0, 1.0),
    }


def factor_table(seeds: Iterable[int], *, independent: bool = False) -> NDArray[np.float64]:
    """Factors of many portraits as a table, shape (n, 12), columns in the order of `FACTORS`.

    Example:
        >>> from hspace.faces import factor_table
        >>> factor_table(range(5)).shape
        (5, 12)
    """
    rows = [sample_factors(seed, independent=independent) for seed in seeds]
    return np.array([[row[name] for name in FACTORS] for row in rows], dtype=np.float64).reshape(-1, len(FACTORS))
