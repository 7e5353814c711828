"""Converted checkpoints of guided-diffusion and its relatives compute what the original computes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from tests.models.formats.originals.guided import UNetModel, sinusoids
from tests.models.formats.originals.saving import made, save, state, x_t
from torch import Tensor, nn

import hspace
from hspace.errors import HspaceError
from hspace.models import convert
from hspace.models.formats import guided
from hspace.models.formats.accounting import account
from hspace.models.formats.layout import Checkpoint, build
from hspace.models.networks import GuidedUNet2DModel

TIMES = (0, 1, 500, 999)
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain, one head": ({}, {"heads": 1}),
    "heads of 16, old order": ({"num_head_channels": 16}, {"head_channels": 16}),
    "heads of 16, new order": (
        {"num_head_channels": 16, "use_new_attention_order": True},
        {"head_channels": 16, "new_attention_order": True},
    ),
    "P2: scale and shift, residual blocks up and down, learned variance": (
        {
            "num_head_channels": 16,
            "use_scale_shift_norm": True,
            "resblock_updown": True,
            "out_channels": 6,
            "channel_mult": (1, 1, 2),
            "attention_resolutions": (2,),
        },
        {"head_channels": 16},
    ),
    "residual blocks up and down, attention on the last level": (
        {"num_head_channels": 32, "resblock_updown": True, "channel_mult": (1, 1, 2), "attention_resolutions": (4,)},
        {"head_channels": 32},
    ),
    "ADM 256: attention on three levels": (
        {
            "num_head_channels": 16,
            "use_scale_shift_norm": True,
            "resblock_updown": True,
            "out_channels": 6,
            "num_res_blocks": 2,
            "channel_mult": (1, 2, 2),
            "attention_resolutions": (1, 2, 4),
        },
        {"head_channels": 16},
    ),
    "ADM 128: four heads on levels of different width": (
        {"num_heads": 4, "use_scale_shift_norm": True, "channel_mult": (1, 2, 3), "attention_resolutions": (1, 2, 4)},
        {"heads": 4},
    ),
    "ADM 512: a first level of half the width": (
        {"model_channels": 64, "channel_mult": (0.5, 1, 1), "num_head_channels": 16, "resblock_updown": True},
        {"head_channels": 16},
    ),
    "attention in the middle only": ({"attention_resolutions": ()}, {"heads": 1}),
    "one level": ({"channel_mult": (1,), "attention_resolutions": ()}, {"heads": 1}),
}


class Waves(nn.Module):
    """The original's sinusoids, which diffusers rounds otherwise (in float32, both)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, t: Tensor) -> Tensor:
        return sinusoids(t, self.width)


@pytest.mark.parametrize(("original", "options"), VARIANTS.values(), ids=VARIANTS.keys())
def test_the_network_computes_what_the_original_computes(
    tmp_path: Path, original: dict[str, Any], options: dict[str, Any]
) -> None:
    reference: Any = made(lambda: UNetModel(**original))
    done = convert(save(state(reference), tmp_path / "model.pt"), tmp_path / "out", image_size=16, **options)
    model = hspace.load(tmp_path / "out", device="cpu", dtype=torch.float64)
    network: Any = model.network
    assert (done.format, done.parameters) == ("guided-diffusion", sum(p.numel() for p in reference.parameters()))
    assert model.image_shape == (3, 16, 16)
    with torch.no_grad():
        expected = [reference(x_t(), torch.full((2,), t)) for t in TIMES]
        found = [network(x_t(), torch.full((2,), t)).sample for t in TIMES]
        eps = model.predict(x_t(), 500).eps
        network.time_proj = Waves(reference.model_channels)
        exact = [network(x_t(), torch.full((2,), t)).sample for t in TIMES]
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(eps, expected[2][:, :3], rtol=0, atol=1e-4)


