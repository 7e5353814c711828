r"""Joint training of shift control module, reconstructor and discriminator (after Zhang et al., arXiv 2310.09912).

An iteration takes samples x_0 of the population (pictures, or the latents of a latent model), types k and strengths s,
and makes x_0' by the whole sampler with h shifted at every step. With CE the cross entropy of the type and D the
discriminator's logits,

    module and reconstructor:  CE(k^, k) + w_s mean |s^ - s| + w_a mean softplus(-D(x_0'))
    discriminator:             softplus(D(x_0')) + softplus(-D(x)) + R1

the first goes back through the sampler in the memory of one step (`hspace.diffusion.backprop`). Ours, turned off by 0:
the reconstructor sees pictures with noise, so that a shift must change the picture visibly and not by a code hidden in
it; and it is trained further on pairs of the last iterations, which cost no sampling.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hspace.diffusion import ChangeOfH, Injection, RunChange, Sampler, backpropagate
from hspace.diffusion.latents import SeedLatents
from hspace.errors import HspaceError
from hspace.jobs import world
from hspace.jobs.uninterrupted import uninterrupted
from hspace.learning.discriminator import Discriminator, discriminator_loss, realism_losses
from hspace.learning.draw import Draw, draw
from hspace.learning.population import Population
from hspace.learning.reconstructor import Reconstructor, reconstruction_losses
from hspace.learning.shift import Shift
from hspace.learning.state import read_state, write_state
from hspace.progress import Advance

__all__ = ["FIELDS", "Options", "Stopped", "Trainer"]

FIELDS = ("iteration", "loss", "cross_entropy", "strength_error", "realism", "discriminator", "accuracy", "seconds")
"""Of a line of the log; accuracy is that of the batch, before the reconstructor has learned from it."""

Stopped = Literal["iterations", "patience", "minutes", "interrupted"]

_SMOOTH = 0.95  # of the running means that are shown and that patience looks at


@dataclass(frozen=True)
class Options:
    """Numbers of a training; `hspace.Learned` says what they mean."""

    iterations: int = 2000
    batch_size: int = 32
    max_strength: float = 6.0
    min_strength: float = 0.5
    strength_weight: float = 0.25
    adversarial_weight: float = 0.1
    r1_weight: float = 1.0
    shift_rate: float = 1e-2
    reconstructor_rate: float = 3e-4
    discriminator_rate: float = 1e-4
    noise: float = 0.1
    replays: int = 3
    replay_size: int = 512
    replay_batch_size: int = 32
    ema: float = 0.98
    warmup: int = 0
    patience: int | None = None
    segment: int = 1
    seed: int = 0
    injection: Injection = "symmetric"

    def __post_init__(self) -> None:
        for name in ("iterations", "batch_size", "segment", "replay_batch_size"):
            if getattr(self, name) < 1:
                raise HspaceError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("strength_weight", "adversarial_weight", "r1_weight", "noise", "replays", "warmup", "seed"):
            if not getattr(self, name) >= 0:
                raise HspaceError(f"{name} must not be negative, but is {getattr(self, name)}")
        for name in ("shift_rate", "reconstructor_rate", "discriminator_rate"):
            if not getattr(self, name) > 0:
                raise HspaceError(f"{name} must be positive, not {getattr(self, name)}")
        if not 0 <= self.min_strength <= self.max_strength or self.max_strength == 0:
            raise HspaceError(f"strengths must be 0 <= min <= max, not {self.min_strength} and {self.max_strength}")
        if not 0 <= self.ema < 1:
            raise HspaceError(f"ema must be in [0, 1), not {self.ema}")
        if self.replays and self.replay_size < self.batch_size:
            raise HspaceError(f"replay_size must be at least the batch of {self.batch_size}, not {self.replay_size}")
        if self.patience is not None and self.patience < 1:
            raise HspaceError(f"patience must be at least 1, not {self.patience}")


class Trainer:
    """Networks, optimizers and where they stand.

    Args:
        sampler: Draws shifted samples.
        population: Samples that are shifted.
        shift: The module that is trained; a fixed one is left as it is, and nothing goes back through the sampler.
        reconstructor: Network.
        discriminator: Network; None without an adversarial loss.
        real: (m, c, y, x) x_0 of real pictures for it; default: the population.
        options: Numbers.
        about: What else makes a training this one and no other, for its state; plain JSON types.
    """

    def __init__(
        self,
        sampler: Sampler,
        population: Population,
        shift: Shift,
        reconstructor: Reconstructor,
        discriminator: Discriminator | None,
        real: Tensor | None,
        options: Options,
        about: dict[str, Any],
    ) -> None:
        self.sampler, self.population, self.options = sampler, population, options
        self.world = world(sampler.model.device)
        self._in_step = True
        self.real = population.images if real is None else real
        self.latents = sampler.latents(population.seeds)
        self.shift, self.reconstructor, self.discriminator = shift, reconstructor, discriminator
        self.trained = [p for p in shift.parameters() if p.requires_grad]
        o = options
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "adam_reconstructor": torch.optim.Adam(reconstructor.parameters(), o.reconstructor_rate)
        }
        if self.trained:
            self.optimizers["adam_shift"] = torch.optim.Adam(self.trained, o.shift_rate)
        if discriminator is not None:
            rate = torch.optim.Adam(discriminator.parameters(), o.discriminator_rate, betas=(0.0, 0.99))
            self.optimizers["adam_discriminator"] = rate
        self.averages = {name: p.detach().clone() for name, p in shift.named_parameters()}
        size = o.replay_size if o.replays else 1
        self.replay = {
            "images": torch.zeros(size, *population.images.shape[1:]),
            "rows": torch.zeros(size, dtype=torch.int64),
            "kinds": torch.zeros(size, dtype=torch.int64),
            "strengths": torch.zeros(size),
        }
        self.iteration, self.best, self.best_iteration = 0, float("inf"), 0
        self.running: dict[str, float] = {}
        self._same = {"options": {k: v for k, v in asdict(o).items() if k not in ("iterations", "patience")}, **about}

    def run(
        self,
        *,
        minutes: float | None = None,
        on_line: Callable[[dict[str, float]], None] | None = None,
        on_iteration: Callable[[], None] | None = None,
        advance: Advance | None = None,
    ) -> Stopped:
        """Iterate until it is enough; Ctrl-C ends it after the last whole iteration.

        Args:
            minutes: Of this call at most.
            on_line: Takes a line of the log.
            on_iteration: Called after every iteration, when all networks are in step.
            advance: For progress.

        Raises:
            HspaceError: A loss or a gradient is NaN or infinite: the networks are those of the last good iteration.
        """
        began = time.monotonic()
        try:
            if self.iteration == 0:
                self._scale()
            while self.iteration < self.options.iterations:
                if self._is_stuck():  # also where a training is resumed that was
                    return "patience"
                started = time.monotonic()
                drawn, shifted, line = self._gradients()
                with uninterrupted():  # with its line, or the log would miss an iteration
                    self._in_step = False
                    line = self._update(drawn, shifted, line)
                    self._in_step = True
                    line["seconds"] = round(time.monotonic() - started, 3)
                    if on_line is not None:
                        on_line(line)
                if advance is not None:
                    advance(1, f"loss {self.running['loss']:.2f} accuracy {self.running['accuracy']:.2f}")
                if on_iteration is not None:
                    on_iteration()
                if minutes is not None and self._agreed(time.monotonic() - began > 60 * minutes):
                    return "minutes"
        except KeyboardInterrupt:
            return "interrupted"
        return "iterations"

    def _drawn(self) -> Draw:
        """What the next iteration draws."""
        o = self.options
        return draw(
            o.seed,
            self.iteration,
            o.batch_size,
            population=len(self.population.seeds),
            n=self.shift.n,
            min_strength=o.min_strength,
            max_strength=o.max_strength,
        )

    @torch.no_grad()
    def _scale(self) -> None:
        """Of what the reconstructor sees, from the pairs of the first iteration."""
        drawn, device = self._drawn(), self.sampler.model.device
        mine = self._mine(len(drawn.rows))
        change = self._change(drawn.kinds[mine].to(device), drawn.strengths[mine].to(device))
        latents = self.latents[drawn.rows[mine].tolist()]
        shifted = self.population.images[:0]
        if len(latents):
            shifted = self.sampler.run(latents, RunChange(change, self.options.injection), pictures=False).float()
        self.reconstructor.scale_to(self.population.images[drawn.rows], self._of_all(shifted, len(drawn.rows)))

    def _gradients(self) -> tuple[Draw, Tensor, dict[str, float]]:
        """Of all networks, in place and finite; shifted samples and the losses."""
        o, device = self.options, self.sampler.model.device
        drawn = self._drawn()
        mine = self._mine(o.batch_size)
        kinds, strengths = drawn.kinds[mine].to(device), drawn.strengths[mine].to(device)
        plain = self.population.images[drawn.rows[mine]].to(device)
        noise = [x[mine].to(device) for x in self._noise(drawn.generator, o.batch_size)]
        sums = dict.fromkeys(("cross_entropy", "strength_error", "realism", "accuracy"), 0.0)

        def loss(x_0: Tensor, where: slice) -> Tensor:
            x_0 = x_0.float()
            answer = self.reconstructor(plain[where] + noise[0][where], x_0 + noise[1][where])
            entropy, error = reconstruction_losses(answer, kinds[where], strengths[where])
            total = entropy + o.strength_weight * error
            if self.discriminator is not None:
                realism = realism_losses(self.discriminator, x_0)
                total = total + o.adversarial_weight * realism
                sums["realism"] += float(realism.detach().sum())
            sums["cross_entropy"] += float(entropy.detach().sum())
            sums["strength_error"] += float(error.detach().sum())
            sums["accuracy"] += float((answer.kinds.argmax(1) == kinds[where]).sum())
            return total.sum() / o.batch_size

        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        shifted = self.population.images[:0].to(device)
        if len(plain):
            shifted = self._shifted(self.latents[drawn.rows[mine].tolist()], kinds, strengths, loss)
        self._sum_gradients([*self.reconstructor.parameters(), *(self.trained if self._goes_back else ())])
        totals = torch.tensor(list(sums.values()), dtype=torch.float64)
        self.world.sum_([totals])
        shifted = self._of_all(shifted, o.batch_size)
        line = {name: value / o.batch_size for name, value in zip(sums, totals.tolist(), strict=True)}
        line["loss"] = line["cross_entropy"] + o.strength_weight * line["strength_error"]
        line["loss"] += o.adversarial_weight * line["realism"]
        self._check(line["loss"], self.reconstructor)
        self._check(line["loss"], self.shift)
        if self.discriminator is not None:
            self.discriminator.zero_grad()  # it does not help the module
            chosen = torch.randint(len(self.real), (o.batch_size,), generator=drawn.generator)
            total = torch.zeros(1, dtype=torch.float64)
            if len(chosen[mine]):
                real = self.real[chosen[mine]].to(shifted)
                d_loss = discriminator_loss(self.discriminator, real, shifted[mine], o.r1_weight)
                d_loss = d_loss * (len(real) / o.batch_size)
                d_loss.backward()
                total += d_loss.detach().cpu()
            self._sum_gradients(list(self.discriminator.parameters()))
            self.world.sum_([total])
            line["discriminator"] = float(total)
            self._check(line["discriminator"], self.discriminator)
        return drawn, shifted, line

    def _update(self, drawn: Draw, shifted: Tensor, line: dict[str, float]) -> dict[str, float]:
        """All that changes the state; gradients are in place and finite."""
        o = self.options
        for optimizer in self.optimizers.values():
            optimizer.step()
        if o.replays:
            self._keep(drawn, shifted)
            for _ in range(o.replays):
                self._replay(drawn.generator)
        self.iteration += 1
        decay = min(o.ema, self.iteration / (self.iteration + 9))
        with torch.no_grad():
            for name, p in self.shift.named_parameters():
                self.averages[name].lerp_(p, 1 - decay)
        return self._told(line)

    def _change(self, kinds: Tensor, strengths: Tensor) -> ChangeOfH:
        def change(timestep: int, h: Tensor, where: slice) -> Tensor:
            changed: Tensor = self.shift(timestep, h, kinds[where], strengths[where])
            return changed

        return change

    @property
    def _goes_back(self) -> bool:
        """Whether the module learns in this iteration, through the sampler."""
        return bool(self.trained) and self.iteration >= self.options.warmup

    def _mine(self, n: int) -> slice:
        """Of n rows of an iteration those of this process."""
        share = self.world.share(n)
        return slice(share.start, share.stop)

    def _of_all(self, mine: Tensor, n: int) -> Tensor:
        """The rows of all processes, in order."""
        if self.world.size == 1:
            return mine
        found = mine.new_zeros(n, *mine.shape[1:])
        found[self._mine(n)] = mine
        self.world.sum_([found])
        return found

    def _sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Over the processes, each of which has those of its rows."""
        if self.world.size == 1:
            return
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        self.world.sum_([p.grad for p in parameters if p.grad is not None])

    def _agreed(self, here: bool) -> bool:
        """What process 0 finds: clocks differ."""
        found = torch.tensor([float(here and self.world.first)])
        self.world.sum_([found])
        return bool(found)

    def _shifted(
        self, latents: SeedLatents, kinds: Tensor, strengths: Tensor, loss: Callable[[Tensor, slice], Tensor]
    ) -> Tensor:
        """Shifted samples; gradients are in place."""
        change, o = self._change(kinds, strengths), self.options
        if self._goes_back:
            found = backpropagate(self.sampler, latents, change, loss, injection=o.injection, segment=o.segment)
            return found.x_0.float().to(kinds.device)
        parts = []
        for where, x_0 in self.sampler.stream(latents, RunChange(change, o.injection), pictures=False):
            loss(x_0, where).backward()
            parts.append(x_0.float())
        return torch.cat(parts)

    def _noise(self, generator: torch.Generator, n: int) -> list[Tensor]:
        """For both pictures of a pair; its level is uniform up to the option's."""
        shape = (n, *self.population.images.shape[1:])
        level = self.options.noise * torch.rand(n, 1, 1, 1, generator=generator)
        return [level * torch.randn(shape, generator=generator) for _ in range(2)]

    def _keep(self, drawn: Draw, shifted: Tensor) -> None:
        size = len(self.replay["rows"])
        where = (self.iteration * len(shifted) + torch.arange(len(shifted))) % size
        new = {"images": shifted.cpu(), "rows": drawn.rows, "kinds": drawn.kinds, "strengths": drawn.strengths}
        for name, value in new.items():
            self.replay[name][where] = value.to(self.replay[name].dtype)

    def _replay(self, generator: torch.Generator) -> None:
        """The reconstructor alone, on pairs of the last iterations."""
        o, device = self.options, self.sampler.model.device
        there = min((self.iteration + 1) * o.batch_size, len(self.replay["rows"]))
        chosen = torch.randint(there, (o.replay_batch_size,), generator=generator)
        mine = self._mine(o.replay_batch_size)
        chosen = chosen[mine]
        plain = self.population.images[self.replay["rows"][chosen]]
        first, second = (x[mine] for x in self._noise(generator, o.replay_batch_size))
        pair = (plain + first).to(device), (self.replay["images"][chosen] + second).to(device)
        kinds, strengths = (self.replay[name][chosen].to(device) for name in ("kinds", "strengths"))
        optimizer = self.optimizers["adam_reconstructor"]
        optimizer.zero_grad()
        total = torch.zeros(1, dtype=torch.float64)
        if len(chosen):
            entropy, error = reconstruction_losses(self.reconstructor(*pair), kinds, strengths)
            loss = (entropy + o.strength_weight * error).mean() * (len(chosen) / o.replay_batch_size)
            loss.backward()
            total += loss.detach().cpu()
        self._sum_gradients(list(self.reconstructor.parameters()))
        self.world.sum_([total])
        if _finite(float(total), self.reconstructor):  # else the next iteration meets it, and stops
            optimizer.step()

    def _check(self, loss: float, network: nn.Module) -> None:
        if not _finite(loss, network):
            raise HspaceError(
                f"training stopped: loss {loss:g} or its gradient is not finite at iteration "
                f"{self.iteration + 1}; iteration {self.iteration} was the last good one"
            )

    def _told(self, line: dict[str, float]) -> dict[str, float]:
        for name in ("loss", "accuracy", "cross_entropy", "strength_error"):
            self.running[name] = _SMOOTH * self.running.get(name, line[name]) + (1 - _SMOOTH) * line[name]
        # Without realism: a discriminator that gets better would look like a module that gets worse.
        told = self.running["cross_entropy"] + self.options.strength_weight * self.running["strength_error"]
        if told < self.best:
            self.best, self.best_iteration = told, self.iteration
        rounded = {name: round(line.get(name, 0.0), 6) for name in FIELDS[1:-1]}
        return {"iteration": self.iteration, **rounded}

    def _is_stuck(self) -> bool:
        """No new best of what the reconstructor tells, in the running mean, for long."""
        patience = self.options.patience
        return patience is not None and self.iteration - self.best_iteration >= patience

    def _parts(self) -> tuple[dict[str, nn.Module], dict[str, torch.optim.Optimizer], dict[str, dict[str, Tensor]]]:
        modules: dict[str, nn.Module] = {"shift": self.shift, "reconstructor": self.reconstructor}
        if self.discriminator is not None:
            modules["discriminator"] = self.discriminator
        return modules, self.optimizers, {"ema": self.averages, "replay": self.replay}

    def save(self, path: Path) -> None:
        """Where it stands; process 0 writes. Nothing, where an update has failed halfway: what is there stays.

        Raises:
            HspaceError: It can't be written.
        """
        if not (self.world.first and self._in_step):
            return
        counts = {"iteration": self.iteration, "best_iteration": self.best_iteration, "running": self.running}
        best = self.best if self.iteration else None  # JSON has no infinity
        write_state(path, {**self._same, **counts, "best": best}, *self._parts())

    def load(self, path: Path) -> None:
        """Go on from there; process 0 reads.

        Raises:
            HspaceError: Not such a file, or one of another training.
        """
        header = read_state(path, self._same, *self._parts(), self.world)
        self.iteration, self.best_iteration = int(header["iteration"]), int(header["best_iteration"])
        self.best = float("inf") if header["best"] is None else float(header["best"])
        self.running = dict(header["running"])

    def averaged(self) -> Iterator[tuple[str, Tensor]]:
        """The module's parameters, averaged over the last iterations."""
        yield from self.averages.items()


def _finite(loss: float, network: nn.Module) -> bool:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    if not gradients or not math.isfinite(loss):
        return math.isfinite(loss)
    return bool(torch.stack([gradient.isfinite().all() for gradient in gradients]).all())  # a GPU is waited for once
