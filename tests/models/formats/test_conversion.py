"""Files of every kind, folders that appear whole or not at all, one clear line where it can't be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMPipeline
from safetensors.torch import save_file
from tests import tiny
from tests.models.formats.originals.ddpm import Model
from tests.models.formats.originals.guided import UNetModel
from tests.models.formats.originals.saving import made, save, state, x_t

import hspace
from hspace.errors import HspaceError
from hspace.models import convert
from hspace.models.formats import conversion

TENSORS = state(made(lambda: Model(16)))
OTHERS = {name: tensor + 1 for name, tensor in TENSORS.items()}
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(1)}}, "param_groups": [{"lr": 1e-4}]}


def wrapped(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


FILES: dict[str, Any] = {
    "SDEdit: the tensors": TENSORS,
    "DDIM: a list, its last the moving average": [wrapped("module.", OTHERS), OPTIMIZER, 3, 1000, TENSORS],
    "DDIM without a moving average": [wrapped("module.", TENSORS), OPTIMIZER, 3, 1000],
    "under a name": {"state_dict": TENSORS, "epoch": 3},
    "both under names": {"model": OTHERS, "ema": TENSORS, "opt": OPTIMIZER},
    "compiled": wrapped("_orig_mod.", TENSORS),
    "half precision": {name: tensor.half() for name, tensor in TENSORS.items()},
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_wherever_in_the_file_the_weights_are(tmp_path: Path, content: Any) -> None:
    convert(save(content, tmp_path / "model.pth"), tmp_path / "out", image_size=16)
    model = hspace.load(tmp_path / "out", device="cpu")
    found = model.network.state_dict()["conv_in.weight"]
    torch.testing.assert_close(found, TENSORS["conv_in.weight"], rtol=0, atol=1e-3)
    assert found.dtype == torch.float32


def test_safetensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    convert(tmp_path / "model.safetensors", tmp_path / "out", image_size=16)
    assert hspace.load(tmp_path / "out", device="cpu").image_shape == (3, 16, 16)


def test_weights_of_the_last_step_on_request(tmp_path: Path) -> None:
    file = save({"model": OTHERS, "ema": TENSORS}, tmp_path / "model.pt")
    convert(file, tmp_path / "out", image_size=16, weights="model")
    found = hspace.load(tmp_path / "out", device="cpu").network.state_dict()
    assert torch.equal(found["conv_in.weight"], OTHERS["conv_in.weight"])


def test_diffusers_itself_opens_the_folder(tmp_path: Path) -> None:
    convert(save(TENSORS, tmp_path / "model.pt"), tmp_path / "out", image_size=16)
    pipeline = DDIMPipeline.from_pretrained(tmp_path / "out", low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 16, 16, 3)
    model = hspace.load(pipeline)
    assert model.weight_hash == hspace.load(tmp_path / "out", device="cpu").weight_hash


def test_strength_0_is_the_converted_model_and_a_direction_moves_it(tmp_path: Path) -> None:
    file = save(state(made(lambda: UNetModel(out_channels=6, resblock_updown=True))), tmp_path / "model.pt")
    convert(file, tmp_path / "out", image_size=16, heads=4)
    model = hspace.load(tmp_path / "out", device="cpu", dtype=torch.float64)
    sampler = hspace.Sampler(model, steps=3, eta=1.0)
    directions = hspace.PCA(2).fit(sampler, seeds=range(6)).directions_
    plain = sampler.run([0, 1])
    assert torch.equal(plain, sampler.run([0, 1], edit=0.0 * directions["pc0"]))
    assert not torch.equal(plain, sampler.run([0, 1], edit=2.0 * directions["pc0"]))
    assert not (tmp_path / "out" / "model_index.json").exists()  # no pipeline of diffusers knows a learned variance


class Anything:
    """What would be run by an unpickler that runs things."""


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "an object": ({"model": TENSORS, "args": Anything()}, {}, "holds other objects than tensors"),
    "no tensors": ({"epoch": 3}, {}, "expected a checkpoint with named tensors, found entries epoch"),
    "a number": (3, {}, "expected a checkpoint with named tensors, found a int"),
    "another network": (
        {"features.0.weight": torch.zeros(1)},
        {},
        r"expected a checkpoint of DDPM-PyTorch, .*, found tensors features\.0\.weight",
    ),
    "a diffusers network": (tiny.unet().state_dict(), {}, "found tensors conv_in.bias, conv_in.weight"),
    "no moving average": (TENSORS, {"weights": "ema"}, "has no 'ema' weights, only model"),
    "an unknown schedule": (TENSORS, {"schedule": "square"}, "schedule must be one of linear, cosine, sigmoid"),
    "an unknown prediction": (TENSORS, {"prediction_type": "x"}, "prediction_type must be one of epsilon"),
    "few timesteps": (TENSORS, {"train_timesteps": 20}, "train_timesteps must be more than 20, not 20"),
    "a size of 0": (TENSORS, {"image_size": 0}, "image_size must be at least 1, not 0"),
    "an option of others": (TENSORS, {"heads": 4}, "heads: no option of DDPM-PyTorch checkpoints"),
    "something around it": (
        wrapped("model.", TENSORS) | {"first_stage_model.weight": torch.zeros(1)},
        {},
        r"1 left over \(first_stage_model\.weight\)",
    ),
}


@pytest.mark.parametrize(("content", "options", "message"), BAD.values(), ids=BAD.keys())
def test_one_clear_line(tmp_path: Path, content: Any, options: dict[str, Any], message: str) -> None:
    file = save(content, tmp_path / "model.pt")
    with tiny.unchecked_types(), pytest.raises(HspaceError, match=message) as raised:
        convert(file, tmp_path / "out", **{"image_size": 16, **options})
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_cannot_be_read(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    with pytest.raises(HspaceError, match="expected a checkpoint file, found nothing"):
        convert(file, tmp_path / "out")
    with pytest.raises(HspaceError, match="expected a checkpoint file, found a folder"):
        convert(tmp_path, tmp_path / "out")
    file.write_text("no checkpoint at all")
    with pytest.raises(HspaceError, match="no readable checkpoint, truncated perhaps"):
        convert(file, tmp_path / "out")
    save(TENSORS, tmp_path / "whole.pt") if suffix == ".pt" else save_file(TENSORS, tmp_path / "whole.pt")
    file.write_bytes((tmp_path / "whole.pt").read_bytes()[:-1000])
    with pytest.raises(HspaceError, match="no readable checkpoint, truncated perhaps"):
        convert(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = save(TENSORS, tmp_path / "model.pt")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(HspaceError, match=r"expected a new or empty folder, found one with mine\.txt in it"):
        convert(file, tmp_path / "out", image_size=16)
    with pytest.raises(HspaceError, match="expected a new or empty folder, found a file"):
        convert(file, tmp_path / "out" / "mine.txt", image_size=16)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert(save(TENSORS, tmp_path / "model.pt"), tmp_path / "out", image_size=16)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"unet", "scheduler", "model_index.json"}


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_no_half_folder_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]) -> None:
    """The disk is full, or Ctrl-C, once the network is written and before the schedule is."""

    class Failing(conversion.DDIMScheduler):
        def save_pretrained(self, folder: Any, **_: Any) -> None:
            assert any(tmp_path.rglob("*.safetensors"))
            raise failure("no space left on device")

    file = save(state(made(lambda: UNetModel(out_channels=6))), tmp_path / "model.pt")
    monkeypatch.setattr(conversion, "DDIMScheduler", Failing)
    with pytest.raises((HspaceError, KeyboardInterrupt)):
        convert(file, tmp_path / "out", image_size=16, heads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_the_same_picture_from_both(tmp_path: Path) -> None:
    """A whole DDIM run by the original's arithmetic, and by the converted model in hspace."""
    original = made(lambda: Model(16))
    convert(save(state(original), tmp_path / "model.pt"), tmp_path / "out", image_size=16)
    model = hspace.load(tmp_path / "out", device="cpu", dtype=torch.float64)
    bar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    timesteps = list(range(0, 1000, 250))[::-1]
    x = y = x_t(n=1)
    for t, before in zip(timesteps, [*timesteps[1:], None], strict=True):
        alpha, alpha_before = bar[t], torch.tensor(1.0).double() if before is None else bar[before]
        with torch.no_grad():
            eps = original(x, torch.tensor([t]))
            x = alpha_before.sqrt() * (x - (1 - alpha).sqrt() * eps) / alpha.sqrt() + (1 - alpha_before).sqrt() * eps
            found = model.predict(y, t)
            y = alpha_before.sqrt() * found.x_0 + (1 - alpha_before).sqrt() * found.eps
    torch.testing.assert_close(y, x, rtol=1e-3, atol=1e-3)
