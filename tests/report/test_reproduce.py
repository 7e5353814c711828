"""What a direction tells of its making is run, and makes it again."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import tiny

import hspace
from hspace.diffusion import Schedule, Setting
from hspace.directions import Direction, Directions
from hspace.report.reproduce import reproduce

Fit = Callable[[hspace.Sampler], Directions]


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the model can be loaded by the name that its directions remember."""
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.save(folder / "tiny")
    return folder


def sampler(steps: int = 3, eta: float | list[float] = 0.0, tap: str | None = None, **grid: Any) -> hspace.Sampler:
    return hspace.Sampler(hspace.load("tiny", device="cpu", tap=tap), steps, eta, **grid)


def run(lines: str, **known: Any) -> Direction:
    """The direction that lines make, given what they leave open."""
    for name in known:
        assert f"\n{name} = ...  # " in lines
    scope = dict(known)
    exec("\n".join(line for line in lines.splitlines() if " = ...  # " not in line), scope)
    found = scope["direction"]
    assert isinstance(found, Direction)
    return found


def same(one: Direction, other: Direction) -> None:
    assert one.setting == other.setting
    torch.testing.assert_close(one.vectors, other.vectors, rtol=1e-6, atol=1e-6)


def jacobian(**options: Any) -> Fit:
    return lambda sampler: hspace.Jacobian(2, **options).fit(sampler, [4, 1]).directions_


def photos(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


SCATTERED = [0, 1, 2, 5, 8, 9]
LEARNED = {"span": 3, "iterations": 2, "batch_size": 4, "reconstructor": "lenet", "checked": 4}
WAYS: dict[str, Fit] = {
    "pca": lambda s: hspace.PCA(3, injection="asymmetric").fit(s, range(6)).directions_,
    "joint pca of scattered seeds": lambda s: hspace.PCA(2, joint=True, sketch_size=3).fit(s, SCATTERED).directions_,
    "jacobian": jacobian(timesteps=33),
    "jacobian in a box": jacobian(timesteps=33, mask=(2, 2, 6, 7), outside_rank=1),
    "jacobian in a box, as text": jacobian(timesteps=33, mask="2, 2,6,7"),
    "pooled jacobian": jacobian(timesteps=33, pooled=True, injection="asymmetric"),
    "learned": lambda s: hspace.Learned(2, seed=3, **LEARNED).fit(s, range(6)).directions_,
    "random": lambda s: hspace.random_directions(s.setting("asymmetric"), [1.5, 1 / 3, 2.0], n=3, seed=7),
    "random x_T": lambda s: hspace.random_directions(s.setting(space="noise"), [2.0], n=2),
    "transfer": lambda s: Directions([hspace.transfer(s, [0, 1, 2], [7, 5, 9])]),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_lines_make_it_again(way: str, tmp_path: Path) -> None:
    made = WAYS[way](sampler())
    lines = [reproduce(item) for item in made]
    for item, text in zip(made, lines, strict=True):
        same(run(text), item)
    made.save(tmp_path / "d.safetensors")
    assert [reproduce(item) for item in Directions.load(tmp_path / "d.safetensors")] == lines


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"steps": 4, "eta": [1.0, 0.5, 0.25, 0.0]}, 'steps=4, eta=[1.0, 0.5, 0.25, 0.0], spacing="leading"'),
        ({"eta": 1.0, "start": 60}, "steps=3, eta=1.0, start=60"),
        ({"spacing": "trailing"}, "steps=3, eta=0.0, start=99"),
        ({"spacing": "linspace"}, 'steps=3, eta=0.0, spacing="linspace"'),
        ({"steps": 1}, "steps=1, eta=0.0, start=0"),
        ({"tap": "before"}, 'tap="before"'),
    ],
)
def test_model_and_grid(options: dict[str, Any], told: str) -> None:
    made = hspace.PCA(2).fit(sampler(**options), range(4)).directions_
    text = reproduce(made[1])
    assert told in text
    assert f"  # weights {made.setting.weight_hash}" in text
    same(run(text), made[1])


