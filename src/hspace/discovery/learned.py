r"""Learned directions (after Zhang et al., arXiv 2310.09912): what a network can tell apart in the pictures.

A shift control module moves h, a reconstructor has to tell from the picture before and after which of K directions it
was and how far, a discriminator keeps the pictures realistic; the module learns through the whole sampler, and the
diffusion model is frozen. `hspace.learning` has the networks and the training.

The paper is known by its abstract: the losses are those of its parent technique (Voynov and Babenko, arXiv 2002.03754),
all numbers and the following are ours: directions lie in the span of leading components of h, strengths are in the
common unit, the reconstructor sees noise and replays, directions that do the same are merged.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.diffusion import Injection, RunChange, Sampler, Setting
from hspace.diffusion.latents import as_seeds
from hspace.directions import Direction, Directions
from hspace.discovery.exported import in_unit, span_of, vectors_of
from hspace.discovery.pca import PCA
from hspace.discovery.ranges import ranges
from hspace.errors import HspaceError
from hspace.jobs import Checkpoint, Job, State, Table, world
from hspace.jobs.job import digest
from hspace.learning import (
    FIELDS,
    Discriminator,
    Log,
    Options,
    Population,
    Reconstructor,
    ShiftNetwork,
    Stopped,
    Trainer,
)
from hspace.learning.draw import draw
from hspace.learning.duplicates import same, signs
from hspace.learning.hidden import DEGRADATIONS, fresh_accuracy
from hspace.learning.pairs import Pairs, Told, told
from hspace.learning.reconstructor import ReconstructorSize, check_size
from hspace.learning.shift import GlobalShift, Kind, Parametrisation, Shift, check_shift, make_shift
from hspace.progress import Progress, reporting
from hspace.version import __version__

__all__ = ["Learned"]

_STATE, _POPULATION = "state.safetensors", "population.safetensors"
_ENDS = 3.0  # strengths between which the effect on the picture is measured
_EFFECT_SEEDS = 8
_OF_NETWORKS = ("n_directions", "kind", "parametrisation", "span", "reconstructor")  # parameters beside Options


class Learned:
    """Directions that a network learns to tell apart.

    Args:
        n_directions: K.
        kind: "global", a vector for each direction and timestep; or "block", a small network of h for each.
        parametrisation: "ortho" (directions of a timestep are orthonormal in whitened h), "linear", or "fixed" (random,
            the control: only the reconstructor learns). A block is trained, or "fixed".
        span: Number of leading components of h that directions are made of; None: all of h.
        reconstructor: "resnet18" or "lenet" in size.
        iterations: Of the training.
        batch_size: Samples in one; more than the sampler's go through it in parts, their gradients add up.
        max_strength: Strengths are max_strength U(-1, 1), in standard deviations of h ...
        min_strength: ... and at least this in magnitude.
        strength_weight: Of the strength's absolute error against the type's cross entropy.
        adversarial_weight: Of the discriminator; 0: none.
        r1_weight: Of the penalty on its gradient at real pictures.
        shift_rate: Adam's rate for the module,
        reconstructor_rate: for the reconstructor,
        discriminator_rate: and for the discriminator.
        noise: Largest standard deviation of the noise on what the reconstructor sees: pictures in [-1, 1], or the
            latents of a latent model.
        replays: Steps of the reconstructor alone after each iteration, on pairs of the last ones.
        replay_size: Number of those pairs,
        replay_batch_size: and of those in one step.
        ema: Decay of the moving average of the module, which is what counts in the end.
        warmup: First iterations, in which the module stays as it is and nothing goes back through the sampler.
        patience: Iterations without a new best of the reconstructor's running loss after which training stops.
        segment: Sampling steps in one graph: memory for time.
        checked: Fresh samples on which accuracy is measured in the end, types in turn: of 10 directions 200 samples
            give the accuracy of each to about 0.1.
        merge_above: Directions whose vectors, or whose mean changes of the picture, have a cosine above it are one.
        seed: Of all that is random but the samples.
        injection: How shifts go in, in training and afterwards.

    Attributes:
        directions_: The most accurate first; in their origin are `accuracy`, `effect` (root mean square change of a
            pixel from -3 to 3, pictures in [-1, 1]), `types` (those merged). Of a block the accuracy is that of the
            network, the effect that of the exported mean.
        told_: What the reconstructor tells of fresh samples with the averaged module.
        network_: The averaged module, to use or to save: a block does more than its mean, which `directions_` has.
        reconstructor_: The network.
        population_: Samples that were shifted, and the span of their h.
        history_: Lines of the log of this call.
        stopped_: Why it ended: iterations, patience, minutes, interrupted.

    Raises:
        HspaceError: Parameters out of range; a folder with another training; a loss that is not finite.

    Example:
        >>> import hspace
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2, eta=0.0)
        >>> options = {"span": 4, "iterations": 2, "batch_size": 4, "reconstructor": "lenet", "checked": 4}
        >>> learned = hspace.Learned(2, **options).fit(sampler, seeds=range(8))
        >>> len(learned.directions_), learned.stopped_
        (2, 'iterations')
    """

    def __init__(
        self,
        n_directions: int = 10,
        *,
        kind: Kind = "global",
        parametrisation: Parametrisation = "ortho",
        span: int | None = 64,
        reconstructor: ReconstructorSize = "resnet18",
        iterations: int = Options.iterations,
        batch_size: int = Options.batch_size,
        max_strength: float = Options.max_strength,
        min_strength: float = Options.min_strength,
        strength_weight: float = Options.strength_weight,
        adversarial_weight: float = Options.adversarial_weight,
        r1_weight: float = Options.r1_weight,
        shift_rate: float = Options.shift_rate,
        reconstructor_rate: float = Options.reconstructor_rate,
        discriminator_rate: float = Options.discriminator_rate,
        noise: float = Options.noise,
        replays: int = Options.replays,
        replay_size: int = Options.replay_size,
        replay_batch_size: int = Options.replay_batch_size,
        ema: float = Options.ema,
        warmup: int = Options.warmup,
        patience: int | None = None,
        segment: int = 1,
        checked: int = 200,
        merge_above: float = 0.9,
        seed: int = 0,
        injection: Injection = "symmetric",
    ) -> None:
        self.n_directions = n_directions
        self.kind: Kind = kind
        self.parametrisation: Parametrisation = parametrisation
        self.span = span
        self.reconstructor: ReconstructorSize = reconstructor
        self.iterations = iterations
        self.batch_size = batch_size
        self.max_strength = max_strength
        self.min_strength = min_strength
        self.strength_weight = strength_weight
        self.adversarial_weight = adversarial_weight
        self.r1_weight = r1_weight
        self.shift_rate = shift_rate
        self.reconstructor_rate = reconstructor_rate
        self.discriminator_rate = discriminator_rate
        self.noise = noise
        self.replays = replays
        self.replay_size = replay_size
        self.replay_batch_size = replay_batch_size
        self.ema = ema
        self.warmup = warmup
        self.patience = patience
        self.segment = segment
        self.checked = checked
        self.merge_above = merge_above
        self.seed = seed
        self.injection: Injection = injection

    def fit(
        self,
        sampler: Sampler,
        seeds: Iterable[int],
        *,
        real: Float[Tensor, "m k h w"] | None = None,
        folder: str | PathLike[str] | None = None,
        resume: bool = False,
        minutes: float | None = None,
        save_every: float = 60.0,
        on_save: Callable[[Learned], None] | None = None,
        progress: Progress = False,
    ) -> Learned:
        """Draw the population, train, and turn the module into directions.

        Reconstructor and discriminator see x_0: of a latent model the latents, so that nothing is decoded in training.

        Args:
            sampler: Draws samples; few steps are enough to learn with, and directions can be retimed.
            seeds: Of the samples that are shifted; more than the span has components.
            real: Real pictures in [-1, 1] for the discriminator, of the model's `picture_shape`; a latent model encodes
                them. Default: the unshifted samples.
            folder: For the state of the training and its log; without one nothing is written.
            resume: Go on where the training in the folder stands.
            minutes: Stop training after so many in this call.
            save_every: Seconds from one state on disk to the next.
            on_save: Called when a state was saved, with the estimator; `directions_now()` has the directions so far.
            progress: True for bars, or a function of (done, total) image-steps, then iterations.

        Raises:
            KeyboardInterrupt: After Ctrl-C, when the state of the last whole iteration is in the folder; `finish()`
                turns it into directions.
        """
        seeds = as_seeds(seeds)
        options = self._options()
        where = None if folder is None else Path(folder)
        self._check(sampler, seeds, real)
        self._world = world(sampler.model.device)
        if self._world.first:
            _check_folder(where, resume)
        self._sampler, self._seeds = sampler, seeds
        self.setting_: Setting = sampler.setting(self.injection)
        self.population_ = self._population(sampler, seeds, where, save_every, progress)
        self._trainer = self._make_trainer(sampler, real, options)
        self.history_: list[dict[str, float]] = []
        if where is not None and resume:
            begun = self._world.broadcast(
                State({"there": (where / _STATE).exists()}, {}) if self._world.first else None
            )
            if begun.data["there"]:
                self._trainer.load(where / _STATE)
        self.stopped_ = self._train(where, minutes, save_every, on_save, progress)
        if self.stopped_ == "interrupted":
            self._world.fail("interrupted")
            kept = "nothing was written" if where is None else f"its state is in {where}"
            raise KeyboardInterrupt(f"interrupted after iteration {self._trainer.iteration}; {kept}")
        return self.finish(progress=progress)

    def finish(self, *, progress: Progress = False) -> Learned:
        """Ask the reconstructor about fresh samples, rank, merge; `fit` ends with it."""
        self.reconstructor_ = self._trainer.reconstructor
        self.network_ = ShiftNetwork(self._averaged(), self.setting_)
        fresh = self.fresh_seeds(self.checked)
        pairs = self.pairs(fresh, progress=progress)
        self.told_ = self.tell(pairs)
        vectors = self._vectors(self.network_.shift)
        effect, change = self._effects(self.fresh_seeds(_EFFECT_SEEDS))
        self.directions_ = self._ranked(vectors, effect, change)
        return self

    def directions_now(self) -> Directions:
        """Where training stands: the averaged module as directions, without ranking and merging."""
        vectors = self._vectors(self._averaged())
        return self._directions([(v, f"learned{k}", {}) for k, v in enumerate(vectors)])

    def change(self, kinds: Sequence[int] | Tensor, strengths: Sequence[float] | Tensor) -> RunChange:
        """What the module itself does with a run, for `sampler.run(seeds, edit=...)`: a block depends on h.

        Args:
            kinds: (n,) type of shift of each row.
            strengths: (n,).
        """
        return self.network_.change(self._sampler, kinds, strengths)

    def pairs(self, seeds: Iterable[int], *, progress: Progress = False) -> Pairs:
        """Fresh samples and their shifted versions, types in turn and strengths as in training.

        Args:
            seeds: None of those trained on.
            progress: True for bars, or a function of (done, total) image-steps.
        """
        seeds = as_seeds(seeds)
        o = self._options()
        drawn = draw(
            o.seed,
            2**31,  # no iteration of a training
            len(seeds),
            population=len(seeds),
            n=self.n_directions,
            min_strength=o.min_strength,
            max_strength=o.max_strength,
        )
        kinds = torch.arange(len(seeds)) % self.n_directions
        change = self.change(kinds, drawn.strengths)
        plain = self._sampler.run(seeds, pictures=False, progress=progress).float()
        shifted = self._sampler.run(seeds, change, pictures=False, progress=progress).float()
        return Pairs(plain, shifted, kinds, drawn.strengths)

    def tell(self, pairs: Pairs) -> Told:
        """What the reconstructor tells of pairs."""
        return told(self.reconstructor_, pairs, self.n_directions, self._sampler.model.device)

    def hidden_codes(
        self,
        pairs: Pairs | int = 600,
        *,
        epochs: int = 20,
        ways: Sequence[str] = DEGRADATIONS,
        progress: Progress = False,
    ) -> dict[str, float]:
        """Accuracy of fresh reconstructors on degraded pictures; see `hspace.learning.hidden`.

        High without and low with degradation: the module hides a code. Latents are decoded first, so that all pictures
        of the pairs are in memory, and codes that the decoder does not show do not count.

        Args:
            pairs: Fresh ones, as `pairs` makes them, or how many to draw; a quarter of them is held out.
            epochs: Passes over the others.
            ways: Of degrading.
            progress: Of drawing the pairs.

        Raises:
            HspaceError: Too few pairs; an unknown degradation.
        """
        if isinstance(pairs, int):
            pairs = self.pairs(self.fresh_seeds(pairs, skip=self.checked), progress=progress)
        model = self._sampler.model
        options: dict[str, Any] = {"epochs": epochs, "seed": self.seed, "device": model.device}
        pairs = replace(pairs, plain=model.to_pictures(pairs.plain), shifted=model.to_pictures(pairs.shifted))
        return {how: fresh_accuracy(pairs, how, self.n_directions, self.reconstructor, **options) for how in ways}

    @property
    def iteration_(self) -> int:
        """Number of iterations so far."""
        return self._trainer.iteration

    def fresh_seeds(self, n: int, skip: int = 0) -> range:
        """Seeds behind those trained on.

        Args:
            n: How many.
            skip: Leave out so many first.
        """
        first = max(self._seeds) + 1 + skip
        return range(first, first + n)

    def _options(self) -> Options:
        return Options(**{name: getattr(self, name) for name in Options.__dataclass_fields__})

    def _check(self, sampler: Sampler, seeds: tuple[int, ...], real: Tensor | None) -> None:
        if self.span is not None and self.span < 1:
            raise HspaceError(f"span must be at least 1, not {self.span}")
        if self.span is not None and len(seeds) <= self.span:
            raise HspaceError(f"a span of {self.span} components needs more samples than that, not {len(seeds)}")
        h_shape = sampler.model.h_shape
        room = math.prod(h_shape)
        if self.span is not None and self.span > room:
            raise HspaceError(f"h has {room} numbers, too few for a span of {self.span} components")
        check_shift(self.kind, self.parametrisation, self.span or room, self.n_directions, h_shape)
        check_size(self.reconstructor)
        if self.checked < self.n_directions:
            raise HspaceError(
                f"checked must be at least {self.n_directions}, a sample of each direction, not {self.checked}"
            )
        if not 0 < self.merge_above <= 1:
            raise HspaceError(f"merge_above must be in (0, 1], not {self.merge_above}")
        shape = sampler.model.picture_shape
        if real is not None and (tuple(real.shape[1:]) != tuple(shape) or not len(real)):
            raise HspaceError(f"real pictures must be of shape (m, *{tuple(shape)}), not {tuple(real.shape)}")

    def _about(self, real: Tensor | None) -> dict[str, Any]:
        """What makes a training this one and no other."""
        return {
            "parameters": {name: getattr(self, name) for name in _OF_NETWORKS},
            "setting": _plain(self.setting_.to_json()),
            "seeds": ranges(self._seeds),
            "real": None if real is None else hashlib.sha256(real.float().cpu().numpy().tobytes()).hexdigest()[:16],
        }

    def _population(
        self, sampler: Sampler, seeds: tuple[int, ...], folder: Path | None, save_every: float, progress: Progress
    ) -> Population:
        """From the folder, where process 0 has it; else drawn, which is resumed wherever it was interrupted."""
        about = {"span": self.span, "setting": _plain(self.setting_.to_json())}
        file = None if folder is None else folder / _POPULATION
        found: State | None = None
        if self._world.first:
            there = file is not None and file.exists()
            tensors = Population.load(file, seeds, about).tensors() if file is not None and there else {}
            found = State({"there": there}, tensors)
        found = self._world.broadcast(found)
        if found.data["there"]:
            return Population.of(seeds, found.tensors)
        pca, samples = PCA(self.span or 1), Table()
        with ExitStack() as stack:
            checkpoint = None
            if folder is not None:
                path = folder / "population.partial.safetensors"
                checkpoint = stack.enter_context(Checkpoint(path, every=save_every, resume=True))
            job = Job({"job": "population", **about, "seeds": digest(seeds)}, checkpoint, device=sampler.model.device)
            pca.fit_in(job, sampler, seeds, samples=samples, progress=progress)
            population = Population(seeds, samples["x_0"], span_of(pca, whole=self.span is None))
            if file is not None and self._world.first:
                population.save(file, about)
        return population

    def _make_shift(self, sampler: Sampler) -> Shift:
        span, timesteps = self.population_.span.to(sampler.model.device), sampler.timesteps
        shift = make_shift(
            self.kind, self.parametrisation, span, timesteps, self.n_directions, sampler.model.h_shape, seed=self.seed
        )
        return shift.to(sampler.model.device)

    def _make_trainer(self, sampler: Sampler, real: Tensor | None, options: Options) -> Trainer:
        channels, side = sampler.model.image_shape[0], min(sampler.model.image_shape[1:])
        device = sampler.model.device
        about = self._about(real)  # by its pictures
        real = None if real is None else sampler.model.from_pictures(real.float())
        told = Reconstructor(channels, self.n_directions, self.reconstructor, side, seed=self.seed + 1).to(device)
        judge = Discriminator(channels, side, seed=self.seed + 2).to(device) if self.adversarial_weight else None
        return Trainer(sampler, self.population_, self._make_shift(sampler), told, judge, real, options, about)

    def _train(
        self,
        folder: Path | None,
        minutes: float | None,
        save_every: float,
        on_save: Callable[[Learned], None] | None,
        progress: Progress,
    ) -> Stopped:
        trainer, saved = self._trainer, time.monotonic()

        first = self._world.first

        def save() -> None:
            if folder is not None:
                trainer.save(folder / _STATE)
            if on_save is not None and first:
                on_save(self)

        def sometimes() -> None:
            nonlocal saved
            if time.monotonic() - saved >= save_every:
                save()
                saved = time.monotonic()

        try:
            with ExitStack() as stack:
                log = None
                if folder is not None and first:
                    log = stack.enter_context(Log(folder, FIELDS, keep=trainer.iteration))
                advance = stack.enter_context(reporting(progress if first else False, self.iterations, "learning"))

                def told_line(line: dict[str, float]) -> None:
                    self.history_.append(line)
                    if log is not None:
                        log.add(line)

                advance(trainer.iteration)
                stopped = trainer.run(minutes=minutes, on_line=told_line, on_iteration=sometimes, advance=advance)
        finally:  # after an error too: the networks are those of the last good iteration
            if folder is not None:
                trainer.save(folder / _STATE)
        if on_save is not None and first and stopped != "interrupted":
            on_save(self)
        return stopped

    def _averaged(self) -> Shift:
        shift = copy.deepcopy(self._trainer.shift).requires_grad_(False)
        with torch.no_grad():
            for name, value in self._trainer.averaged():
                shift.get_parameter(name).copy_(value)
        return shift

    def _vectors(self, shift: Shift) -> Float[Tensor, "k s d"]:
        return vectors_of(shift, self._sampler, self.population_.span, self._seeds, self.checked)

    def _effects(
        self, seeds: range, directions: Directions | None = None
    ) -> tuple[Float[Tensor, " k"], Float[Tensor, "k p"]]:
        """From one end to the other: change of a pixel (root mean square), and the mean change.

        Args:
            seeds: Fresh ones.
            directions: Of these. Default: of every type.
        """
        if directions is None:
            n = self.n_directions
            kinds = torch.arange(n).repeat_interleave(2 * len(seeds))
            strengths = torch.tensor([-_ENDS, _ENDS]).repeat_interleave(len(seeds)).repeat(n)
            edit: RunChange | list[Direction] = self.change(kinds, strengths)
        else:
            n = len(directions)
            ends = [end * item for item in directions for end in (-_ENDS, _ENDS)]
            edit = [end for end in ends for _ in seeds]
        images = self._sampler.run(list(seeds) * 2 * n, edit).float()
        low, high = images.reshape(n, 2, len(seeds), -1).unbind(1)
        return (high - low).square().mean((1, 2)).sqrt(), (high - low).mean(1)

    def _ranked(self, vectors: Tensor, effect: Tensor, change: Tensor) -> Directions:
        of_h = _cosines(vectors.flatten(1))
        of_pictures = _cosines(change)
        likeness = torch.where(of_h.abs() > of_pictures.abs(), of_h, of_pictures)
        confusion = self.told_.confusion
        found: list[tuple[Tensor, dict[str, Any]]] = []
        for group in same(likeness, self.merge_above):
            turned = torch.tensor(signs(likeness, group))[:, None, None]
            merged = vectors[group]
            if len(group) > 1:
                merged = (torch.nn.functional.normalize(merged, dim=2) * turned).sum(0, keepdim=True)
                merged = in_unit(merged, self._sampler, self.population_.span, self._seeds)
            moved = effect[group[0]]
            if len(group) > 1 or not isinstance(self.network_.shift, GlobalShift):  # no longer what the module does
                exported = self._directions([(merged[0], "exported", {})])
                moved = self._effects(self.fresh_seeds(_EFFECT_SEEDS), exported)[0][0]
            right, all_of_them = confusion[group][:, group].sum(), confusion[group].sum()
            about = {
                "types": group,
                "accuracy": round(float(right / all_of_them.clamp_min(1)), 4),
                "effect": round(float(moved), 4),
            }
            found.append((merged[0], about))
        found.sort(key=lambda item: (-item[1]["accuracy"], -item[1]["effect"]))
        return self._directions([(v, f"learned{i}", about) for i, (v, about) in enumerate(found)])

    def _directions(self, found: Sequence[tuple[Tensor, str, dict[str, Any]]]) -> Directions:
        parameters = {name: getattr(self, name) for name in _OF_NETWORKS}
        options = {name: getattr(self, name) for name in Options.__dataclass_fields__}
        origin = {
            "method": "learned",
            "parameters": {**parameters, **options, "checked": self.checked, "merge_above": self.merge_above},
            "seeds": ranges(self._seeds),
            "iteration": self._trainer.iteration,
            "version": __version__,
        }
        items = [
            Direction(v.reshape(-1, *self.setting_.h_shape), self.setting_, name, {**origin, **about})
            for v, name, about in found
        ]
        return Directions(items)


def _cosines(rows: Float[Tensor, "k d"]) -> Float[Tensor, "k k"]:
    units = torch.nn.functional.normalize(rows, dim=1)
    return (units @ units.T).clamp(-1, 1)


def _plain(data: Any) -> Any:
    """As it is after a way through JSON."""
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(value) for value in data] if isinstance(data, (list, tuple)) else data


def _check_folder(folder: Path | None, resume: bool) -> None:
    state = None if folder is None else folder / _STATE
    begun = folder is not None and any(folder.glob("population*"))  # or drawing what it is trained on was
    if resume and not begun and (state is None or not state.exists()):
        raise HspaceError(f"nothing to resume: there is no {_STATE} in {folder}")
    if not resume and state is not None and state.exists():
        raise HspaceError(f"{folder} holds a training already: resume it, or choose another folder")
