"""h in somebody else's loop: a pipeline of diffusers, or any code that calls the network.

The loop is theirs: scheduler, latents, prompts, guidance. Of it one thing is seen, the timestep that each pass of the
network is given; h is changed on the way. No step waits for a GPU: a timestep that is there stays there. This lives
beside the sampler, since it knows networks and taps; what is added to h comes from `hspace.directions`.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from weakref import WeakSet

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hspace.diffusion.gains import Gains, check_asymmetric, eta_of, gains_of
from hspace.diffusion.schedule import Injection
from hspace.diffusion.setting import Setting
from hspace.errors import HspaceError, HspaceWarning
from hspace.models.denoiser import Denoiser, weight_hash
from hspace.models.hashes import known_hash, remember_hash
from hspace.models.tap import Tap

__all__ = ["Loop", "Shift"]


@runtime_checkable
class Shift(Protocol):
    """What changes h in somebody else's loop."""

    @property
    def asymmetric(self) -> Callable[[Float[Tensor, " k"]], Float[Tensor, " k"]] | None:
        """For a shift that goes in asymmetrically: timesteps -> a_t / g_t, see `hspace.diffusion.gains`."""

    def begins(self, timesteps: list[float] | Tensor) -> bool:
        """A pass begins: whether h may change in it.

        Args:
            timesteps: Of its rows, or one for all: numbers, or a tensor of those that are not on the CPU.

        Raises:
            HspaceError: A timestep at which nothing is known.
        """

    def __call__(self, h: Float[Tensor, " n *h"], timesteps: Float[Tensor, " k"]) -> Float[Tensor, " n *h"]:
        """What h becomes; timesteps (n,), or (1,) for all, are float32 and where h is."""


# Their passes go over [unconditional, conditional] rows at once. Others have other orders (DiT), three parts (PAG,
# InstructPix2Pix), a pass for each (Wan), or more passes of some layers (Stable Diffusion 3).
_HALVES = {
    *(f"StableDiffusion{kind}Pipeline" for kind in ("", "Depth2Img", "Img2Img", "Inpaint", "Adapter")),
    *(f"StableDiffusionXL{kind}Pipeline" for kind in ("", "Img2Img", "Inpaint", "Adapter")),
    *(f"StableDiffusion{xl}ControlNet{kind}Pipeline" for xl in ("", "XL") for kind in ("", "Img2Img", "Inpaint")),
    *(f"StableDiffusionXLControlNetUnion{kind}Pipeline" for kind in ("", "Img2Img", "Inpaint")),
}

_ASYMMETRIC: WeakSet[nn.Module] = WeakSet()
_TIMESTEP = ("timestep", "timesteps", "t", "time")


