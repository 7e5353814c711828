"""Finds out which modules of a network can be replayed at a tap, by running it on a few random rows.

Two rows go through the whole network while every module is watched: the outermost calls that are done when the tap is
reached are those to replay. Which of their tensors grow with the batch, and how its rows lie in them, is seen from the
same two rows twice in one batch. Then the replay has to prove itself, after other rows have gone through the network:
with the h that the two rows have it must give what the full pass gave, and with other h in two blocks, too. Where it
does not, or where a pass behaves so that hooks can't be trusted, the network is decoded by full passes.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from hspace.models.forwards import Forward, overriding
from hspace.models.outputs import is_known, tensors
from hspace.models.replay import Leaf, Recorded, Replay, Replayed, repeat
from hspace.models.tap import Tap

__all__ = ["probe"]

_CHECKPOINT = torch.utils.checkpoint.__file__


def probe(network: nn.Module, tap: Tap, call: Callable[[Tensor], Tensor], x_t: Tensor, *, branches: int = 1) -> Replay:
    """How a network is decoded at a tap.

    It takes the work of about six rows in full and of ten more on one side of the tap.

    Args:
        network: In evaluation mode, its weights frozen.
        tap: Where h is.
        call: x_t (n, c, h, w) -> what the network makes of it, n rows, at any timestep, always the same.
        x_t: (4, c, h, w), all rows different.
        branches: Blocks of all samples in the batch that the network sees: 2 with classifier-free guidance.
    """
    if reason := _ruled_out(network):
        return Replay((), f"full pass: {reason}")
    try:
        # Not to make a graph, as nothing here needs one: so that the code runs which makes one elsewhere.
        with torch.enable_grad(), torch.backends.cudnn.flags(allow_tf32=False):
            return _Probe(network, tap, call, x_t, branches).result()
    except _Unfit as unfit:
        return Replay((), f"full pass: {unfit}")
    except Exception as error:  # whatever networks of users raise when they are run in parts
        told = " ".join(str(error).split())[:150]
        return Replay((), f"full pass: replaying fails ({type(error).__name__}: {told})")


class _Unfit(Exception):
    """The network can't be replayed."""


class _TapReached(Exception):
    """Ends a pass at the tap."""


class _Probe:
    def __init__(
        self, network: nn.Module, tap: Tap, call: Callable[[Tensor], Tensor], x_t: Tensor, branches: int
    ) -> None:
        self.network, self.tap, self.call, self.branches = network, tap, call, branches
        self.rows, self.others = x_t[:2], x_t[2:]
        self.twice = torch.cat([self.rows, self.rows])
        self.names = {module: name for name, module in network.named_modules()}

    def result(self) -> Replay:
        expected, h, draft = self._watched()
        two: Recorded = []
        with draft.recording(two):
            self._encode(self.rows)
        four: Recorded = []
        changed: list[Tensor] = []

        def change(before: Tensor) -> Tensor:
            at_tap.extend(map(list, four))
            changed.append(before + torch.randn(before.shape, generator=generator).to(before) * before.std())
            return changed[0].clone()

        generator, at_tap = torch.Generator().manual_seed(0), Recorded()
        with draft.recording(four), self.tap.hooked(change):
            expected_of_changed = self.call(self.twice)
        found = self._laid_out(draft, two, at_tap)
        self._encode(self.others)  # what modules leave behind for later is not of these rows now
        with found.replaying(two, 1, self.branches), self.tap.hooked(lambda _: h.clone()):
            own = self.call(self.rows)
        _check(own, expected)
        with found.replaying(two, 2, self.branches), self.tap.hooked(lambda _: changed[0].clone()):
            _check(self.call(self.twice), expected_of_changed)
        return replace(found, reason=self._described(found, torch.equal(own, expected)))

    def _watched(self) -> tuple[Tensor, Tensor, Replay]:
        """A full pass: its output, its h, and the modules to replay."""
        watch = _Watch(self.network, self.tap)
        seen: list[Tensor] = []

        def look(h: Tensor) -> None:
            seen.append(h.clone())
            watch.reach()

        with overriding(watch.forwards()), self.tap.hooked(look):
            output = self.call(self.rows)
        if len(seen) != 1:
            raise _Unfit(f"tap {self.tap.name!r} is reached {len(seen)} times in a pass")
        if watch.in_checkpoint:
            raise _Unfit(f"tap {self.tap.name!r} is inside torch.utils.checkpoint")
        if not watch.done:
            raise _Unfit(f"no module is done before tap {self.tap.name!r} is reached")
        calls: dict[nn.Module, list[tuple[Leaf, ...]]] = {}
        for done in watch.done:
            if done.module in watch.around:
                raise _Unfit(f"module {self.names[done.module]!r} runs before the tap and around it")
            leaves = tuple(
                Leaf(in_place=version != _version(tensor) or version < 0) for tensor, version in done.tensors
            )
            calls.setdefault(done.module, []).append(leaves)
        modules = (
            Replayed(module, tuple(leaves), alone=watch.counts[module] == len(leaves))
            for module, leaves in calls.items()
        )
        return output, seen[0], Replay(tuple(modules), "being probed")

    def _encode(self, x_t: Tensor) -> None:
        def stop(_: Tensor) -> None:
            raise _TapReached

        try:
            with self.tap.hooked(stop):
                self.call(x_t)
        except _TapReached:
            pass

    def _laid_out(self, draft: Replay, two: Recorded, four: Recorded) -> Replay:
        """With what is known of every tensor from the same rows once and twice."""
        modules = []
        for each, ones, twos in zip(draft.modules, two, four, strict=True):
            name = self.names[each.module]
            if not len(ones) == len(twos) == len(each.calls):
                raise _Unfit(f"module {name!r} is not called as often in every pass")
            calls = []
            for leaves, once, twice in zip(each.calls, ones, twos, strict=True):
                found = list(zip(tensors(once), tensors(twice), strict=True))
                if len(found) != len(leaves):
                    raise _Unfit(f"module {name!r} does not return as much in every pass")
                calls.append(tuple(self._leaf(name, leaf, *pair) for leaf, pair in zip(leaves, found, strict=True)))
            modules.append(replace(each, calls=tuple(calls)))
        return replace(draft, modules=tuple(modules))

    def _leaf(self, name: str, leaf: Leaf, once: Tensor, twice: Tensor) -> Leaf:
        if once.shape == twice.shape:
            return replace(leaf, along=None)
        shapes = f"{tuple(once.shape)} of 2 rows and {tuple(twice.shape)} of 4"
        grown = [d for d, (a, b) in enumerate(zip(once.shape, twice.shape, strict=False)) if a != b]
        if once.ndim != twice.ndim or len(grown) != 1:
            raise _Unfit(f"module {name!r} returns {shapes}")
        rows, rest = divmod(once.shape[grown[0]], 2 * self.branches)
        if rest or twice.shape[grown[0]] != 2 * once.shape[grown[0]]:
            raise _Unfit(f"module {name!r} returns {shapes}")
        for groups in (groups for groups in range(1, rows + 1) if rows % groups == 0):
            if _agree(repeat(once, 2, groups * self.branches, grown[0]), twice):
                return replace(leaf, along=grown[0], rows=rows, groups=groups)
        raise _Unfit(f"module {name!r} does not return the same for the same rows twice in a batch")

    def _described(self, found: Replay, exact: bool) -> str:
        weights = {id(weight): weight.numel() for each in found.modules for weight in each.module.parameters()}
        of_all = sum(weight.numel() for weight in self.network.parameters())
        share = f", {sum(weights.values()) / of_all:.0%} of the parameters" if of_all else ""
        equal = "" if exact else "; equal to a full pass to rounding only"
        count = f"{len(found.modules)} module{'s' if len(found.modules) > 1 else ''}"
        return f"replayed: {count} before the tap{share}{equal}"


