from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests import tiny
from tests.cli.conftest import Run
from tests.models.formats.originals.ddpm import Model
from tests.models.formats.originals.guided import UNetModel
from tests.models.formats.originals.saving import made, save, state

import hspace


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(state(made(lambda: UNetModel(out_channels=6))), tmp_path / "p2.pt")


def test_a_converted_checkpoint_is_a_model_for_every_command(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    result = run("convert", checkpoint, "p2", "--image-size", 16, "--head-channels", 32)
    assert result.exit_code == 0, result.output
    count = sum(p.numel() for p in made(lambda: UNetModel(out_channels=6)).parameters())
    assert f"guided-diffusion, {count / 1e6:.1f} M parameters, every tensor accounted for" in result.stdout
    assert "note: assumed, since the file doesn't say: a linear schedule, 1000 training timesteps" in result.stdout
    assert "opens with --model p2" in result.stdout
    result = run("pca", "-m", "p2", "-n", 4, "-k", 2, "-s", 2, "-o", "pcs.safetensors", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert hspace.Directions.load(tmp_path / "pcs.safetensors").names == ("pc0", "pc1")


def test_every_option_arrives(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    options = ("--heads", 2, "--new-attention-order", "--schedule", "cosine", "--train-timesteps", 500)
    more = ("--rescale-timesteps", "--prediction", "sample", "--weights", "model")
    result = run("convert", checkpoint, "p2", "--image-size", 16, *options, *more)
    assert result.exit_code == 0, result.output
    assert "note" not in result.stdout
    model = hspace.load(tmp_path / "p2", device="cpu")
    config = model.network.config
    assert (len(model.alphas_cumprod), model.prediction_type, config.timestep_scale) == (500, "sample", 2.0)
    qkv = torch.load(checkpoint, weights_only=True)["middle_block.1.qkv.weight"]  # noqa: TID251 - as it was saved
    q = model.network.get_submodule("mid_block.attentions.0.to_q").weight
    assert torch.equal(q, qkv[:64, :, 0])  # the new order


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{file}", "out"), "p2.pt: doesn't say how large its pictures are: give the image size"),
        (("{file}", "out", "--image-size", 16), "give either their channels"),
        (("{file}", "out", "--image-size", 16, "--heads", 1, "--schedule", "square"), "schedule must be one of linear"),
        (("{file}", "out", "--image-size", 16, "--heads", 1, "--prediction", "x"), "prediction_type must be one of"),
        (("{file}", "out", "--weights", "ema"), "has no 'ema' weights, only model"),
        (("{file}", "out", "--package-version", "1.5.4"), "package_version: no option of guided-diffusion"),
        (("{file}", "."), "expected a new or empty folder, found one with p2.pt in it"),
        (("nothing.pt", "out"), "nothing.pt: expected a checkpoint file, found nothing"),
    ],
)
def test_one_clear_line(
    run: Run, checkpoint: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    with tiny.unchecked_types():
        result = run("convert", *(str(argument).format(file=checkpoint.name) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert result.stderr.strip().splitlines()[-1].startswith("hspace: ")
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["p2.pt"]


def test_the_size_that_was_assumed_is_said(run: Run, tmp_path: Path) -> None:
    save(state(made(lambda: Model(32))), tmp_path / "celeba_hq.ckpt")
    result = run("convert", "celeba_hq.ckpt", "celeba")
    assert result.exit_code == 0, result.output
    assert "note: image size 32, assuming that attention is at 16 x 16" in result.stdout
