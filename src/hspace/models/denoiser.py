"""A pretrained network as the rest of the package sees it: x_t and t in, eps and x_0 out, with h in reach."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, Literal, cast, get_args

import torch
from diffusers import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from hspace.device import put
from hspace.errors import HspaceError
from hspace.models.codec import Codec
from hspace.models.compiled import CompiledStages
from hspace.models.conditioning import UNCONDITIONAL, Branches, Condition, Conditioner, Shifted
from hspace.models.hashes import remember_hash, same_weights
from hspace.models.prediction import Prediction, PredictionType, flow_state, predicted
from hspace.models.probing import probe
from hspace.models.replay import Recorded, Replay, repeat
from hspace.models.tap import Tap

__all__ = ["Denoiser", "Encoding", "Spacing", "weight_hash"]

Spacing = Literal["leading", "trailing", "linspace"]


@dataclass(frozen=True)
class Encoding:
    """x_t seen from the tap: h, and what is needed to decode it (or any other h) again.

    `recorded` holds what modules before the tap returned; None where they can't be replayed, and a full pass decodes.
    `others` is h of the passes without the condition; None without guidance.
    """

    x_t: Tensor
    timestep: int
    h: Tensor
    recorded: Recorded | None
    others: Tensor | None = None


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
            Default: the codec's, or 1.
        codec: Between x_0 and pictures, for latent diffusion.
        conditioner: Turns prompts or class labels into what the network takes beside x_t and timesteps.
        condition: What holds from the start. Default: the conditioner's.
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
        latent_scale: int | None = None,
        codec: Codec | None = None,
        conditioner: Conditioner | None = None,
        condition: Condition | None = None,
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
        if latent_scale is None:
            latent_scale = 1 if codec is None else codec.cell
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
        self.codec = codec
        self.conditioner = conditioner
        self.condition = condition if condition is not None or conditioner is None else conditioner.default
        self.model_id = model_id
        self.notes = tuple(notes)
        self.weight_hash = remember_hash(network, weight_hash(network))
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

    @property
    def is_channels_last(self) -> bool:
        """Whether `channels_last` has laid the network out."""
        kernels = (weight for weight in self.network.parameters() if weight.ndim == 4 and not weight.is_contiguous())
        return any(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)

    @property
    def picture_shape(self) -> tuple[int, ...]:
        """(c, h, w) of a picture: that of x_t, or of what the codec makes of it."""
        return self.image_shape if self.codec is None else self.codec.picture_shape(self.image_shape)

    @cached_property
    def branches(self) -> Branches:
        """The passes that make one prediction under the condition.

        Raises:
            HspaceError: A condition is missing, or of another kind than the network takes.
        """
        if self.conditioner is None:
            return UNCONDITIONAL
        if self.condition is None:
            raise HspaceError(f"{self.model_id} needs {self.conditioner.wanted}: give it to hspace.load")
        return self.conditioner.branches(self.condition)

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
        found = probe(self.network, self.tap, lambda rows: self._call(rows, timestep), x_t, branches=len(self.branches))
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

    def conditioned(
        self,
        prompt: str | None = None,
        *,
        negative_prompt: str | None = None,
        label: int | None = None,
        guidance_scale: float | None = None,
        shifted: Shifted | None = None,
    ) -> Denoiser:
        """The same network under another condition; what is not given stays as it is.

        Directions that were found under one condition apply under any other.

        Args:
            prompt: Text, for text-to-image models.
            negative_prompt: Text of the unconditional pass.
            label: Number of a class, for class-conditional models.
            guidance_scale: 1 or less: without guidance, one pass. Default: what it was; for a first prompt or label
                that of the model's pipeline.
            shifted: Whether shifts of h go into "both" passes or into the "conditional" one only.

        Raises:
            HspaceError: The model takes no such condition; no such class.
        """
        given: dict[str, Any] = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "label": label,
            "shifted": shifted,
        }
        asked = {name: value for name, value in given.items() if value is not None}
        if guidance_scale is not None:
            asked["guidance_scale"] = guidance_scale
        elif self.conditioner is not None and self.condition is self.conditioner.default and asked:
            asked["guidance_scale"] = self.conditioner.guidance_scale  # nobody has chosen one yet
        return self.under(replace(self.condition or Condition(), **asked))

    def under(self, condition: Condition | None) -> Denoiser:
        """The same network under a condition; None for the model's own.

        Raises:
            HspaceError: As `conditioned`.
        """
        if self.conditioner is None:
            if condition is not None and condition != Condition():
                raise HspaceError(f"{self.model_id} takes no prompt or class; asked for: {condition}")
            return self
        other = copy.copy(self)
        other.condition = self.conditioner.default if condition is None else condition
        if other.condition != self.condition:
            other.__dict__.pop("branches", None)
        if other.condition is not None:
            _ = other.branches  # says now what the first pass would say
        return other

    def to_pictures(self, x_0: Float[Tensor, "n c y x"]) -> Float[Tensor, "n k h w"]:
        """Pictures of x_0, within about [-1, 1], without a graph; of a pixel model x_0 itself."""
        return x_0 if self.codec is None else self.codec.decode(x_0)

    def from_pictures(self, pictures: Float[Tensor, "n k h w"]) -> Float[Tensor, "n c y x"]:
        """x_0 of pictures within [-1, 1], without a graph; of a pixel model the pictures themselves."""
        return pictures if self.codec is None else self.codec.encode(pictures)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Denoiser:
        """Moves the network in place, and its codec; the weight hash stays that of the weights as they were loaded.

        Raises:
            HspaceError: There is no such device.
        """
        with same_weights(self.network):
            put(self.network, self.model_id, device, dtype)
        if self.codec is not None:
            self.codec.to(device, self.model_id)
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
        with self.tap.hooked(self.branches.hook(lambda h: h + shift.to(h))):
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

        with self.tap.hooked(self.branches.hook(hook)):
            output = self._call(x_t, timestep)
        if len(seen) != 1:
            raise self._unusable_tap(len(seen))
        return self._prediction(output, x_t, timestep), seen[0]

    def encode(self, x_t: Float[Tensor, "n c y x"], timestep: int) -> Encoding:
        """Runs the network as far as the tap; h as in `observe`."""
        if not self.replay.possible:
            return self._encoding(x_t, timestep, self._to_tap(x_t, timestep), None)
        recorded: Recorded = []
        h = self._to_tap(x_t, timestep, self.replay.recording(recorded))
        fits = self.replay.fits(recorded, len(x_t) * len(self.branches))
        return self._encoding(x_t, timestep, h, recorded if fits else None)

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
        if encoding.others is not None:
            others = repeat(encoding.others, times, len(self.branches) - 1)
            h = self.branches.spread(h, repeat(encoding.h, times), others)
        replaying = nullcontext() if recorded is None else self.replay.replaying(recorded, times, len(self.branches))
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
        of_diffusers = type(self.network).__module__.startswith("diffusers.")
        return self.dtype in (torch.bfloat16, torch.float16) and not of_diffusers

    def _unusable_tap(self, times: int) -> HspaceError:
        reached = f"reached {times} times" if times else "never reached"
        return HspaceError(f"tap {self.tap.name!r} is {reached} in a forward pass: choose another module")

    def _encoding(self, x_t: Tensor, timestep: int, h: Tensor, recorded: Recorded | None) -> Encoding:
        return Encoding(x_t, timestep, self.branches.own(h), recorded, self.branches.others(h))

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
        if self.prediction_type == "flow":
            scale, s = flow_state(self._alphas[timestep])
            rows, time = scale * x_t, torch.full((len(x_t),), s * len(self._alphas), device=x_t.device)
        else:
            rows, time = x_t, torch.full((len(x_t),), timestep, device=x_t.device, dtype=torch.int64)
        rows, timesteps = self.branches.rows(rows.to(self.dtype)), self.branches.rows(time)
        arguments = self.branches.arguments(len(x_t), x_t.device, self.dtype)
        with ExitStack() as stack:
            kind = x_t.device.type
            if torch.amp.is_autocast_available(kind):
                stack.enter_context(torch.autocast(kind, self.dtype, enabled=self._needs_autocast))
            if self._compiled is not None:
                stack.enter_context(self._compiled.installed(self.tap))
            if within is not None:
                stack.enter_context(within)
            if isinstance(self.network, ModelMixin):  # of diffusers' transformers it is not the second argument
                output = self.network(rows, timestep=timesteps, **arguments)
            else:
                output = self.network(rows, timesteps, **arguments)
        output = output if isinstance(output, Tensor) else output.sample
        return self.branches.merged(output[:, : x_t.shape[1]].to(x_t.dtype))

    def _prediction(self, output: Tensor, x_t: Tensor, timestep: int) -> Prediction:
        return predicted(self.prediction_type, output, x_t, self._alphas[timestep])


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
