"""`hspace plan` on a tiny real model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests import pipelines
from tests.cli.conftest import Run

import hspace
from hspace.models import Tap
from hspace.planning import counted

SMALL = ("-s", 3, "-k", 2, "-n", 1000, "--device", "cpu", "--batch-size", 4)


def row(table: str, name: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.strip(" │").startswith(name))
    return [cell.strip() for cell in re.split("│", line.strip("│"))][1:]


def test_measured_here(run: Run, tiny_folder: Path) -> None:
    result = run("plan", "-m", tiny_folder, *SMALL, "--processes", "1,2")
    assert result.exit_code == 0, result.output
    assert "1000 samples of tiny, 3 steps, 2 components\nbatches of 4; measured on cpu" in result.stdout
    assert "1 process " in result.stdout
    assert "2 processes" in result.stdout
    assert row(result.stdout, "merging")[0] == "0.0 s, 0 %"
    # three timesteps, mean, 124 axes and squares of 128 numbers, 256 coordinates and the values, float32
    kilobytes = 3 * 4 * (126 * 128 + 257 * 124) / 1000
    assert row(result.stdout, "state on disk") == 2 * [f"{kilobytes / 1000:.1f} MB"]
    assert row(result.stdout, "sent in all") == ["0.0 MB", f"{2 * kilobytes / 1000:.1f} MB"]


def test_for_another_gpu(run: Run, tiny_folder: Path) -> None:
    result = run("plan", "-m", tiny_folder, *SMALL, "--tflops", 1e-6, "--processes", "4", "--dtype", "float16")
    assert result.exit_code == 0, result.output
    model = hspace.load(tiny_folder, device="cpu")
    sampler = hspace.Sampler(model, steps=3)
    x_t = sampler.latents([0]).x_T()
    operations = counted(model.network, lambda: model.observe(x_t, 0), Tap(model.network)).operations
    assert f"{operations / 1e12:.3g} x 10^12 operations a sample and step at 1e-06 x 10^12" in result.stdout
    minutes = 250 * 3 * operations / 1e6 / 60
    assert row(result.stdout, "sampling")[0].startswith(f"{minutes:.1f} min")
    assert "not measured" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--processes", "1,x"), "--processes must be numbers separated by commas, such as 1,8,64, not '1,x'"),
        (("--processes", "0"), "--processes must be numbers"),
        (("-n", 0), "--samples must be more than 0, not 0"),
        (("--tflops", -1), "--tflops must be more than 0, not -1.0"),
        (("--bandwidth", 0), "--bandwidth must be more than 0, not 0.0"),
        (("-k", 0), "n_components must be at least 1, not 0"),
        (("-k", 1000, "-n", 10), "1000 components need more samples than that, not 10"),
    ],
)
def test_what_can_not_be_planned_is_said_in_a_line(
    run: Run, tiny_folder: Path, options: tuple[object, ...], message: str
) -> None:
    result = run("plan", "-m", tiny_folder, "-s", 2, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_network_that_looks_at_its_numbers_can_not_be_counted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    options = ("-m", "own.py:model", "-s", 2, "-n", 100, "-k", 2)
    result = run("plan", *options, "--tflops", 1)
    assert result.exit_code == 2
    assert re.search(r"custom can't be counted without numbers \(.+\): leave out --tflops", result.stderr)
    assert run("plan", *options, "--device", "cpu").exit_code == 0


OWN = """
import torch
from hspace import Denoiser

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x_t, timesteps):
        return self.inner(x_t) if float(x_t.abs().max()) < 1e9 else x_t

def model():
    return Denoiser(Network(), torch.linspace(0.999, 0.01, 100), image_shape=(3, 8, 8), tap="inner")
"""


def test_guidance_takes_two_passes_and_one_h(run: Run, tmp_path: Path) -> None:
    pipelines.stable_diffusion().save_pretrained(tmp_path / "sd")
    options = ("-m", "sd", "-s", 2, "-n", 100, "-k", 2, "--processes", "1")
    found = []
    for scale in (1, 7.5):
        said = [run("plan", *options, "--prompt", "a cat", "--guidance-scale", scale, *way) for way in WAYS]
        assert [result.exit_code for result in said] == [0, 0], said
        states = {tuple(row(result.stdout, "state on disk")) for result in said}
        assert len(states) == 1
        found.append((float(re.findall(r"; ([\d.e+-]+) x 10\^12 operations", said[0].stdout)[0]), states.pop()))
    (once, state), (guided, same) = found
    assert guided == pytest.approx(2 * once, rel=0.01)
    assert state == same


WAYS = (("--tflops", 1), ("--device", "cpu"))
