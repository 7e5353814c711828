"""Networks of classes: a UNet2DModel with a class embedding, with learned variance, and guided-diffusion's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from tests import pipelines, tiny
from torch import Tensor

import hspace
from hspace.errors import HspaceError
from hspace.models import Condition
from hspace.models.networks import GuidedUNet2DModel

CLASSES = 3
X_T = torch.randn(2, *tiny.IMAGE_SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("out_channels", [3, 6])
@pytest.mark.parametrize("label", range(CLASSES))
def test_the_network_gets_its_class(label: int, out_channels: int) -> None:
    """The second half of the channels of a network with learned variance is left out."""
    pipe = pipelines.ddim(num_class_embeds=CLASSES, out_channels=out_channels)
    model = hspace.load(pipe, "cpu", label=label)
    for timestep in (0, 40, 99):
        output = pipe.unet(X_T, timestep, class_labels=torch.full((2,), label)).sample[:, :3]
        assert torch.equal(model.predict(X_T, timestep).eps, output)
        assert torch.equal(model.decode(model.encode(X_T, timestep)).eps, output)


def test_a_run_is_that_of_the_scheduler() -> None:
    pipe = pipelines.ddim(num_class_embeds=CLASSES)
    sampler = hspace.Sampler(hspace.load(pipe, "cpu", label=2), 4, 0.0, spacing="leading")
    x_t = sampler.latents(range(2)).x_T()
    scheduler: Any = pipe.scheduler
    scheduler.set_timesteps(4)
    for timestep in scheduler.timesteps:
        with torch.no_grad():
            eps = pipe.unet(x_t, timestep, class_labels=torch.tensor([2, 2])).sample
        x_t = scheduler.step(eps, timestep, x_t, eta=0.0).prev_sample
    torch.testing.assert_close(sampler.run(range(2)), x_t, rtol=0, atol=1e-5 * float(x_t.abs().max()))


def test_classes_are_different_and_a_direction_of_one_moves_another() -> None:
    model = hspace.load(pipelines.ddim(num_class_embeds=CLASSES), "cpu", label=0)
    sampler = hspace.Sampler(model, 3, 0.0)
    direction = hspace.PCA(1).fit(sampler, range(6)).directions_[0]
    assert direction.setting.condition == Condition(label=0)
    runs: list[Tensor] = []
    for label in range(CLASSES):
        other = hspace.Sampler(model.conditioned(label=label), 3, 0.0)
        plain, moved = other.run([4]), other.run([4], 3.0 * direction)
        assert (moved - plain).abs().max() > 1e-3
        assert all((plain - seen).abs().max() > 1e-3 for seen in runs)
        runs.append(plain)


def test_guided_diffusions_network_in_a_folder(tmp_path: Path) -> None:
    """As hspace convert writes it: of classes, with learned variance."""
    network = GuidedUNet2DModel(
        num_attention_heads=2,
        num_class_embeds=CLASSES,
        sample_size=8,
        out_channels=6,
        block_out_channels=(4, 8),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()
    network.save_pretrained(tmp_path / "adm" / "unet")
    tiny.scheduler().save_pretrained(tmp_path / "adm" / "scheduler")
    model = hspace.load(tmp_path / "adm", "cpu", label=1)
    with torch.no_grad():
        expected = network(X_T, 50, class_labels=torch.tensor([1, 1])).sample[:, :3]
    torch.testing.assert_close(model.predict(X_T, 50).eps, expected, rtol=0, atol=1e-5)


def test_without_a_class_the_first_pass_says_so() -> None:
    """Opening a model asks for none: a recipe may bring it."""
    model = hspace.load(pipelines.ddim(num_class_embeds=CLASSES), "cpu")
    assert model.condition is None
    with pytest.raises(HspaceError, match=r"UNet2DModel needs a class, label 0 to 2: give it to hspace\.load"):
        hspace.Sampler(model, 2).run([0])
    assert model.conditioned(label=1).condition == Condition(label=1)


ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "too high": ({"label": 3}, "takes a class, label 0 to 2; found 3"),
    "too low": ({"label": -1}, "takes a class, label 0 to 2; found -1"),
    "none": ({"guidance_scale": 1.0}, "takes a class, label 0 to 2; found none"),
    "a prompt": ({"prompt": "a cat"}, "takes no prompt, but a class, label 0 to 2"),
    "a negative prompt": ({"label": 1, "negative_prompt": "a cat"}, "takes no prompt"),
    "guidance": ({"label": 1, "guidance_scale": 2.0}, "no class for 'none' to guide against: guidance_scale must be 1"),
}


@pytest.mark.parametrize(("asked", "message"), ASKED.values(), ids=ASKED.keys())
def test_what_can_not_be_asked_for(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        hspace.load(pipelines.ddim(num_class_embeds=CLASSES), "cpu", **asked)


@pytest.mark.parametrize("kind", ["timestep", "identity"])
def test_other_embeddings_of_classes_are_refused(kind: str) -> None:
    unet = tiny.unet(class_embed_type=kind)
    with pytest.raises(HspaceError, match=f"UNet2DModel: a class embedding of type '{kind}' isn't supported"):
        hspace.load((unet, DDIMScheduler()))
