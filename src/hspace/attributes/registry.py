"""Scorers and regions by name: bundled ones, the user's own code, and transformers' models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, overload

import torch

from hspace.attributes.classifier import ImageClassifier
from hspace.attributes.clip import ZeroShot
from hspace.attributes.portraits import PortraitScorer
from hspace.attributes.protocol import Scorer
from hspace.device import put
from hspace.errors import HspaceError
from hspace.masks import Regions
from hspace.usercode import import_function, names_function

__all__ = ["REGIONS", "SCORERS", "load_regions", "load_scorer"]

SCORERS: dict[str, Path] = {"portraits": Path(__file__).with_name("weights") / "portrait_scorer.safetensors"}
"""File of each bundled scorer."""

REGIONS: dict[str, str] = {"portraits": "hspace.attributes.regions:portrait_regions"}
"""Function of each bundled set of regions."""


@overload
def load_scorer(
    name: Literal["portraits"] = ..., *, prompts: None = ..., device: str | torch.device | None = ...
) -> PortraitScorer: ...
@overload
def load_scorer(
    name: str | PathLike[str],
    *,
    prompts: Mapping[str, Sequence[str]] | None = ...,
    device: str | torch.device | None = ...,
) -> Scorer: ...
def load_scorer(
    name: str | PathLike[str] = "portraits",
    *,
    prompts: Mapping[str, Sequence[str]] | None = None,
    device: str | torch.device | None = None,
) -> Scorer:
    """Find a scorer: a callable that turns images into named scores.

    Args:
        name: One of

            * `"portraits"`, the bundled `PortraitScorer`, which reads the factors of `hspace.faces` from 64 x 64
              images;
            * `"package.module:function"` or `"file.py:function"`, your own, which is imported and returned, not
              called;
            * a folder or a hub id such as `"owner/name"` of a transformers model: an `ImageClassifier`, or with
              prompts `ZeroShot` CLIP.
        prompts: For CLIP only: for each attribute the pair (prompt of much of it, prompt of little of it).
        device: Where the scorer computes. Default: the CPU for "portraits", the GPU if there is one for transformers'
            models; your own functions stay where they are.

    Raises:
        HspaceError: There is no scorer of that name, or its files are damaged; no such module, file or function;
            transformers is missing; CLIP without prompts, or prompts for anything else. What the user's module raises
            itself when imported comes through.

    Example:
        >>> from hspace.attributes import load_scorer
        >>> load_scorer("portraits").training
        False
    """
    source = str(name)
    if source in SCORERS or names_function(source):
        if prompts is not None:
            raise HspaceError(f"prompts are for CLIP models; the scorer {source!r} takes none")
        if source in SCORERS:
            scorer = PortraitScorer.from_file(SCORERS[source])
            put(scorer, source, device)
            return scorer
        found: Scorer = import_function(source)
        return found
    if not Path(source).is_dir() and source.count("/") != 1:
        kind = "is a file" if Path(source).exists() else "no folder of that name"
        raise HspaceError(
            f"unknown scorer {source!r} ({kind}); bundled scorers: {', '.join(SCORERS)}; your own: module:function or "
            "file.py:function; transformers' models: a folder or a hub id owner/name; scores by seed: see read_scores"
        )
    return ImageClassifier(source, device) if prompts is None else ZeroShot(source, prompts, device)


def load_regions(name: str = "portraits") -> Regions:
    """Find a callable that turns pictures into named masks.

    Args:
        name: "portraits" knows the parts of the portraits of `hspace.faces`; `module:function` and `file.py:function`
            name your own, which is imported and returned, not called.

    Raises:
        HspaceError: There are no regions of that name, or no such module, file or function. What the user's module
            raises itself when imported comes through.

    Example:
        >>> from hspace.attributes import load_regions
        >>> load_regions("portraits").__name__
        'portrait_regions'
    """
    source = REGIONS.get(name, name)
    if not names_function(source):
        known = ", ".join(REGIONS)
        raise HspaceError(
            f"unknown regions {name!r}; bundled regions: {known}; your own: module:function or file.py:function"
        )
    found: Regions = import_function(source)
    return found
