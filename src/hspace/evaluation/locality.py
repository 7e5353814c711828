"""Where in the picture an edit acts."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from hspace.errors import HspaceError

__all__ = ["inside_share"]


def inside_share(
    plain: Float[Tensor, "n c h w"], edited: Float[Tensor, "n c h w"], masks: Shaped[Tensor, "m y x"]
) -> Float[Tensor, " n"]:
    r"""Share of the squared pixel change of an edit that lies inside a mask.

    $$ \frac{\sum_{c,y,x} M_{yx}\,(x'_{cyx} - x_{cyx})^2}{\sum_{c,y,x} (x'_{cyx} - x_{cyx})^2} $$

    A picture that the edit left exactly as it was has no such share: it is an error, neither 0 nor 1, since an edit
    without any effect is a mistake somewhere else.

    Args:
        plain: Pictures, shape (n, c, h, w).
        edited: The same pictures edited, same shape.
        masks: In [0, 1] (soft masks weigh) or bool, shape (n, h, w), or (1, h, w) for all pictures; at the size of the
            pictures, of latent models too.

    Returns:
        Shape (n,), in [0, 1], float64, on the CPU.

    Raises:
        HspaceError: The shapes don't match, the pictures are not finite, the masks leave [0, 1], or a picture is
            unchanged (its row is named).

    Example:
        >>> import torch
        >>> from hspace.evaluation import inside_share
        >>> left = torch.zeros(1, 4, 4)
        >>> left[:, :, :1] = 1.0
        >>> inside_share(torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4), left)
        tensor([0.2500, 0.2500], dtype=torch.float64)
    """
    if edited.shape != plain.shape:
        raise HspaceError(f"edited pictures have shape {tuple(edited.shape)}, expected {tuple(plain.shape)}")
    n, _, h, w = plain.shape
    if masks.shape not in ((1, h, w), (n, h, w)):
        raise HspaceError(f"masks have shape {tuple(masks.shape)}, expected {(1, h, w)} or {(n, h, w)}")
    masks = masks.detach().to("cpu", torch.float64)
    if not ((masks >= 0) & (masks <= 1)).all():  # NaN fails too
        raise HspaceError("masks must lie in [0, 1]")
    before, after = (x.detach().to("cpu", torch.float64) for x in (plain, edited))
    change = (after - before).square().sum(1)  # (n, h, w)
    if not change.isfinite().all():
        raise HspaceError("plain or edited pictures hold values that are not finite")
    total = change.sum((1, 2))
    if (total == 0).any():
        raise HspaceError(f"edited picture {int((total == 0).nonzero()[0])} is the plain one: no change to locate")
    return (change * masks).sum((1, 2)) / total
