"""The command that made directions is in their origin, and run again it makes them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.conftest import Run
from tests.cli.test_learn import TINY
from typer.main import get_command
from typer.testing import CliRunner

import hspace
from hspace.cli import app
from hspace.cli.commandline import Remembered, command_line
from hspace.cli.grouped import grouped
from hspace.directions import Directions
from hspace.report.reproduce import reproduce


def once(words: list[str], **instead: object) -> tuple[str, dict[str, Any]]:
    """What a real command says that it was called by, and the parameters it was called with; it does nothing else."""
    group: Any = get_command(app)
    seen: list[tuple[str, dict[str, Any]]] = []
    group.commands[words[0]].callback = lambda **params: seen.append((command_line(**instead), params))
    group.main(words, standalone_mode=False)
    return seen[0]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def values_of(hint: Any) -> st.SearchStrategy[str]:
    """Texts that an option of a type takes."""
    types = (hint, *get_args(hint))
    if int in types:
        return st.integers(-5, 10**7).map(str)
    if float in types:
        return st.floats(allow_nan=False).map(str)
    return TEXT.filter(bool) if Path in types or list[Path] in types else TEXT


@given(st.data())
def test_parsed_again_it_is_the_same(data: st.DataObject) -> None:
    """Of every command, with any of its options, in any order."""
    group: Any = get_command(app)
    name = data.draw(st.sampled_from(sorted(group.commands)))
    module = {"app": "serve"}.get(name, name)
    hints = get_type_hints(grouped(import_module(f"hspace.cli.{module}").command))
    options: list[list[str]] = []
    arguments: list[str] = []
    for parameter in group.commands[name].params:
        value = values_of(hints[parameter.name])
        if parameter.param_type_name == "argument":
            few = st.lists(value, min_size=1, max_size=3 if parameter.nargs == -1 else 1)
            arguments += data.draw(few) if parameter.required or data.draw(st.booleans()) else []
        elif data.draw(st.integers(0, 3)) == 0:
            for _ in range(data.draw(st.integers(1, 3)) if parameter.multiple else 1):
                spelt = data.draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts]))
                options.append([spelt] if parameter.is_flag else [spelt, data.draw(value)])
    given_options = [word for option in data.draw(st.permutations(options)) for word in option]
    line, params = once([name, *given_options, "--", *arguments])
    first, *words = shlex.split(line)
    assert (first, words[0]) == ("hspace", name)
    again, params_again = once(words)
    assert params_again == params
    assert again == line


def test_order_and_spelling() -> None:
    words = ["edit", "-s", "20", "--set", "a b=1", "--set", "pc0=2", "--per-timestep", "d.safetensors", "-m", "faces64"]
    line, _ = once(words)
    assert line == ("hspace edit d.safetensors --set 'a b=1' --set pc0=2 --per-timestep --model faces64 --steps 20")
    assert once(["pca"])[0] == "hspace pca"
    assert (
        once(["pca", "--eta", "1", "--samples", "500"])[0] == "hspace pca --samples 500 --eta 1"
    )  # the defaults, given
    assert once(["invert", "--", "-a.png", "b.png"])[0] == "hspace invert -- -a.png b.png"


def test_switches_are_on_or_off() -> None:
    own, said = typer.Typer(), []

    @own.command(cls=Remembered)
    def speak(loud: bool = True) -> None:
        said.append(command_line())

    for words in ([], ["--loud"], ["--no-loud"]):
        assert CliRunner().invoke(own, words).exit_code == 0
    assert said == ["hspace speak", "hspace speak --loud", "hspace speak --no-loud"]


def test_values_in_place_of_those_given() -> None:
    words = ["learn", "-n", "12", "--resume"]
    assert once(words, resume=None)[0] == "hspace learn --samples 12"
    assert once(words, samples=7, seed=3)[0] == "hspace learn --samples 7 --seed 3 --resume"


def test_outside_of_a_command_there_is_none() -> None:
    once(["pca"])
    with pytest.raises(LookupError):
        command_line()


def made_by(file: str) -> list[str]:
    """The command, the same in all directions of a file."""
    (command,) = {item.origin["command"] for item in Directions.load(file)}
    return shlex.split(command)


SMALL = ("-s", 3, "--device", "cpu")
COMMANDS: dict[str, tuple[object, ...]] = {
    "pca": ("-n", 8, "-k", 2, "--joint", "--eta", "1,0.5,0"),
    "jacobian": ("--seeds", "3,5", "--timesteps", 33, "-k", 1, "--unit-samples", 4),
    "supervised": ("--scorer", "judge.py:judge", "-n", 8, "--extremes", 2, "--unit-samples", 4, "-a", "red"),
    "learn": (*TINY, "--iterations", 2, "--scorer", "judge.py:judge", "--work", "work"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_in_the_origin_makes_them_again(run: Run, tiny_folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "judge.py").write_text(
        "def judge(images):\n    return {'red': images[:, 0].mean((1, 2)), 'blue': images[:, 2].mean((1, 2))}\n"
    )
    result = run(name, "-m", tiny_folder, *SMALL, *COMMANDS[name], "-o", "it.safetensors")
    assert result.exit_code == 0, result.output
    hspace_, *words = made_by("it.safetensors")
    assert hspace_ == "hspace"
    first = Directions.load("it.safetensors")
    (tmp_path / "it.safetensors").rename(tmp_path / "first.safetensors")
    if name == "learn":
        (tmp_path / "work").rename(tmp_path / "elsewhere")
    result = run(*words)
    assert result.exit_code == 0, result.output
    again = Directions.load("it.safetensors")
    assert again.names == first.names
    for a, b in zip(again, first, strict=True):
        assert bool((a.vectors == b.vectors).all())
        assert a.origin == b.origin


def test_a_resumed_training_is_made_by_one_without_a_break(run: Run, tiny_folder: Path) -> None:
    words = ("learn", "-m", tiny_folder, *TINY)
    assert run(*words, "--iterations", 2).exit_code == 0
    result = run(*words, "--iterations", 3, "--resume")
    assert result.exit_code == 0, result.output
    command = made_by("learned.safetensors")
    assert "--resume" not in command
    assert command[command.index("--iterations") + 1] == "3"


def test_it_is_kept_and_shown(run: Run, directions_file: Path, tiny_folder: Path) -> None:
    a, b, _ = Directions.load(directions_file)
    command = a.origin["command"]
    assert command.startswith(f"hspace pca --model {tiny_folder} --samples 12 --components 3 --out ")
    assert a.without(b).renamed("mine").origin["command"] == command
    assert (-2.0 * a).origin["command"] == command
    assert reproduce(a) == command
    shown = run("inspect", directions_file).stdout
    assert shown.splitlines().count(f"made by: {command}") == 1
    Directions([a.renamed("a"), b.with_origin(command="hspace else")]).save("two.safetensors")
    assert run("inspect", "two.safetensors").stdout.endswith(f"made by: {command}\nmade by: hspace else\n")
    drawn = hspace.random_directions(a.setting, a.norms())
    drawn.save("none.safetensors")
    assert "made by" not in run("inspect", "none.safetensors").stdout


def test_what_an_interrupted_search_keeps_is_made_by_a_shorter_one(
    run: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes before the third batch."""
    stream = hspace.Sampler.stream

    def interrupted(self: hspace.Sampler, *args: Any, **given: Any) -> Iterator[Any]:
        for i, batch in enumerate(stream(self, *args, **given)):
            yield batch
            if i == 1:
                raise KeyboardInterrupt

    pca_ = ("pca", "-m", tiny_folder, *SMALL, "-n", 20, "-k", 2, "--batch-size", 4, "--first-seed", 3)
    jacobian = ("jacobian", "-m", tiny_folder, *SMALL, "--seeds", "3,5,9,1", "--timesteps", 33, "-k", 1)
    jacobian = (*jacobian, "--unit-samples", 4, "--batch-size", 1)
    for words, option, value in ((pca_, "--samples", "8"), (jacobian, "--seeds", "3,5")):
        file = f"{words[0]}.interrupted.safetensors"
        with monkeypatch.context() as patched:
            patched.setattr(hspace.Sampler, "stream", interrupted)
            result = run(*words, "-o", f"{words[0]}.safetensors")
        assert result.exit_code == 2
        command = made_by(file)
        assert command[command.index(option) + 1] == value
        assert run(*command[1:]).exit_code == 0
        kept, again = (Directions.load(f) for f in (file, f"{words[0]}.safetensors"))
        assert kept.names == again.names
        for a, b in zip(kept, again, strict=True):
            assert float((a.vectors - b.vectors).abs().max()) < 1e-5
