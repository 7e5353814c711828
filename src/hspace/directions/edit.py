"""An edit: directions with their strengths, time windows and masks, summed in h."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.diffusion import Latents, Sampler
from hspace.diffusion.intervention import ShiftAt
from hspace.diffusion.schedule import Injection
from hspace.diffusion.setting import Setting
from hspace.directions.applied import applied
from hspace.directions.direction import Direction, check_strength
from hspace.errors import HspaceError
from hspace.masks import over_h

__all__ = ["Edit", "Term", "check_mask", "check_window", "within"]


@dataclass(frozen=True, eq=False)
class Term:
    """One direction in an edit.

    Args:
        direction: What moves.
        strength: How far, in standard deviations of h along it.
        window: (first, last): acts at timesteps first >= t >= last; None: at all.
        mask: (h, w) in [0, 1] at the resolution of h (for a direction of x_T at that of x_T; for tokens on their grid,
            `hspace.masks.grid_of`): where it acts; the shift is multiplied by it. None: everywhere.

    Raises:
        HspaceError: A strength that is NaN or infinite; a window that goes upwards, or one for a direction of x_T; a
            mask of another size, or with numbers beyond [0, 1].
    """

    direction: Direction
    strength: float = 1.0
    window: tuple[int, int] | None = None
    mask: Float[Tensor, "y x"] | None = None

    def __post_init__(self) -> None:
        check_strength(self.strength)
        check_window(self.window)
        if self.window is not None and self.in_noise:
            raise HspaceError(f"{self.direction.name!r} is a direction of x_T: it acts at the start, in no window")
        check_mask(self.mask, self.direction.setting)

    @property
    def in_noise(self) -> bool:
        """Whether it moves x_T, not h."""
        return self.direction.setting.space == "noise"

    def moved(self, vector: Tensor, mask: Tensor | None = None) -> Tensor:
        """Strength and mask times a vector of the direction; `mask`: the term's own, where the vector is."""
        shift = vector * self.strength
        mask = self.mask if mask is None else mask
        return shift if mask is None else shift * over_h(mask.to(shift), self.direction.setting.h_shape)

    def acts_at(self, timestep: float) -> bool:
        """Whether it changes h there."""
        return (
            not self.in_noise
            and self.strength != 0
            and (self.window is None or self.window[0] >= timestep >= self.window[1])
        )


