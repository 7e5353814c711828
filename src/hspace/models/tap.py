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
            name of any module as in `network.named_modules()`: that module's output. Where that is a tuple or a list,
            h is the first of it, as with a down block and its skips, or with `"name:1"` the second, and so on: the
            tokens of the picture in SD3's `"transformer_blocks.5:1"`, whose first are the text's.

    Raises:
        HspaceError: The network has no such module.

    Example:
        >>> from torch import nn
        >>> from hspace.models.tap import Tap
        >>> Tap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU()), "1").name
        '1'
    """

    def __init__(self, network: nn.Module, name: str = "mid_block") -> None:
        of_module, _, number = name.partition(":")
        of_module = _ALIASES.get(of_module, of_module)
        if number and not number.isdecimal():
            raise HspaceError(f"tap {name!r} must end in a number, as in {of_module}:1, to name an element of a tuple")
        self.module, self.reads_input = _resolve(network, of_module)
        self._element = int(number or 0)
        self.name = f"{of_module}:{self._element}" if self._element else of_module

    @contextmanager
    def hooked(self, hook: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
        """Calls `hook(h)` in every forward pass within the context; what it returns, if anything, replaces h.

        The hook is gone after the context, whatever happens in it.
        """

        def on_input(_: nn.Module, args: tuple[Any, ...]) -> Any:
            h = hook(self._h(args))
            return None if h is None else self._with(h, args)

        def on_output(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
            h = hook(self._h(output))
            return None if h is None else self._with(h, output)

        if self.reads_input:
            handle = self.module.register_forward_pre_hook(on_input)
        else:
            handle = self.module.register_forward_hook(on_output)
        try:
            yield
        finally:
            handle.remove()

    def _h(self, value: Any) -> Tensor:
        """The tensor itself or that of a tuple (a down block returns its skips with it)."""
        i = self._element
        if isinstance(value, (tuple, list)):
            if i >= len(value):
                raise HspaceError(f"tap {self.name!r}: there are {len(value)} elements, numbered from 0, not {i + 1}")
            h = value[i]
        elif i:
            raise HspaceError(f"tap {self.name!r} is no tuple but {type(value).__name__}: leave out the number")
        else:
            h = value
        if not isinstance(h, Tensor):
            raise HspaceError(f"tap {self.name!r} is no tensor but {type(h).__name__}: choose another module")
        return h

    def _with(self, h: Tensor, value: Any) -> Any:
        """The value with another h in it."""
        if not isinstance(value, (tuple, list)):
            return h
        items = [*value[: self._element], h, *value[self._element + 1 :]]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


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
