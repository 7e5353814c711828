"""Files where a folder is expected: what somebody has who has but one, and how it becomes a folder."""

from __future__ import annotations

from pathlib import Path

from hspace.models.bundled import BUNDLED
from hspace.models.weightfiles import tensor_names

__all__ = ["not_a_folder"]

_WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_OF_LORA = ("lora_", ".lora.", "lora.", "_lora")
_CONVERT = "`hspace convert {file} FOLDER` makes one of a checkpoint in the layout of its original code"
_FROM_SINGLE_FILE = (
    "diffusers' StableDiffusionPipeline.from_single_file and save_pretrained make one of Stable Diffusion's"
)


def not_a_folder(file: Path) -> str:
    """What to do with a file that was given for a model.

    Example:
        >>> from pathlib import Path
        >>> from hspace.models.singlefile import not_a_folder
        >>> not_a_folder(Path("notes.txt"))
        "notes.txt is a file; a model is a folder in diffusers' layout, a hub id or one of faces64"
    """
    known = f"{file} is a file; a model is a folder in diffusers' layout, a hub id or one of {', '.join(BUNDLED)}"
    if file.suffix not in _WEIGHTS:
        return known
    if (file.parent / "config.json").is_file():
        return f"{known}: give the folder that it is in"
    names = tensor_names(file) if file.suffix == ".safetensors" else []
    if any(part in name for part in _OF_LORA for name in names):
        return f"{file} is a LoRA: load it into its pipeline (load_lora_weights) and give that pipeline to hspace.load"
    if any(name.startswith("model.diffusion_model.") for name in names):
        return f"{known}: {_FROM_SINGLE_FILE}"
    return f"{known}: {_CONVERT.format(file=file)}; {_FROM_SINGLE_FILE}"