@dataclass(frozen=True, eq=False)
class Edit:
    """A sum of terms; several edits in sequence are the sum of their terms in one run (Haas et al., section 5).

    Args:
        terms: Directions with strength, window and mask. They may come from different grids, and some from x_T.
        injection: How the shift goes in; None: as the directions were found to, symmetric where they differ. It stays
            None where x_T alone is moved: such an edit goes with any other.

    Raises:
        HspaceError: No term at all.

    Example:
        >>> import torch
        >>> from hspace.diffusion import Schedule, Setting
        >>> from hspace.directions import Direction, Edit
        >>> schedule = Schedule((2, 1), (0.1, 0.5), 1.0, (0.0, 0.0), train_timesteps=3)
        >>> setting = Setting("tiny", "0" * 16, "mid_block", (4, 1, 1), schedule)
        >>> smile = Direction(torch.ones(2, 4, 1, 1), setting, "smile")
        >>> edit = 2.0 * (Edit.of(smile) + smile.during(2, 2))
        >>> shift_at = edit.bind(setting, torch.device("cpu"))
        >>> shift_at(2).flatten().tolist(), shift_at(1).flatten().tolist()
        ([4.0, 4.0, 4.0, 4.0], [2.0, 2.0, 2.0, 2.0])
    """

    terms: Sequence[Term]
    injection: Injection | None = None

    def __post_init__(self) -> None:
        if not self.terms:
            raise HspaceError("an edit needs at least 1 term")
        found = {term.direction.injection for term in self.terms if not term.in_noise}
        if self.injection is None and found:
            object.__setattr__(self, "injection", found.pop() if len(found) == 1 else "symmetric")

    @classmethod
    def of(
        cls,
        direction: Direction,
        strength: float = 1.0,
        *,
        window: tuple[int, int] | None = None,
        mask: Float[Tensor, "y x"] | None = None,
        injection: Injection | None = None,
    ) -> Edit:
        """An edit by one direction; see `Term`."""
        return cls((Term(direction, strength, window, mask),), injection)

    @property
    def name(self) -> str:
        """The sum as people write it, such as "2 smile - beard"."""
        parts = [(term.direction * term.strength).name for term in self.terms]
        return parts[0] + "".join(f" - {part[1:]}" if part.startswith("-") else f" + {part}" for part in parts[1:])

    def __add__(self, other: Edit | Direction) -> Edit:
        if isinstance(other, Direction):
            other = Edit.of(other, injection=self.injection)
        if not isinstance(other, Edit):
            return NotImplemented
        modes = {self.injection, other.injection} - {None}
        if len(modes) > 1:
            raise HspaceError("a symmetric and an asymmetric edit can't be summed: give their terms to one Edit")
        return Edit((*self.terms, *other.terms), modes.pop() if modes else None)

    __radd__ = __add__

    def __mul__(self, strength: float) -> Edit:
        check_strength(strength)
        return replace(self, terms=tuple(replace(term, strength=strength * term.strength) for term in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Edit:
        return -1.0 * self

    def __sub__(self, other: Edit | Direction) -> Edit:
        return self + (-other)

    def __rsub__(self, other: Edit | Direction) -> Edit:
        return -self + other

    def save(
        self,
        path: str | PathLike[str],
        sampler: Sampler,
        latents: Latents | Iterable[int],
        *,
        files: Sequence[str | PathLike[str]],
        photo: str | PathLike[str] | None = None,
    ) -> None:
        """A JSON recipe of the pictures `sampler.run(latents, edit)`; see `hspace.directions.recipe`.

        Args:
            path: Of the recipe.
            sampler: Of the run.
            latents: Of the run, or seeds.
            files: Those that the directions are saved in.
            photo: The file of the inversion, where the latents are one.

        Raises:
            HspaceError: A direction that is in none of the files; latents that are not in `photo`.
        """
        from hspace.directions.recipe import Recipe

        Recipe.of(self, sampler, latents, files, photo=photo).save(path)

    def applied(
        self,
        pipe: Any,
        strength: float = 1.0,
        *,
        conditional_only: bool = False,
        eta: float | None = None,
        rescale: bool = True,
        check_weights: bool = True,
    ) -> AbstractContextManager[None]:
        """A context in which it acts in whatever a pipeline of diffusers draws; see docs/pipelines.md.

        At each pass of the network h at the tap moves by strength times the sum of the terms at the timestep that the
        network is given, interpolated and rescaled as `hspace.directions.retime` does. An asymmetric edit takes a
        second pass at every step; see `hspace.diffusion.gains`. Contexts within each other add up. The hooks are gone
        after the context, whatever happens in it.

        Args:
            pipe: A pipeline with a `.unet` or a `.transformer` and any scheduler, or the network itself.
            strength: Times those of the terms; 0 leaves the pipeline as it is, bit for bit.
            conditional_only: With classifier-free guidance, moves h of the rows with the prompt alone, not of both.
            eta: Of the pipeline's sampler, where it is an argument of the call: `pipe(..., eta=1.0)`. None: 1 for
                schedulers that add fresh noise (DDPM, ancestral, SDE), 0 for the others. A bare network's loop is
                taken to go in steps like those of the direction.
            rescale: Whether to correct for the gain of the sampler's steps; otherwise interpolate only.
            check_weights: Whether the network must have the weights of the direction's, number for number. False for
                rounded copies (float16, bfloat16), fused or adapted ones.

        Raises:
            HspaceError: No network in `pipe`, or another one; a direction of x_T; rows of the prompt that aren't known;
                eta out of range; an asymmetric edit within another. In a pass: another shape of h, or a timestep
                where nothing is known of the direction (with timesteps on a GPU at the end of the context).

        Example:
            >>> import torch
            >>> from diffusers import DDIMPipeline, DDIMScheduler
            >>> import hspace
            >>> model = hspace.load("faces64")
            >>> sampler = hspace.Sampler(model, steps=2, eta=0.0)
            >>> vectors = torch.zeros(2, *model.h_shape)
            >>> edit = hspace.Direction(vectors, sampler.setting(), "nothing").during(999, 500)
            >>> pipe = DDIMPipeline(model.network, DDIMScheduler(clip_sample=False))
            >>> pipe.set_progress_bar_config(disable=True)
            >>> with edit.applied(pipe, strength=2.0):
            ...     pipe(num_inference_steps=2).images[0].size
            (64, 64)
        """
        return applied(
            strength * self,
            pipe,
            conditional_only=conditional_only,
            eta=eta,
            rescale=rescale,
            check_weights=check_weights,
        )

    def bind(self, setting: Setting, device: torch.device) -> ShiftAt | None:
        """The shifts for one run: every direction retimed to its grid; None if all strengths are 0."""
        inside = [term for term in self.terms if not term.in_noise]
        for term in inside:
            term.direction.setting.check_same_space(setting)
        active = [term for term in inside if term.strength != 0]
        if not active:
            return None
        rows = {timestep: row for row, timestep in enumerate(setting.schedule.timesteps)}
        vectors = [term.direction.retimed(setting).vectors.to(device) for term in active]
        masks = [None if term.mask is None else term.mask.to(device) for term in active]  # once, not at every step

        def shift_at(timestep: int) -> Tensor | None:
            row = rows[timestep]
            here = zip(active, vectors, masks, strict=True)
            parts = [term.moved(v[row], mask) for term, v, mask in here if term.acts_at(timestep)]
            return sum(parts[1:], start=parts[0]) if parts else None

        return shift_at

    def bind_start(self, setting: Setting, device: torch.device) -> Tensor | None:
        """The sum of its terms that move x_T; None where there are none, or all strengths are 0."""
        outside = [term for term in self.terms if term.in_noise]
        for term in outside:
            found = term.direction.setting
            found.check_same_space(setting.in_noise(found.h_shape))
        parts = [term.moved(term.direction.vectors[0].to(device)) for term in outside if term.strength != 0]
        return sum(parts[1:], start=parts[0]) if parts else None


def check_window(window: tuple[int, int] | None) -> None:
    """Whether a window goes down.

    Raises:
        HspaceError: It goes up.
    """
    if window is not None and window[0] < window[1]:
        raise HspaceError(f"a window goes down from a high timestep to a low one, not from {window[0]} to {window[1]}")


def within(window: tuple[int, int] | None, timestep: int) -> bool:
    """Whether a timestep is in a window; None is all of them."""
    return window is None or window[0] >= timestep >= window[1]


def check_mask(mask: Tensor | None, setting: Setting) -> None:
    """Whether a mask lies over what a setting's directions move.

    Raises:
        HspaceError: Another size, numbers beyond [0, 1] or NaN; or an h without height and width.
    """
    if mask is None:
        return
    size = tuple(setting.h_shape[-2:])
    where = "h" if setting.space == "h" else "x_T"
    if len(setting.h_shape) == 2:  # tokens: their grid has as many cells
        tokens = setting.h_shape[0]
        if mask.numel() != tokens:
            raise HspaceError(f"a mask over {tokens} tokens of h has a cell for each, not {tuple(mask.shape)}")
        size = tuple(mask.shape)
    elif len(setting.h_shape) != 3:
        raise HspaceError(f"a mask needs an h with height and width, not one of shape {setting.h_shape}")
    if tuple(mask.shape) != size:
        raise HspaceError(f"a mask of an edit has the resolution of {where}, {size}, not {tuple(mask.shape)}")
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise HspaceError("a mask of an edit holds numbers from 0 to 1")
