r"""A pretrained network as the rest of the package sees it: x_t and t in, eps and x_0 out, with h in reach.

With alpha_t = `alphas_cumprod[t]`, the three kinds of prediction give the same pair (Ho et al., arXiv 2006.11239;
for v Salimans & Ho, arXiv 2202.00512):

    epsilon:  x_0 = (x_t - sqrt(1 - alpha_t) eps) / sqrt(alpha_t)
    v:        x_0 = sqrt(alpha_t) x_t - sqrt(1 - alpha_t) v,    eps = sqrt(alpha_t) v + sqrt(1 - alpha_t) x_t
    sample:   eps = (x_t - sqrt(alpha_t) x_0) / sqrt(1 - alpha_t)
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Literal, NamedTuple, cast, get_args

import torch
from diffusers import UNet2DModel
from jaxtyping import Float
from torch import Tensor, nn

from hspace.device import put
from hspace.errors import HspaceError
from hspace.models.compiled import CompiledStages
from hspace.models.probing import probe
from hspace.models.replay import Recorded, Replay
from hspace.models.tap import Tap

__all__ = ["Denoiser", "Encoding", "Prediction", "PredictionType", "Spacing", "weight_hash"]

PredictionType = Literal["epsilon", "v_prediction", "sample"]
Spacing = Literal["leading", "trailing", "linspace"]


class Prediction(NamedTuple):
    """What a network says of x_t: the noise in it and the picture behind it, both of x_t's shape and dtype."""

    eps: Tensor
    x_0: Tensor


@dataclass(frozen=True)
class Encoding:
    """x_t seen from the tap: h, and what is needed to decode it (or any other h) again.

    `recorded` holds what modules before the tap returned; None where they can't be replayed, and a full pass decodes.
    """

    x_t: Tensor
    timestep: int
    h: Tensor
    recorded: Recorded | None


