"""Where h is read and shifted: the input or the output of one module of the network.

Haas et al. (arXiv 2303.11073) and Kwon et al. (arXiv 2210.10960) take the output of the U-Net's mid block; any other
module can be tapped by its name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from hspace.errors import HspaceError

__all__ = ["Tap"]

_ALIASES = {"after": "mid_block"}


class Tap:
    """One place in a network.

    Args:
        network: The denoising network.
        name: `"mid_block"` or `"after"` (the mid block's output), `"before"` (its input), `"middle"` (between its two
            residual blocks: the output of its attention, or of its first residual block where it has none), or the
            name of any module as in `network.named_modules()`: that module's output.

    Raises:
        HspaceError: The network has no such module.

    Example:
        >>> from torch import nn
        >>> from hspace.models.tap import Tap
        >>> Tap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU()), "1").name
        '1'
    """

    def __init__(self, network: nn.Module, name: str = "mid_block") -> None:
        self.name = _ALIASES.get(name, name)
        self.module, self.reads_input = _resolve(network, self.name)

    @contextmanager
    def hooked(self, hook: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
        """Calls `hook(h)` in every forward pass within the context; what it returns, if anything, replaces h.

        The hook is gone after the context, whatever happens in it.
        """

        def on_input(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            h = hook(_tensor(args, self.name))
            return None if h is None else (h, *args[1:])

        def on_output(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
            h = hook(_tensor(output, self.name))
            if h is None:
                return None
            return (h, *output[1:]) if isinstance(output, tuple) else h

        if self.reads_input:
            handle = self.module.register_forward_pre_hook(on_input)
        else:
            handle = self.module.register_forward_hook(on_output)
        try:
            yield
        finally:
            handle.remove()


def _tensor(value: Any, name: str) -> Tensor:
    """h is the tensor itself or the first of a tuple (a down block returns its skips with it)."""
    h = value[0] if isinstance(value, tuple) and value else value
    if not isinstance(h, Tensor):
        raise HspaceError(f"tap {name!r} is no tensor but {type(h).__name__}: choose another module")
    return h


def _resolve(network: nn.Module, name: str) -> tuple[nn.Module, bool]:
    if name in ("before", "middle", "mid_block"):
        mid_block = getattr(network, "mid_block", None)
        if not isinstance(mid_block, nn.Module):
            raise HspaceError(_unknown(network, "mid_block"))
        if name == "middle":
            inner = [*getattr(mid_block, "attentions", []), *getattr(mid_block, "resnets", [])]
            found = next((module for module in inner if module is not None), None)
            if found is None:
                raise HspaceError("tap 'middle': the mid block has no attentions and no resnets to stand between")
            return found, False
        return mid_block, name == "before"
    modules = dict(network.named_modules())
    if name == "" or name not in modules:
        raise HspaceError(_unknown(network, name))
    return modules[name], False


def _unknown(network: nn.Module, name: str) -> str:
    names = [n for n, _ in network.named_modules() if n]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:3]
    others = f"it has {len(names)} others, such as {', '.join(close)}" if names else "it has none at all"
    return f"{type(network).__name__} has no module {name!r} to tap; {others}"