def test_a_grid_that_no_numbers_make() -> None:
    model = hspace.load("tiny", device="cpu")
    odd = (90, 50, 40)
    schedule = Schedule(odd, tuple(float(model.alphas_cumprod[t]) for t in odd), 1.0, (0.0,) * 3, 100)
    setting = Setting("tiny", model.weight_hash, "mid_block", model.h_shape, schedule)
    made = hspace.PCA(2).fit(hspace.Sampler.on(model, setting), range(4)).directions_
    same(run(reproduce(made[0]), setting=setting), made[0])


def test_what_is_not_remembered_is_left_open() -> None:
    s, labels, pictures = sampler(), [1, 0, 1, 0, 0, 1], photos()

    def judge(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"red": images[:, 0].mean((1, 2)), "blue": images[:, 2].mean((1, 2))}

    labelled = hspace.Labelled(classifier="svm").fit(s, pictures, {'light"': labels}).directions_[0]
    text = reproduce(labelled)
    assert "labels = ...  # one for each of them: 3 with, 3 without" in text
    same(run(text, photos=pictures, labels=labels), labelled)
    noise = hspace.Labelled(space="noise").fit(s, pictures, labels).directions_[0]
    same(run(reproduce(noise), photos=pictures, labels=labels), noise)
    annotated = hspace.Annotated(["red"], n_extremes=2, balance_by="blue").fit(s, judge, range(12)).directions_[0]
    same(run(reproduce(annotated), scorer=judge), annotated)
    pcs = hspace.PCA(3).fit(s, range(6)).directions_
    within = hspace.random_directions(pcs.setting, pcs[0].norms(), n=2, within=pcs)[1]
    same(run(reproduce(within), within=pcs), within)
    mask = torch.zeros(8, 8)
    mask[2:6, 1:5] = 1
    inverted = s.invert(pictures[:1])
    looked_at = hspace.Jacobian(1, timesteps=33, mask=mask).fit(s, inverted).directions_[0]
    text = reproduce(looked_at)
    assert f"given as 'Tensor', sha256 of its pixels {looked_at.origin['parameters']['mask']['sha256']}" in text
    same(run(text, mask=mask, latents=inverted), looked_at)


def test_training_that_ended_early_says_so() -> None:
    made = hspace.Learned(2, **LEARNED).fit(sampler(), range(6)).directions_[0]
    assert "real = None  # or the real pictures" in reproduce(made)
    assert "ended after" not in reproduce(made)
    assert "# the training ended after iteration 1 already" in reproduce(made.with_origin(iteration=1))


def test_jacobian_that_did_not_converge_says_so() -> None:
    with pytest.warns(hspace.HspaceWarning):
        made = hspace.Jacobian(2, timesteps=33, max_products=2, tol=1e-6).fit(sampler(), [0]).directions_
    assert "max_products, which is not remembered" in reproduce(made[0])


def test_a_command_comes_first() -> None:
    made = hspace.PCA(2).fit(sampler(), range(4)).directions_[0]
    assert reproduce(made.with_origin(command="hspace pca -n 4")) == "hspace pca -n 4"
    for nothing in (None, "", 3):
        assert reproduce(made.with_origin(command=nothing)) == reproduce(made)


def test_what_came_later_is_told() -> None:
    s = sampler()
    a, b, c = hspace.PCA(3).fit(s, range(6)).directions_
    clean = a.without(b, c, per_timestep=True)
    assert reproduce(clean) == f"{reproduce(a)}\n# then pc1, pc2 projected out, at every timestep"
    made = clean.renamed("mine").with_origin(command="hspace pca").without(c)
    assert reproduce(made) == "hspace pca\n# then pc2 projected out, over all timesteps together"
    later = a.retimed(sampler(5, 1.0).setting())
    assert reproduce(later).endswith("# then retimed to the grid that it has now")
    same(run(reproduce(later)).retimed(later.setting), later)
    drawn = hspace.random_directions(s.setting(), [1.0, 2.0, 3.0])[0]
    other = drawn.retimed(sampler(2).setting())
    same(run(reproduce(other), norms=[1.0, 2.0, 3.0]).retimed(other.setting), other)


