"""Tiny real models of transformers with random weights, saved as save_pretrained does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, ViTConfig, ViTForImageClassification
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil  # needs no torchvision
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def randomized(model: Any) -> Any:
    """Weights large enough that pictures differ in their scores."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 0 and "norm" not in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model.eval()


def save_classifier(folder: Path, labels: list[str], **options: Any) -> Path:
    config = ViTConfig(**SIZES, image_size=16, patch_size=8, id2label=dict(enumerate(labels)), **options)
    randomized(ViTForImageClassification(config)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def tokenizer(**options: Any) -> CLIPTokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz"
    entries = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    merges = [("s", "m"), ("f", "a"), ("fa", "c")]
    entries += ["".join(pair) for pair in merges]
    return CLIPTokenizer(vocab={entry: i for i, entry in enumerate(entries)}, merges=merges, **options)


def save_clip(folder: Path) -> Path:
    text = SIZES | {"vocab_size": 57, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 1}
    vision = SIZES | {"image_size": 16, "patch_size": 8}
    config = CLIPConfig(text_config=text | {"pad_token_id": 1}, vision_config=vision, projection_dim=8)
    randomized(CLIPModel(config)).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def in_hub_cache(cache: Path, folder: Path, hub_id: str, revision: str = "0" * 40) -> None:
    """A folder as the hub's client keeps what it has downloaded."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision, encoding="utf-8")
    shutil.copytree(folder, repository / "snapshots" / revision)
