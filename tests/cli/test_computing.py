"""`--dtype`, `--channels-last` and `--compile` of the commands that load a model."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from tests.cli.conftest import Run

import hspace
from hspace.cli import demo, options, pca
from hspace.cli.grouped import grouped
from hspace.cli.session import open_model
from hspace.models import Denoiser


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_models_are_loaded_as_was_asked_for(tiny_folder: Path, channels_last: bool, compiled: bool) -> None:
    computing = options.Computing("bfloat16", channels_last, compiled)
    model = open_model(str(tiny_folder), None, "cpu", computing)
    assert (model.dtype, model.is_channels_last, model.is_compiled) == (torch.bfloat16, channels_last, compiled)


def test_a_group_has_the_values_of_its_default() -> None:
    defaults = [inspect.signature(grouped(each.command)).parameters for each in (pca, demo)]
    assert [each["dtype"].default for each in defaults] == ["float32", "bfloat16"]
    assert [each["compile"].default for each in defaults] == [False, False]


def loaded_by(run: Run, monkeypatch: pytest.MonkeyPatch, *command: object) -> list[Denoiser]:
    """The models that a command samples with."""
    seen: list[Denoiser] = []
    real = hspace.Sampler.stream

    def stream(self: hspace.Sampler, *args: object, **given: object) -> object:
        seen.append(self.model)
        return real(self, *args, **given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(hspace.Sampler, "stream", stream)
        result = run(*command)
    assert result.exit_code == 0, result.output
    return seen


def test_channels_last_reaches_the_network_and_is_remembered(
    run: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("-m", tiny_folder, "-n", 5, "-k", 2, "-s", 2, "--device", "cpu")
    found = loaded_by(run, monkeypatch, "pca", *small, "--channels-last", "-o", "last.safetensors")
    assert found
    assert all(model.is_channels_last for model in found)
    assert run("pca", *small, "-o", "usual.safetensors").exit_code == 0
    last, usual = (hspace.Directions.load(tmp_path / f"{name}.safetensors") for name in ("last", "usual"))
    assert "--channels-last" in last[0].origin["command"]
    torch.testing.assert_close(last[0].vectors, usual[0].vectors, rtol=1e-3, atol=1e-4)


def test_a_recipe_is_for_the_same_bits(run: Run, tiny_folder: Path, directions_file: Path, tmp_path: Path) -> None:
    recipe = ("--direction", "pc0", "--save-recipe", "r.json", "-m", tiny_folder)
    result = run("edit", directions_file, *recipe, "--channels-last")
    assert result.exit_code == 2
    assert "--save-recipe is for the same bits again: leave out --channels-last and --compile" in result.stderr
    assert not (tmp_path / "r.json").exists()
    assert run("edit", directions_file, *recipe).exit_code == 0
    drawn = run("edit", "--recipe", "r.json", "-m", tiny_folder, "--channels-last")
    assert drawn.exit_code == 2
    assert "channels" in drawn.stderr
