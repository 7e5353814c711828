"""Bad input: one clear line on stderr, exit code 2, nothing lost, nothing broken left behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.cli.conftest import Run

import hspace

SMALL = ("-n", 6, "-k", 2, "-s", 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "-m", "faces65"), "unknown model 'faces65'"),
        (("sample", "-m", "nobody/nothing"), "can't get model 'nobody/nothing'"),
        (("sample", "-m", "no_such_file.py:model"), "can't import no_such_file.py"),
        (("sample", "-m", "{tiny}/scheduler"), "no model: expected unet/config.json or config.json"),
        (("pca", "-m", "{tiny}", *SMALL, "--tap", "nowhere"), "has no module 'nowhere' to tap"),
        (("sample", "-m", "{tiny}", "-s", 0), "steps must be at least 1, not 0"),
        (("sample", "-m", "{tiny}", "-s", -3), "steps must be at least 1, not -3"),
        (("sample", "-m", "{tiny}", "-s", 101), "101 steps are beyond the training grid"),
        (("sample", "-m", "{tiny}", "--eta", "1.5"), "eta must be within 0 and 1"),
        (("sample", "-m", "{tiny}", "--eta", "nan"), "eta must be within 0 and 1"),
        (("sample", "-m", "{tiny}", "--eta", "much"), "--eta must be numbers"),
        (("sample", "-m", "{tiny}", "--start", 100), "start must be a timestep from 0 to 99"),
        (("sample", "-m", "{tiny}", "--seeds", "a:b"), "--seeds must look like"),
        (("sample", "-m", "{tiny}", "--seeds", "5:5"), "names no seed"),
        (("swap", "-m", "{tiny}", "-s", 2, "--donors", "a"), "--donors must look like"),
        (("swap", "-m", "{tiny}", "-s", 2, "--out", "p"), "expected the name of a picture, such as p.png"),
        (("sample", "-m", "{tiny}", "--batch-size", 0), "batch size must be at least 1"),
        (("sample", "-m", "{tiny}", "--dtype", "float8"), "--dtype must be one of"),
        (("pca", "-m", "{tiny}", "-n", 0), "--samples must be at least 1, not 0"),
        (("pca", "-m", "{tiny}", "-n", -5), "--samples must be at least 1, not -5"),
        (("pca", "-m", "{tiny}", "-n", 6, "-k", 0), "n_components must be at least 1, not 0"),
        (("pca", "-m", "{tiny}", "-n", 6, "-k", -1), "n_components must be at least 1, not -1"),
        (("pca", "-m", "{tiny}", "-n", 6, "-k", 7, "-s", 2), "7 components need more samples than that, not 6"),
        (
            ("jacobian", "-m", "{tiny}", "-s", 4, "--timesteps", "often"),
            "--timesteps must be all, spread:5 or timesteps",
        ),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--timesteps", "spread:0"), "spread:0 names no timestep"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--timesteps", "33"), "timestep 33 is not on the sampler's grid"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "-k", 0), "n_components must be at least 1, not 0"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--route", "magic"), "--route must be one of double_vjp"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--mask", "0,0,9,9"), "box 0,0,9,9: expected 0 <= x0 < x1 <= 8"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--mask", "3,3,3,5"), "box 3,3,3,5: expected 0 <= x0 < x1"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--mask", "nothing.png"), "nothing.png"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--mask", "mouth"), "no region, since no regions were given"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--mask", "mouth", "--regions", "nowhere"), "unknown regions 'nowhere'"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--outside-rank", 2), "give a mask"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--pooled", "--saliency", "s.png"), "leave out --pooled"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--picture", "p"), "expected the name of a picture, such as p.png"),
        (("jacobian", "-m", "{tiny}", "-s", 4, "--max-products", 2), "too few for 3 singular vectors"),
        (("invert", "nothing.png", "-m", "{tiny}"), "nothing.png: no readable picture (no such file)"),
        (("invert", "{file}", "-m", "{tiny}"), "no readable picture"),
        (("invert", "nothing.png", "-m", "{tiny}", "--fit", "squeeze"), "--fit must be one of crop, fit, stretch"),
        (("edit", "{file}", "-m", "{tiny}", "--photo", "{file}"), "expected a file of format hspace-inversion-1"),
        (("sample", "-m", "{tiny}", "--device", "nonsense"), "can't put tiny on device nonsense"),
        (("edit", "{file}", "-m", "{tiny}", "-s", 0), "steps must be at least 1, not 0"),
        (("edit", "{file}", "-m", "{tiny}", "-d", "pc0", "--set", "pc1=1"), "give one of the two"),
        (("demo", "--checked", 1), "--checked must be at least 2, not 1"),
        (("demo", "--samples", 0), "--samples must be at least 1, not 0"),
        (("demo", "--samples", 5, "--steps", 2), "10 components need more samples than that, not 5"),
        (("inspect", "nothing.safetensors"), "nothing.safetensors: expected a file of directions, found nothing"),
        (("edit", "{file}", "-m", "{tiny}", "--strengths", "0,nan"), "strength must be a finite number, not nan"),
        (("edit", "{file}", "-m", "{tiny}", "-d", "smile"), "no direction 'smile'; there are pc0, pc1, pc2"),
        (("edit", "{file}", "-m", "{tiny}", "--set", "pc0"), "--set must look like pc0=2"),
        (("edit", "{file}", "-m", "{tiny}", "--set", "pc0=nan"), "strength must be a finite number, not nan"),
        (
            ("edit", "{file}", "-m", "{tiny}", "--injection", "up"),
            "--injection must be symmetric or asymmetric, not 'up'",
        ),
        (("edit", "{file}", "-m", "{tiny}", "--window", "3"), "--window must look like 700:300"),
        (("edit", "{file}", "-m", "{tiny}", "--window", "1:9"), "a window goes down"),
        (("edit", "{file}", "-m", "faces64"), "a direction of another model"),
    ],
)
def test_one_clear_line(
    run: Run, tiny_folder: Path, directions_file: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    filled = [str(argument).format(tiny=tiny_folder, file=directions_file) for argument in arguments]
    result = run(*filled)
    lines = result.stderr.strip().splitlines()
    assert result.exit_code == 2, result.output
    assert lines[-1].startswith("hspace: ")
    assert message in lines[-1]
    assert "Traceback" not in result.output
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", ["sample", "pca", "demo", "edit"])
def test_an_output_that_cannot_be_written_is_found_before_the_work(
    run: Run, tiny_folder: Path, directions_file: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file" / "out.png"
    options = {"demo": (), "edit": (directions_file, "-m", tiny_folder)}.get(command, ("-m", tiny_folder))
    result = run(command, *options, "-o", out)
    assert result.exit_code == 2
    assert "can't write" in result.stderr
    assert "sampling" not in result.stderr


def test_truncated_and_wrong_files(run: Run, directions_file: Path, tiny_folder: Path, tmp_path: Path) -> None:
    whole = directions_file.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name, message in (("cut", "truncated perhaps"), ("other", "expected a file of format hspace-directions-1")):
        result = run("inspect", tmp_path / f"{name}.safetensors")
        assert result.exit_code == 2
        assert message in result.stderr


def test_a_truncated_checkpoint(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "cut")
    weights = tmp_path / "cut" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    result = run("sample", "-m", tmp_path / "cut")
    assert result.exit_code == 2
    assert "diffusion_pytorch_model.safetensors: truncated: expected at least" in result.stderr


def test_a_direction_of_another_model(run: Run, directions_file: Path, tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "other")
    weights = tmp_path / "other" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_in.weight"] += 1
    save_file(tensors, weights, {"format": "pt"})
    result = run("edit", directions_file, "-m", tmp_path / "other")
    assert result.exit_code == 2
    assert "a direction of another model: its weights tiny" in result.stderr


def test_ctrl_c_keeps_what_is_finished(tiny_folder: Path, tmp_path: Path) -> None:
    """A real process and a real signal; an earlier result stays as it was."""
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"an earlier result")
    # A shell's background job ignores the signal, and so would its children: hence the handler.
    handled = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{handled}; from hspace.cli import main; sys.argv[0] = 'hspace'; main()"
    options = ["pca", "-m", tiny_folder, "-n", 100_000, "-k", 2, "-s", 5, "-o", out, "--batch-size", 8]
    process = subprocess.Popen(
        [sys.executable, "-uc", program, *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("drawing 100000 samples")
        time.sleep(5)  # some batches
        process.send_signal(signal.SIGINT)
        message = process.communicate(timeout=120)[1].strip().splitlines()[-1]
    finally:
        process.kill()  # nothing is left running, whatever happens
    assert process.returncode == 2
    assert message.startswith("hspace: interrupted; components of ")
    assert out.read_bytes() == b"an earlier result"
    kept = hspace.Directions.load(tmp_path / "out.interrupted.safetensors")
    assert kept.names == ("pc0", "pc1")
    finished = kept[0].origin["seeds"][0][1] + 1
    assert finished % 8 == 0
    assert f" --samples {finished} " in kept[0].origin["command"]
    sampler = hspace.Sampler(hspace.load(tiny_folder, device="cpu"), steps=5, eta=1.0, batch_size=8)
    again = hspace.PCA(2).fit(sampler, range(finished)).directions_ if finished <= 4000 else kept
    torch.testing.assert_close(kept[0].vectors, again[0].vectors, rtol=1e-3, atol=1e-3)