@dataclass(frozen=True)
class _Done:
    """A call that was done before the tap, and the versions its tensors had then."""

    module: nn.Module
    tensors: list[tuple[Tensor, int]]


class _Watch:
    """Sees all calls of one pass.

    Attributes:
        done: The outermost calls that were done when the tap was reached, in order.
        around: Modules that were running then.
        in_checkpoint: Whether `torch.utils.checkpoint` was, too.
        counts: Calls of each module in the whole pass.
    """

    def __init__(self, network: nn.Module, tap: Tap) -> None:
        self.done: list[_Done] = []
        self.around: set[nn.Module] = set()
        self.in_checkpoint, self.counts = False, Counter[nn.Module]()
        # A scripted module and those in it run no Python.
        self._modules = [module for module in network.modules() if not isinstance(module, torch.jit.ScriptModule)]
        inside = set(tap.module.modules()) - {tap.module}
        self._holders = {
            module
            for module in self._modules
            if module is not tap.module and module not in inside and any(m is tap.module for m in module.modules())
        }
        self._running: list[tuple[nn.Module | None, list[_Done]]] = [(None, [])]
        self._reached = False

    def forwards(self) -> dict[nn.Module, Forward]:
        return {module: self._watched(module) for module in self._modules}

    def reach(self) -> None:
        """The tap is reached."""
        if not self._reached:
            self._reached = True
            self.done = [done for _, inner in self._running for done in inner]
            self.around = {module for module, _ in self._running if module is not None}
            self.in_checkpoint = _in_checkpoint()

    def _watched(self, module: nn.Module) -> Forward:
        forward = module.forward

        def call(*args: Any, **kwargs: Any) -> Any:
            self.counts[module] += 1
            inner: list[_Done] = []
            self._running.append((module, inner))
            try:
                output = forward(*args, **kwargs)
            finally:
                self._running.pop()
            if not self._reached:
                whole = module not in self._holders and is_known(output)
                now = [_Done(module, [(tensor, _version(tensor)) for tensor in tensors(output)])] if whole else inner
                self._running[-1][1].extend(now)
            return output

        return call


def _ruled_out(network: nn.Module) -> str | None:
    """Why a network is not even probed."""
    if any(tensor.is_meta for tensor in network.parameters()):
        return "the network has no weights (it is on the meta device)"
    for name, module in network.named_modules():
        which = f"module {name!r}" if name else "the network"
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            return f"{which} is run by {type(module).__name__}"
        if isinstance(module, torch._dynamo.OptimizedModule) or module._compiled_call_impl is not None:
            return f"{which} was compiled by torch.compile: give the network as it is, and use Denoiser.compiled"
    return None


def _in_checkpoint() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename == _CHECKPOINT:
            return True
    return False


def _version(tensor: Tensor) -> int:
    """How often a tensor has been changed in place; those of inference mode don't count, and pass as changed."""
    return -1 if tensor.is_inference() else tensor._version


def _check(replayed: Tensor, full: Tensor) -> None:
    if not _agree(replayed, full):
        apart = float((replayed - full).abs().max() / full.abs().max())
        raise _Unfit(f"a replayed pass differs from it by {apart:.1e} of its largest value")


def _agree(found: Tensor, expected: Tensor) -> bool:
    """To rounding."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not expected.is_floating_point():
        return torch.equal(found, expected)
    largest = float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max()) if expected.numel() else 0.0
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 * largest
    return torch.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True)