def test_class_labels_become_diffusers_labels(tmp_path: Path) -> None:
    reference = made(lambda: UNetModel(num_classes=5))
    convert(save(state(reference), tmp_path / "model.pt"), tmp_path / "out", image_size=16, heads=1)
    network: Any = UNet2DModel.from_pretrained(tmp_path / "out" / "unet", low_cpu_mem_usage=False).double()
    labels, t = torch.tensor([0, 4]), torch.tensor([0, 0])
    with torch.no_grad():
        found, expected = network(x_t(), t, labels).sample, reference(x_t(), t, labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_rescaled_timesteps(tmp_path: Path) -> None:
    """improved-diffusion: 4000 timesteps, of which the network sees a quarter."""
    reference = made(UNetModel)
    file = save(state(reference), tmp_path / "model.pt")
    options: dict[str, Any] = {"train_timesteps": 4000, "schedule": "cosine", "rescale_timesteps": True}
    done = convert(file, tmp_path / "out", image_size=16, heads=1, **options)
    model = hspace.load(tmp_path / "out", device="cpu", dtype=torch.float64)
    bar = [math.cos((u / 4000 + 0.008) / 1.008 * math.pi / 2) ** 2 for u in range(4001)]
    expected = torch.tensor(bar[1:], dtype=torch.float64) / bar[0]
    assert (done.network, done.notes) == (
        "GuidedUNet2DModel",
        ("assumed, since the file doesn't say: a prediction of eps",),
    )
    torch.testing.assert_close(model.alphas_cumprod[:3900], expected[:3900], rtol=1e-3, atol=1e-7)
    for t in (0, 2001, 3999):
        with torch.no_grad():
            found = model.network(x_t(), torch.full((2,), t)).sample
            torch.testing.assert_close(found, reference(x_t(), torch.full((2,), t * 0.25)), rtol=0, atol=1e-4)


def test_the_bundled_model_as_if_from_the_original_code(tmp_path: Path) -> None:
    """faces64 has guided-diffusion's arithmetic: renamed to its names, its weights come back the same."""
    faces: Any = hspace.load("faces64", device="cpu")
    reference = UNetModel(
        32, num_res_blocks=2, channel_mult=(1, 2, 4, 4), attention_resolutions=(8,), num_head_channels=32
    )
    options = {"image_size": 64, "head_channels": 32}
    plan = guided.blueprint(Checkpoint("faces64", reference.state_dict()), options)
    weights = faces.network.state_dict()
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        module, _, kind = name.rpartition(".")
        key = f"{plan.origins[module].module}.{kind}"
        if module.endswith("to_q"):  # each head's q, k, v side by side
            three = [weights[name.replace("to_q", part)].unflatten(0, (4, 32)) for part in ("to_q", "to_k", "to_v")]
            renamed[key] = torch.cat(three, dim=1).flatten(0, 1)
        elif not module.endswith(("to_k", "to_v")):
            renamed[key] = tensor
    reference.load_state_dict({key: renamed[key].reshape(x.shape) for key, x in reference.state_dict().items()})
    convert(save(reference.state_dict(), tmp_path / "faces64.pt"), tmp_path / "out", image_size=64, head_channels=32)
    model = hspace.load(tmp_path / "out", device="cpu")
    assert model.weight_hash == faces.weight_hash
    x = x_t(size=64, n=1).float()
    with torch.no_grad():
        original, ours = reference(x, torch.tensor([300])), model.network(x, torch.tensor([300])).sample
        bundled = faces.network(x, torch.tensor([300])).sample
    torch.testing.assert_close(ours, bundled, rtol=0, atol=1e-5)  # last bits depend on where weights lie in memory
    torch.testing.assert_close(ours, original, rtol=0, atol=1e-4)


PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "P2 and its kin at 256": (
        {"model_channels": 128, "channel_mult": (1, 1, 2, 2, 4, 4), "attention_resolutions": (16,)},
        {"num_res_blocks": 1, "num_head_channels": 64, "out_channels": 6},
        "UNet2DModel",
    ),
    "ADM at 256": (
        {"model_channels": 256, "channel_mult": (1, 1, 2, 2, 4, 4), "attention_resolutions": (8, 16, 32)},
        {"num_res_blocks": 2, "num_head_channels": 64, "out_channels": 6},
        "UNet2DModel",
    ),
    "ADM at 512": (
        {"model_channels": 256, "channel_mult": (0.5, 1, 1, 2, 2, 4, 4), "attention_resolutions": (16, 32, 64)},
        {"num_res_blocks": 2, "num_head_channels": 64, "out_channels": 6, "num_classes": 1000},
        "GuidedUNet2DModel",
    ),
    "ADM at 128": (
        {"model_channels": 256, "channel_mult": (1, 1, 2, 3, 4), "attention_resolutions": (4, 8, 16)},
        {"num_res_blocks": 2, "num_heads": 4, "out_channels": 6, "num_classes": 1000},
        "GuidedUNet2DModel",
    ),
    "ADM at 64": (
        {"model_channels": 192, "channel_mult": (1, 2, 3, 4), "attention_resolutions": (2, 4, 8)},
        {"num_res_blocks": 3, "num_head_channels": 64, "out_channels": 6, "num_classes": 1000},
        "UNet2DModel",
    ),
}