class Loop:
    """Somebody else's sampling loop.

    Args:
        pipe: A pipeline with a `.unet` or a `.transformer`, or the network itself (or a `Denoiser` around it).

    Raises:
        HspaceError: Neither.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from hspace.diffusion.pipelines import Loop
        >>> class Network(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.inner = nn.Identity()
        ...     def forward(self, x_t, timestep):
        ...         return self.inner(x_t)
        >>> class Shift:
        ...     asymmetric = None
        ...     def begins(self, timesteps):
        ...         return True
        ...     def __call__(self, h, timesteps):
        ...         return h + timesteps[:, None]
        >>> network = Network()
        >>> with Loop(network).hooked("inner", Shift()):
        ...     network(torch.zeros(1, 2), timestep=7)
        tensor([[7., 7.]])
    """

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.name = type(pipe).__name__
        self.network = _network_of(pipe)
        self._gains: tuple[Tensor, float, Gains] | None = None

    @property
    def scheduler(self) -> Any:
        """The pipeline's, whichever it has at the moment; None for a bare network."""
        return getattr(self.pipe, "scheduler", None)

    def check(self, setting: Setting, name: str, *, weights: bool = True) -> None:
        """Whether h here is the h of a direction; its shape shows in the first pass only.

        Args:
            setting: Of the direction.
            name: Of the direction, for errors.
            weights: Whether they have to be the same, number for number.

        Raises:
            HspaceError: Another network, no such tap, or a scheduler with another number of training timesteps.
        """
        Tap(self.network, setting.tap)
        total = getattr(getattr(self.scheduler, "config", None), "num_train_timesteps", None)
        if total is not None and total != setting.schedule.train_timesteps:
            raise HspaceError(
                f"direction {name!r} knows {setting.schedule.train_timesteps} training timesteps, "
                f"the scheduler of {self.name} {total}"
            )
        if weights and (found := self._weight_hash()) != setting.weight_hash:
            raise HspaceError(
                f"direction {name!r} is of other weights: {setting.model_id} {setting.weight_hash}, here "
                f"{type(self.network).__name__} {found}{self._half()}; check_weights=False takes them for the same"
            )

    def gains(self, eta: float | None, injection: Injection) -> Gains | None:
        """Those of the steps of a pipeline; the same object as long as its scheduler's grid is the same.

        Args:
            eta: Of its sampler; None: as its scheduler tells.
            injection: Of a shift.

        Returns:
            None where the gain of the shift is 1 at every step.

        Raises:
            HspaceError: A scheduler without `alphas_cumprod`; for an asymmetric shift also one that asks the network
                between its steps.
        """
        scheduler = self.scheduler
        if injection == "asymmetric":
            check_asymmetric(scheduler)
        eta = eta_of(scheduler) if eta is None else eta
        if eta == 0 and injection == "symmetric":
            return None
        timesteps = scheduler.timesteps
        if self._gains is None or self._gains[0] is not timesteps or self._gains[1] != eta:
            self._gains = (timesteps, eta, gains_of(scheduler, eta))
        return self._gains[2]

    def check_conditional(self) -> None:
        """Whether the rows that answer to the prompt are known.

        Raises:
            HspaceError: They aren't.
        """
        caller = next((kind for kind in type(self.pipe).__mro__ if "__call__" in vars(kind)), object)
        if caller.__name__ not in _HALVES:
            raise HspaceError(
                f"conditional_only: of {self.name} it isn't known which rows of a pass answer to the prompt; it is of "
                "the pipelines of Stable Diffusion 1, 2 and XL, their img2img, inpainting, ControlNet and adapter ones"
            )

    @contextmanager
    def hooked(self, tap: str, shift: Shift, *, conditional_only: bool = False) -> Iterator[None]:
        """Changes h in every pass of the network within the context. The hooks are gone after it, whatever happens.

        Args:
            tap: Where h is.
            shift: What becomes of it.
            conditional_only: Leaves the unconditional rows of classifier-free guidance as they are; for loops that
                pass `check_conditional`.

        Raises:
            HspaceError: An asymmetric shift within another. In a pass: no timestep in it, or one that is no number; a
                tap that is not reached once.
        """
        network, seen = self.network, _Pass()
        of_call = _Arguments(network)

        def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.timesteps, seen.reached = _as_timesteps(of_call.timestep(args, kwargs)), 0
            seen.acts = shift.begins(seen.timesteps)

        def at_tap(h: Tensor) -> Tensor | None:
            seen.reached += 1
            if not seen.acts or (seen.is_plain and shift.asymmetric):
                return None
            timesteps = seen.on(h)
            # before its first call a pipeline says nothing of guidance, and there is none
            if not (conditional_only and getattr(self.pipe, "do_classifier_free_guidance", False)):
                return shift(h, timesteps)
            half = len(h) // 2
            return torch.cat([h[:half], shift(h[half:], timesteps[half:] if len(timesteps) > 1 else timesteps)])

        def end(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], plain: Any) -> Any:
            if seen.reached != 1:
                reached = f"reached {seen.reached} times" if seen.reached else "never reached"
                raise HspaceError(f"tap {tap!r} is {reached} in a forward pass: choose another module")
            if not (seen.acts and seen.is_plain and shift.asymmetric):
                return None
            seen.is_plain = False
            try:
                shifted = network(*args, **kwargs)
            finally:
                seen.is_plain = True
            factor, channels = shift.asymmetric(seen.on(_sample(plain))), of_call.x_t(args, kwargs).shape[1]
            return _mixed(plain, _sample(shifted), factor, channels)

        with ExitStack() as stack:
            if "torch._dynamo" in sys.modules:  # compiled code doesn't ask whether hooks have come or gone
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            if shift.asymmetric:
                stack.enter_context(_alone(network))
            stack.callback(network.register_forward_pre_hook(begin, with_kwargs=True).remove)
            stack.enter_context(Tap(network, tap).hooked(at_tap))
            stack.callback(network.register_forward_hook(end, with_kwargs=True).remove)
            yield
            if seen.timesteps is None:
                message = f"the network of {self.name} wasn't called, so that nothing was shifted"
                warnings.warn(message, HspaceWarning, stacklevel=5)  # where `applied` was entered

    def _weight_hash(self) -> str:
        if any(tensor.is_meta for tensor in self.network.state_dict().values()) and not known_hash(self.network):
            raise HspaceError(
                f"the weights of {self.name} are offloaded, so that they can't be checked: enter the context before, "
                "or say check_weights=False"
            )
        return known_hash(self.network) or remember_hash(self.network, weight_hash(self.network))

    def _half(self) -> str:
        dtypes = {p.dtype for p in self.network.parameters()} & {torch.bfloat16, torch.float16}
        return f" (in {str(dtypes.pop()).removeprefix('torch.')}: a rounded copy is another)" if dtypes else ""


