"""Benchmarks run: all figures, quickly, with nothing to say about speed."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path

import pytest
import torch
from benchmarks import architectures, history, plan
from benchmarks.__main__ import main
from benchmarks.figures import FIGURES
from benchmarks.measure import Figure, Options, alternated
from tests import pipelines

from hspace import HspaceError

ROOT = Path(__file__).resolve().parents[1]


def page(folder: Path) -> Path:
    path = folder / "performance.md"
    path.write_text(f"# Speed\n\n{history.BEGIN}\nold\n{history.END}\n\nmore\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_made(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, docs = tmp_path / "history.json", page(tmp_path)
    main(["--quick", "--device", "cpu", "--only", name, "--out", str(out), "--docs", str(docs)])
    (run,) = json.loads(out.read_text(encoding="utf-8"))
    assert run["figures"]
    printed, written = capsys.readouterr().out, docs.read_text(encoding="utf-8")
    for figure in run["figures"]:
        memory = figure["unit"] == "MB" and "added" in figure["name"]  # in one process the peak may be there already
        assert memory or (figure["ours"] > 0 and figure["theirs"] > 0 and math.isfinite(figure["ratio"]))
        assert figure["name"] in printed
        assert f"| {figure['name']}" in written
    assert (run["device"], run["quick"], run["rounds"]) == ("cpu", True, 1)
    assert all(run[key] for key in ("date", "machine", "torch", "threads"))


def run_of(name: str) -> history.Run:
    return history.described([Figure.of_values(name, "naive", 1.0, 4.0, "s")], Options())


def test_the_history_grows_and_the_page_has_the_last_run(tmp_path: Path) -> None:
    out, docs = tmp_path / "folder" / "history.json", page(tmp_path)
    for name in ("first", "second"):
        history.appended(out, run_of(name))
        history.rewritten(docs, run_of(name))
    runs = json.loads(out.read_text(encoding="utf-8"))
    assert [run["figures"][0]["name"] for run in runs] == ["first", "second"]
    text = docs.read_text(encoding="utf-8")
    assert "| second | naive | 1 / 4 s | 0.25 |  |  |" in text
    assert "first" not in text
    assert "old" not in text
    assert text.startswith("# Speed\n")
    assert text.endswith("\n\nmore\n")
    assert runs[0]["machine"] in text


def test_a_page_without_markers_stays_as_it_is(tmp_path: Path) -> None:
    docs = tmp_path / "other.md"
    docs.write_text("nothing", encoding="utf-8")
    with pytest.raises(HspaceError, match=r"other\.md: expected the lines"):
        history.rewritten(docs, run_of("a"))
    assert docs.read_text(encoding="utf-8") == "nothing"


def test_works_take_turns() -> None:
    done: list[str] = []
    times = alternated({name: lambda name=name: done.append(name) for name in "ab"}, 3)
    assert "".join(done) == "ab" + "abbaab"
    assert [len(times.wall[name]) for name in "ab"] == [3, 3]
    figure = times.figure("a", "b", "a", "b")
    assert len(figure.rounds) == 3


def test_the_page_of_this_project_has_the_markers() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert (text.count(history.BEGIN), text.count(history.END)) == (1, 1)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ddpm-celebahq-256", {"unet": 113_673_219}),
        ("ldm-celebahq-256", {"unet": 274_056_163, "vqvae": 55_322_782}),
    ],
)
def test_architectures_have_the_size_of_the_published_ones(name: str, parameters: dict[str, int]) -> None:
    with torch.device("meta"):
        pipe = architectures.ARCHITECTURES[name]()
    assert {part: sum(p.numel() for p in getattr(pipe, part).parameters()) for part in parameters} == parameters


def test_architectures_are_put_to_work(tmp_path: Path) -> None:
    pipelines.ldm().save_pretrained(tmp_path)
    for work in ("load", *architectures.WORKS):
        memory, wall, cpu = architectures.worked(tmp_path, work, "cpu")
        assert min(memory, wall, cpu) > 0


@pytest.mark.parametrize("script", ["backprop", "jacobian", "locality", "pca", "plan", "sampling"])
def test_scripts_run_by_their_path(script: str) -> None:
    """Where the folder around them is not on the path."""
    parts = runpy.run_path(str(ROOT / "benchmarks" / f"{script}.py"), run_name="script")
    assert callable(parts["main"])


def test_plans_are_of_the_exact_architectures() -> None:
    """Numbers of weights as on the models' pages, h as in the papers."""
    found = plan.architectures()
    passes = {name: one for name, (one, _) in found.items()}
    assert {name: weights for name, (_, weights) in found.items()} == {
        "CelebA-HQ-256": 113_673_219,
        "Stable Diffusion 1.5": 859_520_964,
    }
    assert [one.h_numbers for one in passes.values()] == [512 * 8 * 8, 1280 * 8 * 8]
    assert [one.weights // 2 for one in passes.values()] == [weights for _, weights in found.values()]  # float16


def test_a_plan_is_held_against_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    plan.one(plan.Size(samples=3, steps=1, components=1, batch=2), seconds=0)
    found = json.loads(capsys.readouterr().out)
    for what in ("cpu", "memory"):
        predicted, measured = found[what]
        assert predicted > 0, what
        assert measured > 0, what
    assert found["sent"] == [0, 0]