@pytest.mark.parametrize(("body", "rest", "network"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_published_architectures_are_accounted_for(body: dict[str, Any], rest: dict[str, Any], network: str) -> None:
    """At full size, without memory for the weights: names, shapes and number of all."""
    with torch.device("meta"):
        original = UNetModel(**body, **rest, use_scale_shift_norm=True, resblock_updown=True)
    options = {"image_size": 64, **({"heads": 4} if "num_heads" in rest else {"head_channels": 64})}
    zeros = {name: torch.zeros(()).expand(x.shape) for name, x in original.state_dict().items()}
    plan = guided.blueprint(Checkpoint("model.pt", zeros), options)
    built = build(plan)
    assert plan.network == network
    assert isinstance(built, GuidedUNet2DModel if network == "GuidedUNet2DModel" else UNet2DModel)
    assert sum(p.numel() for p in built.parameters()) == sum(p.numel() for p in original.parameters())
    shapes = {name: x.shape for name, x in built.state_dict().items()}
    small = {name: shape for name, shape in shapes.items() if shape.numel() < 300_000}  # those that are cheap to copy
    with pytest.raises(HspaceError, match=f"{len(zeros) - len(set(_keys(plan, small)))} left over"):
        account(Checkpoint("model.pt", zeros), plan, small)
    assert set(_keys(plan, shapes)) == set(zeros)


def _keys(plan: Any, shapes: dict[str, Any]) -> list[str]:
    found = []
    for name in shapes:
        module, _, kind = name.rpartition(".")
        found.append(f"{plan.origins[module].module}.{kind}")
    return found


@pytest.mark.parametrize(
    ("original", "options", "message"),
    [
        ({}, {"heads": 1}, "doesn't say how large its pictures are"),
        ({}, {"image_size": 16}, "doesn't say into how many heads attention is split: give either"),
        ({}, {"image_size": 16, "heads": 1, "head_channels": 8}, "into how many heads attention is split: give either"),
        ({}, {"image_size": 16, "heads": 3}, "attention over 64 channels can't be split into 3 heads"),
        ({}, {"image_size": 16, "heads": 0}, "attention over 64 channels can't be split into 0 heads"),
        ({}, {"image_size": 16, "head_channels": 48}, "can't be split into heads of 48 channels"),
        ({}, {"image_size": 16, "head_channels": 0}, "can't be split into heads of 0 channels"),
        ({"in_channels": 6}, {"image_size": 16, "heads": 1}, r"6 channels in, 3 out: .*upsamplers.* not supported"),
        (
            {"in_channels": 6, "out_channels": 6},
            {"image_size": 16, "heads": 1},
            r"6 channels in, 6 out: .*upsamplers.* not supported",
        ),
        ({}, {"image_size": 16, "heads": 1, "package_version": "1.5.4"}, "package_version: no option of guided"),
    ],
)
def test_what_is_not_supported_or_not_said(
    tmp_path: Path, original: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    file = save(state(made(lambda: UNetModel(**original))), tmp_path / "model.pt")
    with pytest.raises(HspaceError, match=message):
        convert(file, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("output_blocks")], "a classifier, not a denoiser"),
        (
            lambda s: [s.pop(k) for k in list(s) if ".op." in k or ".conv." in k],
            "missing|without convolution is not supported",
        ),
        (lambda s: s.pop("middle_block.1.qkv.bias"), r"1 missing \(middle_block\.1\.qkv\.bias\)"),
        (
            lambda s: s.update({"middle_block.1.qkv.weight": torch.zeros(190, 64, 1)}),
            r"middle_block\.1\.qkv\.weight: expected shape \(64, 64\), found \(190, 64, 1\)",
        ),
        (
            lambda s: s.update({"middle_block.0.skip_connection.weight": torch.zeros(1)}),
            r"1 left over \(middle_block\.0\.skip_connection\.weight\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: Any, message: str) -> None:
    tensors = state(made(UNetModel))
    change(tensors)
    with pytest.raises(HspaceError, match=message):
        convert(save(tensors, tmp_path / "model.pt"), tmp_path / "out", image_size=16, heads=1)
