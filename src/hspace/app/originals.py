"""Pictures without an edit, kept for the before of a before and after."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from weakref import WeakKeyDictionary

from jaxtyping import Float
from torch import Tensor

from hspace.diffusion import Inversion

__all__ = ["Originals"]


class Originals:
    """The pictures last asked for, by any thread.

    Those of seeds are for everybody, by (preview, seed, prompt) or the like. Those of a photo are known by its
    inversion, and go when it goes.

    Args:
        most: Pictures of seeds in memory.

    Example:
        >>> import torch
        >>> from hspace.app.originals import Originals
        >>> originals = Originals(most=1)
        >>> for seed in range(2):
        ...     originals.put((False, seed), torch.full((1, 3, 8, 8), float(seed)))
        >>> originals.get((False, 0)) is None, originals.get((False, 1)).mean().item()
        (True, 1.0)
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._of_seeds: OrderedDict[tuple[Hashable, ...], Tensor] = OrderedDict()
        self._of_photos: WeakKeyDictionary[Inversion, Tensor] = WeakKeyDictionary()

    def get(self, key: tuple[Hashable, ...] | Inversion) -> Float[Tensor, "1 c y x"] | None:
        """A copy, which the caller may change; None where there is none."""
        with self._lock:
            if isinstance(key, Inversion):
                found = self._of_photos.get(key)
            elif (found := self._of_seeds.get(key)) is not None:
                self._of_seeds.move_to_end(key)
            return None if found is None else found.clone()

    def put(self, key: tuple[Hashable, ...] | Inversion, picture: Float[Tensor, "1 c y x"]) -> None:
        """Keep a copy; of seeds, the one not asked for the longest goes."""
        with self._lock:
            if isinstance(key, Inversion):
                self._of_photos[key] = picture.clone()
                return
            self._of_seeds[key] = picture.clone()
            self._of_seeds.move_to_end(key)
            while len(self._of_seeds) > self._most:
                self._of_seeds.popitem(last=False)