class Denoiser:
    """A denoising network with its schedule and a tap on h.

    This is also the adapter for a network of your own: any `nn.Module` that is called as `network(x_t, timesteps)`
    with x_t (n, c, h, w), timesteps (n,) int64, and returns a tensor, or an object with `.sample` as diffusers has it.
    Where it returns twice the channels (learned variance), the first half is the prediction.

    Args:
        network: The module. It is put in evaluation mode and its weights are frozen.
        alphas_cumprod: (T,) cumulative products of 1 - beta, as diffusers has them.
        image_shape: (c, h, w) of x_t.
        tap: Where h is, see `hspace.models.tap.Tap`.
        prediction_type: What the network returns.
        spacing: How sampling grids are laid over the training timesteps, as in diffusers' schedulers.
        steps_offset: Added to the grid with "leading" spacing, as in diffusers' schedulers.
        final_alpha: alpha behind the last step: 1, or `alphas_cumprod[0]`.
        start: Highest timestep of sampling grids; None for the schedule's own. A schedule whose last alpha is near 0
            needs a lower one when the network predicts eps.
        latent_scale: Pixels of the picture along one cell of x_t: 1 for a pixel model, 8 for most latent ones.
        model_id: Name remembered by directions that are found with the model.
        notes: What a user should know about how the model was loaded.

    Raises:
        HspaceError: No such tap; a schedule that increases or leaves (0, 1); an unknown prediction type or spacing.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from hspace import Denoiser
        >>> class Network(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.inner, self.outer = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)
        ...     def forward(self, x_t, timesteps):
        ...         return self.outer(self.inner(x_t))
        >>> model = Denoiser(Network(), torch.linspace(0.999, 0.01, 100), image_shape=(3, 8, 8), tap="inner")
        >>> model.h_shape
        (4, 8, 8)
        >>> prediction, h = model.observe(torch.zeros(2, 3, 8, 8), 50)
        >>> prediction.eps.shape, h.shape
        (torch.Size([2, 3, 8, 8]), torch.Size([2, 4, 8, 8]))
    """

    def __init__(
        self,
        network: nn.Module,
        alphas_cumprod: Float[Tensor, " t"],
        *,
        image_shape: Sequence[int],
        tap: str = "mid_block",
        prediction_type: PredictionType = "epsilon",
        spacing: Spacing = "leading",
        steps_offset: int = 0,
        final_alpha: float = 1.0,
        start: int | None = None,
        latent_scale: int = 1,
        model_id: str = "custom",
        notes: Sequence[str] = (),
    ) -> None:
        if prediction_type not in get_args(PredictionType):
            known = ", ".join(get_args(PredictionType))
            raise HspaceError(f"prediction_type must be one of {known}, not {prediction_type!r}")
        if spacing not in get_args(Spacing):
            raise HspaceError(f"spacing must be one of {', '.join(get_args(Spacing))}, not {spacing!r}")
        alphas = alphas_cumprod.detach().to("cpu", torch.float64)
        if not (len(alphas) and bool(((alphas > 0) & (alphas < 1)).all()) and bool((alphas.diff() <= 0).all())):
            raise HspaceError("alphas_cumprod must be numbers between 0 and 1 that never increase with the timestep")
        highest = float(alphas[0])
        if not highest <= final_alpha <= 1:
            raise HspaceError(f"final_alpha must be within alphas_cumprod[0] = {highest} and 1, not {final_alpha}")
        if latent_scale < 1:
            raise HspaceError(f"latent_scale must be at least 1, not {latent_scale}")
        self.network = network.eval().requires_grad_(False)
        self.alphas_cumprod = alphas
        self.image_shape = tuple(image_shape)
        self.tap = Tap(network, tap)
        self.prediction_type: PredictionType = prediction_type
        self.spacing: Spacing = spacing
        self.steps_offset = steps_offset
        self.final_alpha = final_alpha
        self.start = start
        self.latent_scale = latent_scale
        self.model_id = model_id
        self.notes = tuple(notes)
        self.weight_hash = weight_hash(network)
        self._compiled: CompiledStages | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        """In which the network computes."""
        return self._weight.dtype

    @property
    def state_dtype(self) -> torch.dtype:
        """In which x_t is kept between calls: float32, or float64 for a float64 network."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @property
    def is_compiled(self) -> bool:
        """Whether `compiled` made it."""
        return self._compiled is not None

    @cached_property
    def h_shape(self) -> tuple[int, ...]:
        """Shape of one sample's h."""
        with torch.no_grad():
            x_t = torch.zeros(1, *self.image_shape, device=self.device, dtype=self.state_dtype)
            return tuple(self._to_tap(x_t, 0).shape[1:])

    @cached_property
    def replay(self) -> Replay:
        """How `decode` works: what it replays, or why it runs the whole network, with `reason` in words.

        Found out with the first encoding, by a few passes of the network on random rows; see `hspace.models.probing`.
        """
        generator = torch.Generator().manual_seed(0)
        x_t = torch.randn(4, *self.image_shape, generator=generator, dtype=self.state_dtype)
        timestep = len(self.alphas_cumprod) // 2
        if self.device.type != "meta":
            x_t = x_t.to(self.device)
        found = probe(self.network, self.tap, lambda rows: self._call(rows, timestep), x_t)
        return found.without_shared() if self.is_compiled else found

    @property
    def can_replay(self) -> bool:
        """Whether `decode` runs only what lies behind the tap, or the whole network."""
        return self.replay.possible

    def tapped(self, name: str) -> Denoiser:
        """The same network with another tap."""
        other = copy.copy(self)
        other.tap = Tap(self.network, name)
        for of_tap in ("h_shape", "replay"):
            other.__dict__.pop(of_tap, None)
        return other

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Denoiser:
        """Moves the network in place; the weight hash stays that of the weights as they were loaded.

        Raises:
            HspaceError: There is no such device.
        """
        put(self.network, self.model_id, device, dtype)
        return self

    def widened(self) -> Denoiser:
        """For derivatives: itself in float32 or float64, else a copy in float32 (of a bf16 model, say)."""
        if self.dtype in (torch.float32, torch.float64):
            return self
        other = copy.copy(self)
        other.network, other._compiled = copy.deepcopy(self.network).float(), None
        return other.tapped(self.tap.name)

    def compiled(self, backend: str = "inductor") -> Denoiser:
        """The same network, its stages run through torch.compile; see `hspace.models.compiled`.

        It pays for long work on a GPU: the first calls take minutes. Samples are those of the network as it is to
        float tolerance. Gradients and Jacobians are computed by the network as it is. Where compiling fails, an
        `HspaceWarning` says so once, and everything works as before.

        Args:
            backend: Of torch.compile.

        Raises:
            HspaceError: No such backend.

        Example:
            >>> import hspace
            >>> hspace.load("faces64").compiled().is_compiled
            True
        """
        known = torch.compiler.list_backends(exclude_tags=())
        if backend not in known:
            raise HspaceError(f"torch.compile has no backend {backend!r}; there are {', '.join(known)}")
        other = copy.copy(self)
        other._compiled = CompiledStages(self.network, backend)
        other.__dict__.pop("replay", None)  # some of it may be compiled from now on
        return other

    def channels_last(self) -> Denoiser:
        """Lays the network out in memory channels last, in place: faster on CPUs, see docs/performance.md.

        Samples are those of the usual layout to float tolerance.
        """
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def predict(self, x_t: Float[Tensor, "n c y x"], timestep: int, *, shift: Tensor | None = None) -> Prediction:
        """eps and x_0 at one timestep; with `shift`, those of h + shift.

        Args:
            x_t: (n, c, h, w).
            timestep: Training timestep, 0 to T - 1.
            shift: Broadcastable to h, (n, *h_shape).
        """
        if shift is None:
            return self._prediction(self._call(x_t, timestep), x_t, timestep)
        with self.tap.hooked(lambda h: h + shift.to(h)):
            return self._prediction(self._call(x_t, timestep), x_t, timestep)

    def observe(
        self,
        x_t: Float[Tensor, "n c y x"],
        timestep: int,
        *,
        shift: Tensor | None = None,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Prediction, Tensor]:
        """As `predict`, and h as it was before the shift, (n, *h_shape) in the network's dtype.

        Instead of `shift`, `change` may be any function of h.
        """
        seen: list[Tensor] = []

        def hook(h: Tensor) -> Tensor | None:
            seen.append(h.clone())  # what follows may change h in place
            if change is not None:
                return change(h)
            return None if shift is None else h + shift.to(h)

        with self.tap.hooked(hook):
            output = self._call(x_t, timestep)
        if len(seen) != 1:
            raise self._unusable_tap(len(seen))
        return self._prediction(output, x_t, timestep), seen[0]

    def encode(self, x_t: Float[Tensor, "n c y x"], timestep: int) -> Encoding:
        """Runs the network as far as the tap; h as in `observe`."""
        if not self.replay.possible:
            return Encoding(x_t, timestep, self._to_tap(x_t, timestep), None)
        recorded: Recorded = []
        h = self._to_tap(x_t, timestep, self.replay.recording(recorded))
        return Encoding(x_t, timestep, h, recorded if self.replay.fits(recorded, len(x_t)) else None)

    def decode(self, encoding: Encoding, h: Tensor | None = None) -> Prediction:
        """eps and x_0 of an encoding with its own h or with others.

        Args:
            encoding: Of n samples.
            h: (k n, *h_shape): k blocks of n; row i belongs to sample i mod n. None: the encoding's own.

        Returns:
            k n rows. With the encoding's own h they equal `predict` exactly.
        """
        h = encoding.h if h is None else h
        times, rest = divmod(len(h), len(encoding.x_t))
        if rest or not times:
            raise HspaceError(f"h has {len(h)} rows, no multiple of the encoding's {len(encoding.x_t)}")
        x_t, recorded = encoding.x_t.repeat(times, 1, 1, 1), encoding.recorded
        replaying = nullcontext() if recorded is None else self.replay.replaying(recorded, times)
        with self.tap.hooked(lambda replaced: h.to(replaced, copy=True)):
            return self._prediction(self._call(x_t, encoding.timestep, replaying), x_t, encoding.timestep)

    @cached_property
    def _alphas(self) -> list[float]:
        """As plain numbers: none is read from a tensor while sampling."""
        return cast(list[float], self.alphas_cumprod.tolist())

    @property
    def _weight(self) -> Tensor:
        """Any of the network's numbers: where it is, and in which precision."""
        numbers = chain(self.network.parameters(), self.network.buffers())
        return next((tensor for tensor in numbers if tensor.is_floating_point()), torch.empty(0))

    @property
    def _needs_autocast(self) -> bool:
        """In half precision the time embedding of a network of one's own may still come in float32; diffusers casts."""
        return self.dtype in (torch.bfloat16, torch.float16) and not isinstance(self.network, UNet2DModel)

    def _unusable_tap(self, times: int) -> HspaceError:
        reached = f"reached {times} times" if times else "never reached"
        return HspaceError(f"tap {self.tap.name!r} is {reached} in a forward pass: choose another module")

    def _to_tap(self, x_t: Tensor, timestep: int, within: AbstractContextManager[None] | None = None) -> Tensor:
        """h; the pass ends with it."""
        seen: list[Tensor] = []

        def stop(h: Tensor) -> None:
            seen.append(h)
            raise _TapReached

        with self.tap.hooked(stop):
            try:
                self._call(x_t, timestep, within)
            except _TapReached:
                return seen[0]
        raise self._unusable_tap(0)

    def _call(self, x_t: Tensor, timestep: int, within: AbstractContextManager[None] | None = None) -> Tensor:
        """What the network returns, as eps, v or x_0; `within`: entered around it, inside of compiled stages."""
        timesteps = torch.full((len(x_t),), timestep, device=x_t.device, dtype=torch.int64)
        with ExitStack() as stack:
            kind = x_t.device.type
            if torch.amp.is_autocast_available(kind):
                stack.enter_context(torch.autocast(kind, self.dtype, enabled=self._needs_autocast))
            if self._compiled is not None:
                stack.enter_context(self._compiled.installed(self.tap))
            if within is not None:
                stack.enter_context(within)
            output = self.network(x_t.to(self.dtype), timesteps)
        output = output if isinstance(output, Tensor) else output.sample
        return cast(Tensor, output[:, : x_t.shape[1]].to(x_t.dtype))

    def _prediction(self, output: Tensor, x_t: Tensor, timestep: int) -> Prediction:
        alpha = self._alphas[timestep]
        signal, noise = math.sqrt(alpha), math.sqrt(1.0 - alpha)
        convert: dict[str, Callable[[], Prediction]] = {
            "epsilon": lambda: Prediction(output, (x_t - noise * output) / signal),
            "v_prediction": lambda: Prediction(signal * output + noise * x_t, signal * x_t - noise * output),
            "sample": lambda: Prediction((x_t - signal * output) / noise, output),
        }
        return convert[self.prediction_type]()


class _TapReached(Exception):
    """Ends a forward pass at the tap."""


def weight_hash(network: nn.Module) -> str:
    """The first 16 hexadecimal digits of SHA-256 over names, shapes and values (as float32) of all weights.

    The same for one checkpoint on every machine; 8-bit or half-precision copies of it are other models.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
