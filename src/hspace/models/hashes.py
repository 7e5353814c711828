"""Whose weights a network has, without hashing them again.

A hash of a large network takes seconds, and `with direction.applied(pipe)` asks for it every time. What is known of a
network is kept as long as the network lives, beside marks of its tensors: name, shape, dtype, version (which grows
with every change in place) and one number from the middle. Other marks, another network: it is hashed anew. Moving it
to another device leaves the marks as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

__all__ = ["known_hash", "remember_hash", "same_weights"]

_KNOWN: WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], str]] = WeakKeyDictionary()


def known_hash(network: nn.Module) -> str | None:
    """The hash that was remembered for the network as it is now; None if there is none."""
    marks, known = _KNOWN.get(network, (None, None))
    return known if known is not None and marks == _marks(network) else None


def remember_hash(network: nn.Module, known: str) -> str:
    """Keeps the hash of a network, and returns it."""
    _KNOWN[network] = (_marks(network), known)
    return known


@contextmanager
def same_weights(network: nn.Module) -> Iterator[None]:
    """What is known of the network holds after the context, too: it goes to another device or precision in it."""
    known = known_hash(network)
    yield
    if known is not None:
        remember_hash(network, known)


def _marks(network: nn.Module) -> tuple[Any, ...]:
    tensors = sorted(network.state_dict(keep_vars=True).items())
    return tuple((name, tuple(t.shape), t.dtype, _version(t), _from_the_middle(t)) for name, t in tensors)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # made in inference mode, it can't change in place


def _from_the_middle(tensor: Tensor) -> float | None:
    if tensor.is_meta or not tensor.numel():
        return None
    return float(tensor.detach()[tuple(size // 2 for size in tensor.shape)])
