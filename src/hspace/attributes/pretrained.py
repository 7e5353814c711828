"""transformers' networks: loading them whole or not at all, and pictures as their processors want them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from hspace.attributes.repository import Checkpoint
from hspace.device import default_device, put
from hspace.errors import HspaceError
from hspace.hub import short

__all__ = ["Pretrained", "as_bytes", "transformers_package"]

_CHUNK = 32  # images at a time: at 224 x 224 a ViT-L's activations stay below 1 GB
_TOKENIZERS = ("tokenizer.json", "vocab.json")  # without them transformers makes one that knows no words


def transformers_package() -> ModuleType:
    """The package, which is an extra.

    Raises:
        HspaceError: It isn't installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise HspaceError(
            f"image classifiers and CLIP need transformers ({error}): pip install 'hspace[transformers]'"
        ) from error
    package: ModuleType = transformers
    return package


class Pretrained:
    """A network of transformers with its image processor: float32, eval mode, weights without gradients.

    Args:
        checkpoint: Where it is; its weights are downloaded if need be.
        loader: transformers' class that loads the network, such as `"CLIPModel"`.
        tokenizer: Whether it reads text too.
        device: Default: the GPU if there is one.

    Raises:
        HspaceError: transformers is missing; the weights are unreadable or incomplete; there is no image processor or
            no tokenizer; the network needs code from the repository, which isn't run.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        loader: str,
        *,
        tokenizer: bool = False,
        device: str | torch.device | None = None,
    ) -> None:
        package = transformers_package()
        folder = checkpoint.complete()
        self.name = checkpoint.name
        if tokenizer and not any((folder / file).is_file() for file in _TOKENIZERS):
            raise HspaceError(f"{self.name}: no tokenizer: expected {' or '.join(_TOKENIZERS)}")
        with _quiet(package):
            self.processor = self._load(package.AutoImageProcessor, folder, "the image processor")
            self.tokenizer = self._load(package.AutoTokenizer, folder, "the tokenizer") if tokenizer else None
            network, info = self._load(getattr(package, loader), folder, "the network", output_loading_info=True)
        lacking = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
        if lacking:  # transformers would go on with random numbers
            raise HspaceError(
                f"{self.name}: the weights lack {len(lacking)} that {type(network).__name__} needs: {lacking[0]}, ..."
            )
        self.network = network.float().eval().requires_grad_(False)
        put(self.network, self.name, default_device() if device is None else device)
        self.device = next(self.network.parameters()).device

    def table(
        self, images: Float[Tensor, "n c h w"], compute: Callable[[Tensor], Tensor], columns: int
    ) -> Float[Tensor, "n k"]:
        """What `compute` makes of the processed pictures, some at a time: float32, on the device of the images.

        Args:
            images: RGB or grey in [-1, 1].
            compute: From pixel values (b, 3, y, x) to (b, columns).
            columns: k.

        Raises:
            HspaceError: The images have another shape, are no floats or not finite.
        """
        pictures = as_bytes(images)
        rows = [torch.zeros(0, columns)]  # of no pictures there are no scores
        with torch.inference_mode():
            for i in range(0, len(pictures), _CHUNK):
                values = self.processor(
                    list(pictures[i : i + _CHUNK]), return_tensors="pt", input_data_format="channels_last"
                )["pixel_values"]
                rows.append(compute(values.to(self.device, torch.float32)).float().cpu())
        return torch.cat(rows).to(images.device)

    def _load(self, auto: Any, folder: Any, what: str, **options: Any) -> Any:
        try:
            return auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
        except Exception as error:  # truncated, wrong shapes, not there: each part has its own kinds
            raise HspaceError(f"{self.name}: {what} can't be loaded ({short(error)})") from error


def as_bytes(images: Tensor) -> UInt8[NDArray[np.uint8], "n h w 3"]:
    """Pictures as bytes, what processors are made for; grey ones become RGB, numbers beyond [-1, 1] are clipped.

    Raises:
        HspaceError: The images have another shape, are no floats or not finite.

    Example:
        >>> import torch
        >>> from hspace.attributes.pretrained import as_bytes
        >>> as_bytes(torch.tensor([-1.0, 0.0, 1.5]).reshape(3, 1, 1, 1))[:, 0, 0, 0].tolist()
        [0, 128, 255]
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise HspaceError(f"expected images of shape (n, 3, h, w) or (n, 1, h, w), not {tuple(images.shape)}")
    if not images.is_floating_point():
        raise HspaceError(f"expected float images in [-1, 1], not {images.dtype}")
    finite = images.isfinite().flatten(1).all(1)
    if not finite.all():
        first = int(finite.int().argmin())
        raise HspaceError(f"picture {first + 1} of {len(images)} holds NaN or infinite numbers")
    pixels = ((images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte().expand(-1, 3, -1, -1)
    found: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    return found


@contextmanager
def _quiet(package: ModuleType) -> Iterator[None]:
    """Neither progress bars for reading a file nor reports of what is checked here and raised."""
    logging = package.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