def test_random_directions_under_other_names() -> None:
    (made,) = hspace.random_directions(sampler().setting(), [1.0, 2.0, 3.0])
    same(run(reproduce(made.renamed("pc0 random0"))), made)
    for name in ("age", "random1"):
        assert reproduce(made.renamed(name)).endswith("# one of these: which, its name does not tell")


def test_one_line_where_little_is_known() -> None:
    setting = sampler().setting()
    vectors = torch.ones(3, *setting.h_shape)
    mine = Direction(vectors, setting, "my\nown")
    assert reproduce(mine) == "# how my own was made is not remembered"
    other = mine.with_origin(method="telepathy", version="0.3")
    assert reproduce(other) == "# my own was made by the method 'telepathy' in hspace 0.3: more is not remembered"
    a, b = hspace.random_directions(setting, [1.0, 2.0, 3.0], n=2)
    total = a.with_origin(command="hspace pca -n 4") - 2 * b
    assert reproduce(total) == "# random0 - 2 random1: a sum of directions made by hspace pca -n 4; random"
    labelled = hspace.Labelled().fit(sampler(), photos(), [1, 0, 1, 0, 0, 1]).directions_[0]
    chance = labelled.with_origin(shuffled="label")
    assert "was made by the method 'labelled'" in reproduce(chance)
    assert "from shuffled labels, as a control" in reproduce(chance)


JUNK = st.sampled_from([None, -1, 1.5, "x\ny = 1", '"""', [], [[0]], {}, {"a b": 1}, [["0", 1]], True])


@given(st.data())
def test_an_origin_that_somebody_edited_does_no_harm(data: st.DataObject) -> None:
    """Whatever is missing or wrong: Python that can be parsed, with no statement that came in by a text."""
    whole = json.loads(json.dumps(data.draw(st.sampled_from(ORIGINS))))
    for _ in range(data.draw(st.integers(1, 2))):
        place: Any = whole
        if isinstance(whole.get("parameters"), dict) and data.draw(st.booleans()):
            place = whole["parameters"]
        key = data.draw(st.sampled_from([*place, "without", "retimed_from", "of"]))
        if data.draw(st.booleans()):
            place.pop(key, None)
        else:
            place[key] = data.draw(JUNK)
    schedule = Schedule((66, 33, 0), (0.1, 0.5, 0.9), 1.0, (0.0,) * 3, 100)
    setting = Setting('ti"ny\n', "0" * 16, "mid\nblock", (1, 1, 1), schedule)
    text = reproduce(Direction(torch.ones(3, 1, 1, 1), setting, "a\nb = 1", whole))
    assigned = {
        target.id
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert not assigned & {"y", "b"}


_GIVEN = {"classifier": "mean", "C": 1.0, "space": "h", "sketch_size": 128}
_OF_A_JACOBIAN = {"n_components": 2, "outside_rank": 0, "tol": 1e-3, "pooled": False}
_BOX = {"given": "eyes", "share": 0.5, "sha256": "0" * 16}
ORIGINS: list[dict[str, Any]] = [
    {
        "method": "pca",
        "parameters": {"n_components": 2, "joint": False, "sketch_size": 9},
        "seeds": [[0, 3]],
        "component": 0,
    },
    {
        "method": "jacobian",
        "timestep": 33,
        "component": 0,
        "route": None,
        "converged": True,
        "sample": "s0",
        "parameters": {**_OF_A_JACOBIAN, "mask": _BOX},
    },
    {
        "method": "labelled",
        "attribute": "light",
        "positives": 3,
        "negatives": 3,
        "parameters": {**_GIVEN, "pictures": 6, "refine": 0, "photo_fit": "crop"},
    },
    {
        "method": "annotated",
        "attribute": "red",
        "seeds": [[0, 9]],
        "parameters": {**_GIVEN, "n_extremes": 2, "balance_by": None},
    },
    {
        "method": "learned",
        "iteration": 2,
        "types": [0],
        "seeds": [[0, 9]],
        "parameters": {"n_directions": 2, "iterations": 2, "adversarial_weight": 0.1},
    },
    {"method": "random", "parameters": {"n": 2, "within": 3}, "seed": 0},
    {"method": "transfer", "source": [0], "target": [1]},
    {"method": "sum", "of": [{"method": "pca"}, {"method": "random"}]},
]
