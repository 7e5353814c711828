r"""The reverse process with edits of h: batched, keyed by timestep, memory bounded by the batch.

With (eps, x_0) the plain and (eps', x_0') the shifted prediction, a step goes

    symmetric (Haas et al., arXiv 2303.11073):   from x_0' and eps'
    asymmetric (Kwon et al., arXiv 2210.10960):  from x_0' and eps, with one pass of the encoder and two of the decoder

An edited run meets the x_T and the z_t of the original: they are functions of the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.device import free_memory, is_out_of_memory, sent
from hspace.diffusion.ahead import Noise
from hspace.diffusion.changes import Bound, ChangeAt, of_rows, of_run
from hspace.diffusion.intervention import Intervention, Recorder, RunChange
from hspace.diffusion.inversion import Chosen, Inversion, Part, check_pictures, inverted, joined, psnr
from hspace.diffusion.latents import Latents, SeedLatents, as_seeds
from hspace.diffusion.prefix import Prefixes, identities
from hspace.diffusion.schedule import Injection, Schedule, make_schedule
from hspace.diffusion.setting import Setting, Space
from hspace.diffusion.shared import shared_batch
from hspace.diffusion.step import stepped
from hspace.errors import HspaceError
from hspace.models.denoiser import Denoiser, Spacing
from hspace.progress import Advance, Progress, reporting

__all__ = ["Edits", "Sampler"]

Edits = Intervention | RunChange | Sequence["Intervention | None"] | None
"""One edit for all rows, one for each row (None: the row stays as it is), or a change of the whole run."""

_Result = TypeVar("_Result")


class Sampler:
    """Draws samples of a model, plain or edited.

    Args:
        model: The denoiser.
        steps: Number of steps S.
        eta: 0 (DDIM) to 1 (DDPM); one number, or one for each step from the first (highest t) to the last.
        start: Highest timestep of the grid; default: the model's.
        spacing: Of the grid; default: the model's.
        batch_size: Rows in one pass of the network. Default: chosen by the size of a picture, and halved when the
            device runs out of memory (the batch then starts again).
        max_batch_size: Ceiling of the automatic choice.

    Raises:
        HspaceError: Steps, eta, start or batch size out of range.

    Example:
        >>> import hspace
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2, eta=1.0)
        >>> sampler.run(range(2)).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self,
        model: Denoiser,
        steps: int = 50,
        eta: float | Sequence[float] = 1.0,
        *,
        start: int | None = None,
        spacing: Spacing | None = None,
        batch_size: int | None = None,
        max_batch_size: int = 32,
    ) -> None:
        self.model = model
        self.schedule: Schedule = make_schedule(model, steps, eta, start=start, spacing=spacing)
        for size in (batch_size, max_batch_size):
            if size is not None and size < 1:
                raise HspaceError(f"batch size must be at least 1, not {size}")
        self.batch_size = batch_size or _automatic_batch_size(model, max_batch_size)
        self._may_shrink = batch_size is None

    @classmethod
    def on(
        cls,
        model: Denoiser,
        setting: Setting,
        *,
        eta: float | Sequence[float] | None = None,
        batch_size: int | None = None,
    ) -> Sampler:
        """A sampler on the very grid that directions were found on: `Sampler.on(model, directions.setting)`.

        Args:
            model: The one that they were found in.
            setting: Of the directions.
            eta: Another than they were found with.
            batch_size: As in the constructor.

        Raises:
            HspaceError: A setting of another model, tap or training schedule; eta out of range.
        """
        schedule = setting.schedule
        sampler = cls(model, steps=1, batch_size=batch_size)
        setting.check_same_space(sampler.setting(space=setting.space))
        if any(model.alphas_cumprod[t] != alpha for t, alpha in zip(schedule.timesteps, schedule.alphas, strict=True)):
            raise HspaceError(f"the grid was laid over another noise schedule than that of {model.model_id}")
        sampler.schedule = schedule if eta is None else schedule.with_eta(eta)
        return sampler

    @property
    def timesteps(self) -> tuple[int, ...]:
        """(S,) descending."""
        return self.schedule.timesteps

    def setting(self, injection: Injection = "symmetric", space: Space = "h") -> Setting:
        """What a direction found with this sampler remembers of it."""
        model = self.model
        found = Setting(
            model.model_id, model.weight_hash, model.tap.name, model.h_shape, self.schedule, injection,
            condition=model.condition,
        )  # fmt: skip
        return found if space == "h" else found.in_noise(model.image_shape)

    def latents(self, seeds: Iterable[int]) -> SeedLatents:
        """x_T and z_t of seeds."""
        return SeedLatents(as_seeds(seeds), self.model.image_shape)

    def run(
        self,
        latents: Latents | Iterable[int],
        edit: Edits = None,
        *,
        record: Recorder | None = None,
        visit: Recorder | None = None,
        prefixes: Prefixes | None = None,
        pictures: bool = True,
        progress: Progress = False,
    ) -> Float[Tensor, "n c y x"]:
        """Sample.

        Args:
            latents: Or seeds.
            edit: One edit, one for each row, or a change of the whole run.
            record: Receives h at every step; nothing of it is kept here.
            visit: Receives x_t before every step: the states of the sample's own trajectory.
            prefixes: Rows of the same sample go as one until their edits begin to act, and start from what other runs
                with the same `Prefixes` have left there. A change of the whole run shares nothing.
            pictures: Whether latents become pictures in the end, of models that have a codec.
            progress: True for a bar, or a function of (done, total) image-steps.

        Returns:
            Pictures within about [-1, 1] (without `pictures` x_0), float32 (float64 for a float64 model) on the CPU.

        Raises:
            HspaceError: An edit that does not fit; a number of edits that is not that of rows.
        """
        rows = self.as_latents(latents)
        shape = self.model.picture_shape if pictures else self.model.image_shape
        images = torch.empty(len(rows), *shape, dtype=self.model.state_dtype)
        batches = self.stream(
            rows, edit, record=record, visit=visit, prefixes=prefixes, pictures=pictures, progress=progress
        )
        for where, batch in batches:
            images[where] = batch.cpu()
        return images

    def stream(
        self,
        latents: Latents | Iterable[int],
        edit: Edits = None,
        *,
        record: Recorder | None = None,
        visit: Recorder | None = None,
        prefixes: Prefixes | None = None,
        pictures: bool = True,
        progress: Progress = False,
    ) -> Iterator[tuple[slice, Tensor]]:
        """As `run`, batch by batch: yields the rows and their pictures on the model's device, and keeps nothing."""
        rows = self.as_latents(latents)
        self.check(rows)
        injection, bound = self._bind(None if isinstance(edit, RunChange) else edit, len(rows))
        if isinstance(edit, RunChange):
            injection = edit.injection
        samples = identities(rows) if prefixes is not None else []
        with reporting(progress, len(rows) * len(self.schedule)) as advance:

            @torch.no_grad()
            def sampled(where: slice) -> Tensor:
                here, each = rows[where], bound[where]
                if prefixes is None or isinstance(edit, RunChange):
                    change_at = of_rows([one.shift_at for one in each])
                    if isinstance(edit, RunChange):
                        change_at = of_run(edit, where)
                    starts = [one.start for one in each]
                    x_0 = self._batch(here, where, starts, change_at, injection, record, visit, advance)
                else:
                    known = prefixes.known(self.model, self.schedule)
                    x_0 = shared_batch(
                        self.model, self.schedule, here, samples[where], each, injection, known,
                        where, record, visit, advance,
                    )  # fmt: skip
                remainder = here.remainder()
                if remainder is not None:
                    x_0 = x_0 + sent(remainder, x_0.device).to(x_0)
                return self.model.to_pictures(x_0) if pictures else x_0

            yield from self.batches(len(rows), sampled)

    def batches(self, n: int, work: Callable[[slice], _Result]) -> Iterator[tuple[slice, _Result]]:
        """Work on n rows; a batch that does not fit into memory starts again with half of its rows."""
        first = 0
        while first < n:
            where = slice(first, min(first + self.batch_size, n))
            if (result := self._fitting(work, where)) is None:
                self.batch_size //= 2
                free_memory()
            else:
                yield where, result
                first = where.stop

    def _fitting(self, work: Callable[[slice], _Result], where: slice) -> _Result | None:
        """What comes of a batch; None where it did not fit and may be halved."""
        try:
            return work(where)
        except RuntimeError as error:
            if not self._may_shrink or self.batch_size == 1 or not is_out_of_memory(error):
                raise
            return None

    def _batch(
        self,
        latents: Latents,
        where: slice,
        starts: Sequence[Tensor | None],
        change_at: ChangeAt,
        injection: Injection,
        record: Recorder | None,
        visit: Recorder | None,
        advance: Advance,
    ) -> Tensor:
        model, schedule = self.model, self.schedule
        x_t = sent(latents.x_T(), model.device).to(model.state_dtype)
        if any(start is not None for start in starts):
            x_t = torch.stack([x if add is None else x + add.to(x) for x, add in zip(x_t, starts, strict=True)])
        with Noise(latents, schedule, model.device) as noise:
            for i, timestep in enumerate(schedule.timesteps):
                if visit is not None:
                    visit(timestep, x_t, where)
                x_t, h = stepped(model, schedule, i, x_t, noise.at(i), change_at(timestep), injection)
                if record is not None:
                    record(timestep, h, where)
                advance(len(x_t))
        return x_t

    def invert(
        self,
        images: Float[Tensor, "n k h w"],
        *,
        refine: int = 5,
        seeds: Iterable[int] | None = None,
        names: Sequence[str] | None = None,
        record: Recorder | None = None,
        reconstruct: bool = True,
        progress: Progress = False,
    ) -> Inversion:
        """Find the latents whose sample is a given picture, on this sampler's grid.

        With eta 0 by DDIM inversion, else by edit-friendly DDPM inversion, which is exact; see
        `hspace.diffusion.inversion`. Of a latent model the picture's latents are inverted: the autoencoder's own loss
        stays, however exact the rest is. `Inversion.codec_psnr` tells it.

        Args:
            images: In [-1, 1], of the model's `picture_shape`, n of them; `hspace.photos.read_photos` reads files.
            refine: Fixed-point iterations at each step of DDIM inversion. 0: the plain one.
            seeds: Of the noise that edit-friendly inversion draws, one for each picture; default 0, 1, ...
            names: What pictures are called; default: their numbers.
            record: Receives h at every step, from the lowest timestep to the highest with eta 0.
            reconstruct: Whether to sample once in the end, for the PSNR; otherwise that is NaN, and the autoencoder is
                not measured either.
            progress: True for a bar, or a function of (done, total) image-steps.

        Returns:
            Latents: `sampler.run(inversion, edit=...)`.

        Raises:
            HspaceError: Pictures of another shape or with NaN; eta 0 at some steps only.

        Example:
            >>> import hspace
            >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=3, eta=1.0)
            >>> pictures = sampler.run(range(2))
            >>> inversion = sampler.invert(pictures)
            >>> bool((sampler.run(inversion) - pictures).abs().max() < 1e-4), bool(inversion.psnr.min() > 60)
            (True, True)
        """
        check_pictures(images, self.model.picture_shape)
        n = len(images)
        labels = tuple(str(i) for i in range(n)) if names is None else tuple(names)
        chosen = as_seeds(range(n) if seeds is None else seeds)
        if len(chosen) != n or len(labels) != n:
            raise HspaceError(f"expected a seed and a name for each of {n} pictures")
        with reporting(progress, n * len(self.schedule), "inverting") as advance:

            def part(where: slice) -> tuple[Part, Tensor | None]:
                pictures = images[where].to(self.model.device, self.model.state_dtype)
                x_0 = self.model.from_pictures(pictures)
                of_codec = None
                if reconstruct and self.model.codec is not None:
                    of_codec = psnr(pictures, self.model.to_pictures(x_0))
                found = inverted(self.model, self.schedule, x_0, chosen[where], refine, where, record, advance)
                return found, of_codec

            parts, of_codec = zip(*(found for _, found in self.batches(n, part)), strict=True)
        start, noises, rest = (joined(column) for column in zip(*parts, strict=True))
        pictures, unknown = images.detach().float().cpu(), torch.full((n,), torch.nan)
        found = Inversion(start, noises, rest, pictures, self.setting(), labels, unknown, joined(of_codec))
        return found.measured(self.run(found)) if reconstruct else found

    def as_latents(self, latents: Latents | Iterable[int]) -> Latents:
        """Latents as they are, seeds as the latents they stand for."""
        return latents if isinstance(latents, Latents) else self.latents(latents)

    def check(self, latents: Latents) -> None:
        """Whether latents belong to this grid; those of seeds do to any.

        Raises:
            HspaceError: An inversion on another grid or with another model.
        """
        if isinstance(latents, Inversion | Chosen):
            latents.check(self.setting())

    def _bind(self, edit: Intervention | Sequence[Intervention | None] | None, n: int) -> tuple[Injection, list[Bound]]:
        """How shifts go in, and what every row's edit does; each distinct edit is bound once."""
        edits = list(edit) if isinstance(edit, Sequence) else [edit] * n
        if len(edits) != n:
            raise HspaceError(f"{len(edits)} edits for {n} samples: give one edit, or one for each")
        distinct = {id(e): e for e in edits if e is not None}
        modes: set[Injection] = {e.injection for e in distinct.values() if e.injection is not None}
        if len(modes) > 1:
            raise HspaceError("symmetric and asymmetric edits can't share a run")
        injection: Injection = modes.pop() if modes else "symmetric"
        setting, device = self.setting(injection), self.model.device
        bound = {key: Bound(e.bind(setting, device), e.bind_start(setting, device)) for key, e in distinct.items()}
        return injection, [bound.get(id(e), Bound()) for e in edits]


def _automatic_batch_size(model: Denoiser, ceiling: int) -> int:
    """As many pictures as 32 of 64 x 64 have pixels: on a CPU more brings nothing, and memory stays small.

    Of guided models each picture is two rows; of latent ones x_t counts, for the codec has batches of its own.
    """
    pixels = model.image_shape[-1] * model.image_shape[-2] * (1 if model.condition is None else len(model.branches))
    return max(1, min(ceiling, 32 * 64 * 64 // pixels))