@dataclass
class _Pass:
    """Of the pass under way.

    Attributes:
        timesteps: As numbers, or where they are.
        acts: Whether h changes in it.
        reached: How often the tap was.
        is_plain: It is not the second, shifted one of the two that an asymmetric shift takes.
    """

    timesteps: list[float] | Tensor | None = None
    acts: bool = False
    reached: int = 0
    is_plain: bool = True

    def on(self, h: Tensor) -> Tensor:
        """(k,) float32, where h is."""
        found = self.timesteps
        assert found is not None  # nothing acts before the first pass
        if isinstance(found, Tensor):
            timesteps = found.to(h.device, torch.float32)
        elif len(found) == 1:
            timesteps = torch.full((1,), found[0], device=h.device, dtype=torch.float32)  # filled there, not sent
        else:
            timesteps = torch.tensor(found, device=h.device, dtype=torch.float32)
        if len(timesteps) not in (1, len(h)):
            raise HspaceError(f"the network was given {len(timesteps)} timesteps, its h has {len(h)} rows")
        return timesteps


def _network_of(pipe: Any) -> nn.Module:
    if isinstance(pipe, Denoiser):
        return pipe.network
    found = pipe
    if not isinstance(pipe, nn.Module):
        parts = (getattr(pipe, name, None) for name in ("unet", "transformer"))
        found = next((part for part in parts if isinstance(part, nn.Module)), None)
    if found is None:
        raise HspaceError(
            f"{type(pipe).__name__} has no .unet and no .transformer: expected a pipeline of diffusers, or the network"
        )
    original = getattr(found, "_orig_mod", None)  # torch.compile's wrapper has the network in it
    return original if isinstance(original, nn.Module) else found


@contextmanager
def _alone(network: nn.Module) -> Iterator[None]:
    """One asymmetric shift at a time: two would each count the other's in their plain pass."""
    if network in _ASYMMETRIC:
        raise HspaceError("asymmetric edits can't be applied within each other: apply their sum")
    _ASYMMETRIC.add(network)
    try:
        yield
    finally:
        _ASYMMETRIC.remove(network)


def _mixed(plain: Any, shifted: Tensor, factor: Tensor, channels: int) -> Any:
    """plain + factor (shifted - plain), in the first channels: behind them is the variance where it is learned."""
    old = _sample(plain)
    mixed = old + factor.to(old.dtype).reshape(-1, *[1] * (old.ndim - 1)) * (shifted - old)
    if mixed.shape[1] > channels:
        mixed = torch.cat([mixed[:, :channels], old[:, channels:]], 1)
    if isinstance(plain, Tensor):
        return mixed
    if isinstance(plain, tuple):
        return (mixed, *plain[1:])
    plain.sample = mixed
    return plain


def _sample(output: Any) -> Tensor:
    """The prediction: a tensor, the first of a tuple, or `.sample`."""
    found: Tensor = output if isinstance(output, Tensor) else output[0] if isinstance(output, tuple) else output.sample
    return found


class _Arguments:
    """Where a call of a network has x_t and the timestep: first, and by name, or where that name stands, or second."""

    def __init__(self, network: nn.Module) -> None:
        self._network = type(network).__name__
        self._names = list(inspect.signature(network.forward).parameters)
        self._place = next((i for i, name in enumerate(self._names) if name in _TIMESTEP), 1)

    def x_t(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        found: Tensor = args[0] if args else kwargs[self._names[0]]
        return found

    def timestep(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = next((kwargs[name] for name in _TIMESTEP if name in kwargs), None)
        if found is None and self._place < len(args):
            found = args[self._place]
        if found is None:
            raise HspaceError(f"{self._network} was called without a timestep: the shift of h depends on it")
        return found


def _as_timesteps(value: Any) -> list[float] | Tensor:
    """One number, or several that differ; a tensor that is not on the CPU stays unread, (k,)."""
    if not isinstance(value, Tensor):
        try:
            numbers = np.asarray(value, dtype=float).reshape(-1).tolist()
        except (TypeError, ValueError):
            raise HspaceError(f"expected a timestep, found {type(value).__name__}") from None
    elif value.ndim > 1:
        raise HspaceError(f"expected one timestep, or one for each row, found a tensor of shape {tuple(value.shape)}")
    elif value.device.type != "cpu":
        # `.item()` would wait until all before it is computed. Of an expanded tensor the first says all.
        return value.reshape(1) if value.ndim == 0 else value[:1] if value.stride(0) == 0 else value
    else:
        numbers = value.double().reshape(-1).tolist()
    if not numbers:
        raise HspaceError("expected a timestep, found none")
    return numbers[:1] if len(set(numbers)) == 1 else numbers
