"""What a pass of a network takes, counted: floating-point operations, and bytes of tensors alive at once.

Shapes are enough, so the network may be on PyTorch's meta device and need no weights. Counted are the operations of
convolutions and matrix products, two for a multiplication with an addition. Attention goes as one, without the matrix
of all pairs in memory, as it does on GPUs and CPUs.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from hspace.models import Tap

__all__ = ["Pass", "counted"]


@dataclass(frozen=True)
class Pass:
    """What a network takes for one sample and step.

    Attributes:
        operations: Floating-point ones.
        activations: Bytes alive at once, above weights and input.
        weights: Bytes of the network.
        h_numbers: Of h.
        h_bytes: Of one of them.
    """

    operations: int
    activations: int
    weights: int
    h_numbers: int
    h_bytes: int


def counted(network: nn.Module, call: Callable[[], object], tap: Tap) -> Pass:
    """Count one pass.

    Args:
        network: Whose weights count.
        call: Does the pass, for one sample.
        tap: Where h is.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from hspace.models import Tap
        >>> from hspace.planning import counted
        >>> with torch.device("meta"):
        ...     network, x = nn.Conv2d(3, 4, 3, padding=1, bias=False), torch.empty(1, 3, 8, 8)
        >>> counted(network, lambda: network(x), Tap(nn.Sequential(network), "0"))
        Pass(operations=13824, activations=1024, weights=432, h_numbers=256, h_bytes=4)
    """
    own = [*network.parameters(), *network.buffers()]
    seen: list[tuple[int, int]] = []
    meter = _Meter(own)
    see = tap.hooked(lambda h: seen.append((h.numel(), h.element_size())))
    with torch.no_grad(), see, meter, _Attention(meter):
        call()
    weights = sum(x.numel() * x.element_size() for x in own)
    return Pass(meter.operations, meter.most, weights, *seen[0])


class _Meter(TorchDispatchMode):
    """Counts operations and bytes while it is entered."""

    def __init__(self, own: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = self.most = self._alive = 0
        self.within = False  # of something that goes as one
        self._known: set[int] = set()
        for x in own:
            self.take(x, new=False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.within:
            return func(*args, **kwargs)
        for x in tree_iter((args, kwargs)):  # what comes from outside was there before
            if isinstance(x, Tensor):
                self.take(x, new=False)
        out = func(*args, **kwargs)
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.operations += count(*args, **kwargs, out_val=out)
        for x in tree_iter(out):
            if isinstance(x, Tensor):
                self.take(x)
        return out

    def take(self, x: Tensor, *, new: bool = True) -> None:
        """A tensor that is alive from now on, or was before and does not count."""
        storage = x.untyped_storage()
        key, size = int(storage._cdata), storage.nbytes() if new else 0
        if key not in self._known:
            self._known.add(key)
            self._alive += size
            self.most = max(self.most, self._alive)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._alive -= size


class _Attention(TorchFunctionMode):
    """Lets attention go as one, whatever a device makes of it."""

    def __init__(self, meter: _Meter) -> None:
        super().__init__()
        self._meter = meter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        query, key, value = (*args, *(kwargs[name] for name in ("query", "key", "value")[len(args) :]))[:3]
        self._meter.within = True
        try:
            out = func(*args, **kwargs)
        finally:
            self._meter.within = False
        pairs = math.prod(query.shape[:-1]) * key.shape[-2]
        self._meter.operations += 2 * pairs * (query.shape[-1] + value.shape[-1])
        self._meter.take(out)
        return out
