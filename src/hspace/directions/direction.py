r"""A direction: one vector of h for every timestep of a grid, and the memory of how it was found.

The unit of strength is one for all methods: the vector of timestep t is scaled such that strength 1 moves h by one
standard deviation of the population's h along it,

    v_t = std(<h_t, u_t>) u_t,   |u_t| = 1,   and an edit adds  strength * v_t  to h_t.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.diffusion.intervention import ShiftAt
from hspace.diffusion.schedule import Injection
from hspace.diffusion.setting import Setting
from hspace.directions.project import without
from hspace.directions.retime import retimed
from hspace.errors import HspaceError

if TYPE_CHECKING:
    from hspace.directions.edit import Edit

__all__ = ["Direction", "check_strength"]


@dataclass(frozen=True, eq=False)
class Direction:
    """A vector of h per timestep.

    Directions found in the same setting form a vector space: `+`, `-`, `*` and `/` by a number, unary `-`. A direction
    is an edit too: `sampler.run(latents, edit=2.0 * smile - beard)`.

    Args:
        vectors: (S, *h_shape), row i for `setting.timesteps[i]`; strength 1 adds them to h. In the space of noise
            (1, c, h, w), added to x_T.
        setting: Model, tap, grid, eta and injection that it was found with.
        name: For people.
        origin: How it was found: method, parameters, seeds, version of the package. Plain JSON types.

    Raises:
        HspaceError: Vectors of the wrong shape, or with NaN or infinite numbers.

    Example:
        >>> import torch
        >>> from hspace.diffusion import Schedule, Setting
        >>> from hspace.directions import Direction
        >>> schedule = Schedule((2, 1), (0.1, 0.5), 1.0, (0.0, 0.0), train_timesteps=3)
        >>> setting = Setting("tiny", "0" * 16, "mid_block", (4, 1, 1), schedule)
        >>> a, b = (Direction(torch.randn(2, 4, 1, 1), setting, name) for name in "ab")
        >>> (2 * a - b).name
        '2 a - b'
        >>> round(a.cosine(3 * a), 4), round(a.cosine(-a), 4)
        (1.0, -1.0)
    """

    vectors: Float[Tensor, " s *h"]
    setting: Setting
    name: str = "direction"
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = (len(self.setting.timesteps), *self.setting.h_shape)
        if tuple(self.vectors.shape) != expected:
            found = tuple(self.vectors.shape)
            raise HspaceError(f"direction {self.name!r}: expected vectors of shape {expected}, found {found}")
        if not bool(self.vectors.isfinite().all()):
            raise HspaceError(f"direction {self.name!r} holds NaN or infinite numbers")

    @property
    def timesteps(self) -> tuple[int, ...]:
        """(S,) descending; in the space of noise the first only."""
        return self.setting.timesteps

    def __add__(self, other: Direction) -> Direction:
        if not isinstance(other, Direction):
            return NotImplemented
        if other.setting != self.setting:
            self.setting.check_same_space(other.setting)
            raise HspaceError(
                f"{self.name!r} and {other.name!r} were found in different settings (grid, eta, injection): "
                "retime one, or sum them in an Edit"
            )
        name = f"{self.name} - {other.name[1:]}" if other.name.startswith("-") else f"{self.name} + {other.name}"
        origin = {"method": "sum", "of": [dict(self.origin), dict(other.origin)]}
        return Direction(self.vectors + other.vectors, self.setting, name, origin)

    def __sub__(self, other: Direction) -> Direction:
        if not isinstance(other, Direction):
            return NotImplemented
        return self + (-other)

    def __neg__(self) -> Direction:
        return replace(self, vectors=-self.vectors, name=_scaled(self.name, -1))

    def __mul__(self, strength: float) -> Direction:
        if not isinstance(strength, numbers.Real):
            return NotImplemented
        check_strength(strength)
        return replace(self, vectors=self.vectors * float(strength), name=_scaled(self.name, strength))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Direction:
        if not isinstance(divisor, numbers.Real):
            return NotImplemented
        return self * (1 / divisor)

    def norms(self) -> Float[Tensor, " s"]:
        """Euclidean norm at each timestep: the standard deviation of h along it, in the unit of strength."""
        norms: Tensor = torch.linalg.vector_norm(self.vectors.flatten(1), dim=1)
        return norms

    def norm(self) -> float:
        """Euclidean norm over all timesteps."""
        return float(self.vectors.norm())

    def cosine(self, other: Direction) -> float:
        """Cosine of the angle between two directions as flattened (S, *h_shape) vectors.

        Raises:
            HspaceError: Different models or grids, or one of them is zero.
        """
        self.setting.check_same_space(other.setting)
        if self.timesteps != other.timesteps:
            raise HspaceError(f"{self.name!r} and {other.name!r} were found on different grids: retime one")
        if not (self.vectors.any() and other.vectors.any()):
            raise HspaceError(f"the cosine of {self.name!r} and {other.name!r} is undefined: one of them is zero")
        mine, theirs = self.vectors.flatten(), other.vectors.flatten().to(self.vectors)
        mine, theirs = mine / mine.abs().max(), theirs / theirs.abs().max()  # neither norm overflows, nor is it 0
        return min(1.0, max(-1.0, float(mine @ theirs / (mine.norm() * theirs.norm()))))

    def without(self, *others: Direction, per_timestep: bool = False) -> Direction:
        """The same direction with what it shares with others projected out (Haas et al., section 5).

        It gets shorter: strength 1 is no longer one standard deviation until `hspace.calibrate` makes it so.

        Args:
            others: What it must not change; of the same model and grid.
            per_timestep: Orthogonal to them at every timestep, a stronger constraint, instead of over all together.

        Returns:
            A direction whose `origin["without"]` has the cosine with each of the others before and after.

        Raises:
            HspaceError: None given, different models or grids, a zero or nearly collinear ones, nothing left.

        Example:
            >>> import torch
            >>> from hspace.diffusion import Schedule, Setting
            >>> from hspace.directions import Direction
            >>> schedule = Schedule((2, 1), (0.1, 0.5), 1.0, (0.0, 0.0), train_timesteps=3)
            >>> setting = Setting("tiny", "0" * 16, "mid_block", (4, 1, 1), schedule)
            >>> smile, beard = (Direction(torch.randn(2, 4, 1, 1), setting, name) for name in ("smile", "beard"))
            >>> clean = smile.without(beard)
            >>> clean.name, abs(clean.cosine(beard)) < 1e-6
            ('smile without beard', True)
        """
        if not others:
            raise HspaceError(f"{self.name!r} without what? Give at least one direction")
        before = [self.cosine(other) for other in others]  # checks that they go together
        names = [self.name, *(other.name for other in others)]
        stacked = torch.stack([other.vectors.flatten(1).to(self.vectors) for other in others])
        kept = without(self.vectors.flatten(1), stacked, names, per_timestep=per_timestep)
        clean = replace(
            self, vectors=kept.reshape(self.vectors.shape), name=f"{self.name} without {', '.join(names[1:])}"
        )
        report = [
            {"name": other.name, "cosine_before": cosine, "cosine_after": clean.cosine(other)}
            for other, cosine in zip(others, before, strict=True)
        ]
        return clean.with_origin(without=report, per_timestep=per_timestep)

    def renamed(self, name: str) -> Direction:
        """The same direction under another name."""
        return replace(self, name=name)

    def with_origin(self, **more: Any) -> Direction:
        """With more to remember of how it was found or what it does; plain JSON types."""
        return replace(self, origin={**self.origin, **more})

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Direction:
        """On another device or in another precision."""
        return replace(self, vectors=self.vectors.to(device=device, dtype=dtype))

    def calibrated(self, stds: Float[Tensor, " s"] | Sequence[float]) -> Direction:
        """The same direction in the unit of strength.

        Args:
            stds: (S,) standard deviation of the population's h along it at each timestep,
                e.g. from `hspace.calibrate`.

        Raises:
            HspaceError: Wrong length, not positive, or the direction is zero at a timestep.
        """
        given = torch.as_tensor(stds, dtype=self.vectors.dtype, device=self.vectors.device)
        if given.shape != (len(self.timesteps),):
            raise HspaceError(f"expected {len(self.timesteps)} standard deviations, one for each timestep")
        norms = self.norms()
        if bool((norms == 0).any()):
            raise HspaceError(f"direction {self.name!r} is zero at a timestep and can't be calibrated")
        if not bool((given > 0).all() and given.isfinite().all()):
            found = float(given.min())
            raise HspaceError(f"direction {self.name!r}: standard deviations must be positive, found {found:g}")
        scale = (given / norms).reshape(-1, *[1] * len(self.setting.h_shape))
        return replace(self, vectors=self.vectors * scale)

    def retimed(self, setting: Setting, *, rescale: bool = True) -> Direction:
        """For another grid, eta or injection; see `hspace.directions.retime`. The prompt stays as it was.

        Raises:
            HspaceError: Another model, or a grid that reaches where the direction knows nothing.
        """
        if setting == self.setting:
            return self
        vectors = retimed(self.vectors, self.setting, setting, rescale=rescale)
        origin = {**self.origin, "retimed_from": self.setting.to_json()}
        found = replace(setting, condition=self.setting.condition)
        return replace(self, vectors=vectors, setting=found, origin=origin)

    def during(self, first: int, last: int) -> Edit:
        """An edit by this direction at timesteps first >= t >= last only.

        Example: `smile.during(700, 300)`.
        """
        from hspace.directions.edit import Edit

        return Edit.of(self, window=(first, last))

    def applied(
        self,
        pipe: Any,
        strength: float = 1.0,
        *,
        window: tuple[int, int] | None = None,
        conditional_only: bool = False,
        eta: float | None = None,
        rescale: bool = True,
        check_weights: bool = True,
    ) -> AbstractContextManager[None]:
        """A context in which it acts in whatever a pipeline of diffusers draws, with any of its schedulers.

        Example: `with smile.applied(pipe, strength=2.0): pipe("a portrait")`. See `Edit.applied`.

        Args:
            pipe: A pipeline with a `.unet` or a `.transformer`, or the network itself.
            strength: 1: one standard deviation of h; 0: the pipeline as it is, bit for bit.
            window: (first, last): acts at timesteps first >= t >= last only.
            conditional_only: As in `Edit.applied`, as are the others.
            eta: Of the pipeline's sampler.
            rescale: Whether to correct for the gain of its steps.
            check_weights: Whether the network must be the direction's, number for number.

        Raises:
            HspaceError: It can't act there.
        """
        from hspace.directions.edit import Edit

        return Edit.of(self, strength, window=window).applied(
            pipe, conditional_only=conditional_only, eta=eta, rescale=rescale, check_weights=check_weights
        )

    @property
    def injection(self) -> Injection | None:
        """It goes in as it was found to, unless an `Edit` says otherwise; a direction of x_T goes with any other."""
        return self.setting.injection if self.setting.space == "h" else None

    def bind(self, setting: Setting, device: torch.device) -> ShiftAt | None:
        """A direction is an edit: itself at strength 1."""
        from hspace.directions.edit import Edit

        return Edit.of(self).bind(setting, device)

    def bind_start(self, setting: Setting, device: torch.device) -> Tensor | None:
        """The same for a direction of x_T."""
        from hspace.directions.edit import Edit

        return Edit.of(self).bind_start(setting, device)


def check_strength(strength: float) -> float:
    """The strength as a float.

    Raises:
        HspaceError: NaN or infinite.
    """
    if not math.isfinite(strength):
        raise HspaceError(f"strength must be a finite number, not {strength}")
    return float(strength)


def _scaled(name: str, factor: float) -> str:
    """The name of `factor` times a direction: "a" becomes "-2 a", "a + b" "-2 (a + b)", "-a" "2 a" for factor -2."""
    if factor == 1:
        return name
    heads = [name[: sign.start()] for sign in re.finditer(" [+-] ", name)]
    is_sum = any(head.count("(") == head.count(")") for head in heads)
    inner = f"({name})" if is_sum else name
    sign = "-" if (factor < 0) != inner.startswith("-") else ""
    inner = inner.removeprefix("-")
    if abs(factor) == 1:
        return f"{sign}{inner}"
    return f"{sign}{abs(factor):g} ({inner})" if inner[:1].isdigit() else f"{sign}{abs(factor):g} {inner}"
