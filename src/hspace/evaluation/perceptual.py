"""Distances by networks, where these are at hand: CLIP, LPIPS, or a function of the user's own."""

from __future__ import annotations

import torch
from torch import Tensor

from hspace.attributes import ClipEmbedding
from hspace.device import default_device
from hspace.errors import HspaceError
from hspace.evaluation.content import Distance, of_features
from hspace.usercode import import_function, names_function

__all__ = ["load_distance"]


def load_distance(name: str, *, device: str | torch.device | None = None) -> tuple[str, Distance]:
    """A distance between pictures, and what it is called.

    Args:
        name: One of

            * `"clip:MODEL"`, 1 - cosine of the embeddings of a transformers CLIP model, a folder or a hub id;
            * `"lpips"`, or `"lpips:NET"` with `alex`, `vgg` or `squeeze` (Zhang et al., arXiv 1801.03924), by the
              package `lpips`, which has to be installed with torchvision and its weights;
            * `"package.module:function"` or `"file.py:function"`, your own: pairs of pictures (n, c, y, x) in [-1, 1]
              to n numbers.
        device: Where networks compute. Default: the GPU if there is one.

    Raises:
        HspaceError: There is no such distance, package, model or function.

    Example:
        >>> from hspace.evaluation import load_distance
        >>> load_distance("far")
        Traceback (most recent call last):
        hspace.errors.HspaceError: no distance 'far': expected clip:MODEL, lpips or module:function
    """
    kind, _, what = name.partition(":")
    if kind == "clip" and what:
        return "clip", of_features(ClipEmbedding(what, device))
    if kind == "lpips":
        return "lpips", _lpips(what or "alex", default_device() if device is None else device)
    if names_function(name):
        return what, import_function(name)
    raise HspaceError(f"no distance {name!r}: expected clip:MODEL, lpips or module:function")


def _lpips(net: str, device: str | torch.device) -> Distance:
    if net not in ("alex", "vgg", "squeeze"):
        raise HspaceError(f"LPIPS has the networks alex, vgg and squeeze, not {net!r}")
    try:
        import lpips

        network = lpips.LPIPS(net=net, verbose=False).to(device).eval()
    except Exception as error:  # the package, torchvision, or weights that would have to be downloaded are missing
        raise HspaceError(f"LPIPS needs the packages lpips and torchvision, and their weights ({error})") from error

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = network(a.to(device), b.to(device)).flatten().cpu()
        return found

    return distance
