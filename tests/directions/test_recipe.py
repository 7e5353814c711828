"""Recipes make the pictures again, bit for bit, in another folder, from seeds and from inversions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tiny

import hspace
from hspace import HspaceError
from hspace.diffusion import Injection, Inversion
from hspace.directions import Direction, Directions, Edit, Recipe, Term

MODEL = tiny.denoiser()
SEEDS = (5, 6, 7, 8)
injections = pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
etas = pytest.mark.parametrize("eta", [0.0, 1.0])


def sampler_of(eta: float = 1.0) -> hspace.Sampler:
    return hspace.Sampler(MODEL, 4, eta, batch_size=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """h.safetensors with a, b, c; x.safetensors with n; photo0 and photo1 of eta 0 and 1."""
    sampler, folder = sampler_of(), tmp_path_factory.mktemp("whole")
    random = hspace.random_directions(sampler.setting(), [1.0, 2.0, 1.0, 0.5], n=3)
    random.renamed({"random0": "a", "random1": "b", "random2": "c"}).save(folder / "h.safetensors")
    start = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    Directions([Direction(start, sampler.setting(space="noise"), "n")]).save(folder / "x.safetensors")
    pictures = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1
    for eta in (0, 1):
        sampler_of(eta).invert(pictures, refine=1, names="pqrs").save(folder / f"photo{eta}.safetensors")
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(whole, tmp_path / "here"))


def h(folder: Path) -> Directions:
    return Directions.load(folder / "h.safetensors")


def noise(folder: Path) -> Direction:
    return Directions.load(folder / "x.safetensors")["n"]


def files(folder: Path) -> list[Path]:
    return [folder / "h.safetensors", folder / "x.safetensors"]


def rich(folder: Path, injection: Injection) -> Edit:
    """With everything that a term can have."""
    a, b, c = h(folder)
    box, soft = torch.zeros(4, 4), torch.rand(8, 8, generator=torch.Generator().manual_seed(3))
    box[:2] = 1
    terms = [
        Term(0.3 * a.without(b, c), -1.7, window=(60, 20)),
        Term(b.without(c, per_timestep=True), 0.1, mask=box),
        Term(c / 3, 1.5),
        Term(-noise(folder), 0.25, mask=soft),
    ]
    return Edit(terms, injection)


def moved(folder: Path) -> Path:
    """All files elsewhere, none where they were."""
    there = folder.parent / "there" / "deep"
    there.parent.mkdir()
    shutil.move(folder, there)
    return there


@etas
@injections
def test_pictures_of_seeds_come_again_bit_for_bit(folder: Path, injection: Injection, eta: float) -> None:
    sampler = sampler_of(eta)
    edit = rich(folder, injection)
    expected = sampler.run(SEEDS, edit)
    edit.save(folder / "recipe.json", sampler, SEEDS, files=files(folder))
    recipe = Recipe.load(moved(folder) / "recipe.json")
    assert torch.equal(recipe.run(MODEL), expected)
    assert not torch.allclose(expected, sampler.run(SEEDS), atol=1e-2)
    assert recipe.edit().injection == injection
    assert (recipe.samples, recipe.batch_size, recipe.precision) == (SEEDS, 3, "float64")
    assert recipe.version == hspace.__version__


@etas
@injections
@pytest.mark.parametrize("rows", [slice(None), slice(1, 3), [3, 0, 3], [-1]], ids=str)
def test_pictures_of_an_inversion_come_again_bit_for_bit(
    folder: Path, injection: Injection, eta: float, rows: Any
) -> None:
    photo, sampler = folder / f"photo{eta:g}.safetensors", sampler_of(eta)
    latents = Inversion.load(photo)[rows]
    edit = rich(folder, injection)
    expected = sampler.run(latents, edit)
    edit.save(folder / "recipe.json", sampler, latents, files=files(folder), photo=photo)
    assert torch.equal(Recipe.load(moved(folder) / "recipe.json").run(MODEL), expected)


@settings(max_examples=10)
@given(
    names=st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
    strengths=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    factor=st.one_of(st.sampled_from([1, -1, 2.0, 1 / 3, 0.1, 0.0, 1e-3]), st.floats(-5, 5)),
    window=st.one_of(st.none(), st.tuples(st.integers(50, 100), st.integers(0, 50))),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_any_edit_comes_again(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    strengths: list[float],
    factor: float,
    window: Any,
    dtype: torch.dtype,
) -> None:
    folder, sampler = tmp_path_factory.mktemp("any"), sampler_of()
    random = hspace.random_directions(sampler.setting(), [1.0] * 4, n=3).to(dtype=dtype)
    random.renamed({f"random{i}": name for i, name in enumerate("abc")}).save(folder / "h.safetensors")
    directions = h(folder)
    edit = Edit([Term(factor * directions[n], s, window) for n, s in zip(names, strengths, strict=False)])
    edit.save(folder / "r.json", sampler, SEEDS[:1], files=[folder / "h.safetensors"])
    assert torch.equal(Recipe.load(folder / "r.json").run(MODEL), sampler.run(SEEDS[:1], edit))


@pytest.mark.parametrize(
    ("make", "name", "factor"),
    [
        (lambda d: d["b"], "b", 1.0),
        (lambda d: d["b"].renamed("anything"), "b", 1.0),
        (lambda d: 2 * d["c"], "c", 2.0),
        (lambda d: -0.7 * d["a"], "a", -0.7),
        (lambda d: d["a"] / 3, "a", 1 / 3),
        (lambda d: (1e-5 * d["b"]).renamed("c"), "b", 1e-5),
    ],
)
def test_a_direction_is_found_under_any_name_and_times_a_number(
    folder: Path, make: Callable[[Directions], Direction], name: str, factor: float
) -> None:
    recipe = Recipe.of(make(h(folder)), sampler_of(), SEEDS, files(folder))
    (term,) = recipe.terms
    assert (term.direction.name, term.factor, term.strength) == (name, factor, 1.0)
    assert torch.equal(recipe.run(MODEL), sampler_of().run(SEEDS, make(h(folder))))


def test_what_was_projected_out_before_saving_is_no_matter(folder: Path) -> None:
    a, b, _ = h(folder)
    clean = a.without(b)
    Directions([clean]).save(folder / "clean.safetensors")
    recipe = Recipe.of(clean, sampler_of(), SEEDS, [folder / "clean.safetensors"])
    assert recipe.terms[0].without == ()
    both = Recipe.of(clean, sampler_of(), SEEDS, files(folder))
    assert [named.name for named in both.terms[0].without] == ["b"]
    assert torch.equal(recipe.run(MODEL), both.run(MODEL))


def test_others_of_another_file_are_found_among_namesakes(folder: Path) -> None:
    """Two files have a direction b; only one was projected out."""
    other = hspace.random_directions(sampler_of().setting(), [1.0] * 4, n=2, seed=9).renamed({"random1": "b"})
    other.save(folder / "other.safetensors")
    clean = h(folder)["a"].without(Directions.load(folder / "other.safetensors")["b"])
    recipe = Recipe.of(clean, sampler_of(), SEEDS, [*files(folder), folder / "other.safetensors"])
    assert Path(recipe.terms[0].without[0].source.file).name == "other.safetensors"
    assert torch.equal(recipe.run(MODEL), sampler_of().run(SEEDS, clean))


def test_a_run_on_another_grid(folder: Path) -> None:
    sampler = hspace.Sampler(MODEL, 6, [1.0, 0.5, 0.5, 0.0, 0.0, 0.0], start=70, batch_size=2)
    edit = Edit.of(h(folder)["a"], 2.0)
    edit.save(folder / "r.json", sampler, SEEDS, files=files(folder))
    recipe = Recipe.load(folder / "r.json")
    assert torch.equal(recipe.run(MODEL), sampler.run(SEEDS, edit))
    assert recipe.sampler(MODEL).schedule == sampler.schedule


def test_files_are_named_from_the_recipes_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    recipe = Recipe.of(h(folder)["a"], sampler_of(), SEEDS, ["h.safetensors"])
    recipe.save("beside.json")
    recipe.save(tmp_path / "recipes" / "below.json")
    monkeypatch.chdir(tmp_path)
    named = {}
    for path in (folder / "beside.json", tmp_path / "recipes" / "below.json"):
        named[path.name] = json.loads(path.read_text())["terms"][0]["file"]
        assert torch.equal(Recipe.load(path).run(MODEL), recipe.run(MODEL))
    assert named == {"beside.json": "h.safetensors", "below.json": "../here/h.safetensors"}
    Recipe.load(folder / "beside.json").save(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text())["terms"][0]["file"] == "here/h.safetensors"


def test_a_renamed_file_is_known_by_its_hash(folder: Path) -> None:
    photo = Inversion.load(folder / "photo1.safetensors")
    edit = Edit.of(h(folder)["a"])
    edit.save(folder / "r.json", sampler_of(), photo, files=files(folder), photo=folder / "photo1.safetensors")
    expected = Recipe.load(folder / "r.json").run(MODEL)
    (folder / "h.safetensors").rename(folder / "renamed.safetensors")
    (folder / "photo1.safetensors").rename(folder / "old.safetensors")
    shutil.copy(folder / "photo0.safetensors", folder / "photo1.safetensors")  # another stands in its place
    assert torch.equal(Recipe.load(folder / "r.json").run(MODEL), expected)


def test_a_file_that_is_gone_or_has_changed_is_named(folder: Path) -> None:
    recipe = Recipe.of(h(folder)["a"], sampler_of(), SEEDS, files(folder))
    expected = recipe.terms[0].direction.source.sha256
    (2 * h(folder)).save(folder / "h.safetensors")
    with pytest.raises(
        HspaceError, match=rf"h.safetensors: the recipe needs .* {expected}, found sha256 [0-9a-f]{{64}}"
    ):
        recipe.edit()
    (folder / "h.safetensors").unlink()
    with pytest.raises(HspaceError, match=rf"h.safetensors: the recipe needs .* {expected}, found no such file"):
        recipe.run(MODEL)


@pytest.mark.parametrize(
    "make",
    [
        lambda d: d["a"] + d["b"],
        lambda d: d["a"].without(d["b"]).without(d["c"]),
        lambda d: d["a"].without(d["b"] + d["c"]),
        lambda d: d["a"].to(dtype=torch.float64),
        lambda d: d["a"].retimed(hspace.Sampler(MODEL, 5).setting()),
        lambda d: Direction(0.5 * torch.ones_like(d["a"].vectors), d.setting, "made up", {"without": [{"name": "b"}]}),
    ],
)
def test_a_direction_of_no_file_is_refused(folder: Path, make: Callable[[Directions], Direction]) -> None:
    made = make(h(folder))
    with pytest.raises(HspaceError, match=r"is in none of the files given \(.*h.safetensors.*x.safetensors\): save it"):
        Recipe.of(made, sampler_of(), SEEDS, files(folder))
    Directions([made]).save(folder / "made.safetensors")
    recipe = Recipe.of(made, sampler_of(), SEEDS, [folder / "made.safetensors"])
    assert torch.equal(recipe.run(MODEL), sampler_of().run(SEEDS, made))


def test_latents_that_no_recipe_can_name(folder: Path) -> None:
    a, sampler, photo = h(folder)["a"], sampler_of(), folder / "photo1.safetensors"
    inversion = Inversion.load(photo)

    def attempt(latents: Any, photo: Path | None) -> Recipe:
        return Recipe.of(a, sampler, latents, files(folder), photo=photo)

    fixed = tiny.FixedLatents(torch.zeros(1, 3, 8, 8), {t: torch.zeros(1, 3, 8, 8) for t in sampler.timesteps})
    with pytest.raises(HspaceError, match="remembers seeds or rows of an inversion, not FixedLatents"):
        attempt(fixed, None)
    with pytest.raises(HspaceError, match="names its file: save it, and give the path as photo"):
        attempt(inversion, None)
    with pytest.raises(HspaceError, match="the latents are seeds, no inversion"):
        attempt(SEEDS, photo)
    with pytest.raises(HspaceError, match=r"photo0.safetensors: the latents are not of this inversion"):
        attempt(inversion, folder / "photo0.safetensors")
    with pytest.raises(HspaceError, match="pictures were inverted with 4 steps from t = 75, eta 0; the run has"):
        attempt(Inversion.load(folder / "photo0.safetensors"), folder / "photo0.safetensors")
    sampler.invert(inversion.images[:2], seeds=[8, 9]).save(folder / "others.safetensors")
    with pytest.raises(HspaceError, match=r"others.safetensors: picture 'r' of the latents is not in this inversion"):
        attempt(inversion[[2]], folder / "others.safetensors")
    with pytest.raises(HspaceError, match=r"nothing.safetensors"):
        attempt(inversion, folder / "nothing.safetensors")


def test_an_edit_that_does_not_fit_is_refused_before_it_is_saved(folder: Path) -> None:
    with pytest.raises(HspaceError, match="a direction of another model: its weights"):
        h(folder)["a"].during(99, 0).save(
            folder / "r.json", hspace.Sampler(tiny.denoiser(seed=1), 4), SEEDS, files=files(folder)
        )
    with pytest.raises(HspaceError, match="a direction of another model: its weights"):
        Edit.of(noise(folder)).save(
            folder / "r.json", hspace.Sampler(tiny.denoiser(seed=1), 4), SEEDS, files=files(folder)
        )
    assert not (folder / "r.json").exists()


def test_another_model_tap_or_precision_is_refused(folder: Path) -> None:
    recipe = Recipe.of(h(folder)["a"], sampler_of(), SEEDS, files(folder))
    with pytest.raises(HspaceError, match="a direction of another model: its weights"):
        recipe.run(tiny.denoiser(seed=1))
    with pytest.raises(HspaceError, match="its tap mid_block, here before"):
        recipe.run(tiny.denoiser(tap="before"))
    single = tiny.denoiser().to(dtype=torch.float32)
    with pytest.raises(HspaceError, match=r"the recipe was made in float64, the model computes in float32"):
        recipe.run(single)
    in_single = Recipe.of(h(folder)["a"], hspace.Sampler(single, 4), SEEDS, files(folder))
    assert in_single.precision == "float32"
    assert torch.equal(in_single.run(single), hspace.Sampler(single, 4).run(SEEDS, h(folder)["a"]))


def test_progress(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    recipe = Recipe.of(h(folder)["a"], sampler_of(), SEEDS, files(folder))
    recipe.run(MODEL, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (16, 16)


TERM, SAMPLES = ("terms", 0), ("samples",)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ((), [], "expected a recipe of format hspace-recipe-1, found other JSON"),
        ((), 3, "expected a recipe of format hspace-recipe-1, found other JSON"),
        (("format",), "hspace-recipe-9", "expected a recipe of format hspace-recipe-1, found hspace-recipe-9"),
        (("terms",), None, "'terms' is missing"),
        (("terms",), {}, "'terms' must be a list, found {}"),
        (("terms",), [], "'terms' must be at least 1, found none"),
        (("terms",), [7], "expected an object with 'file', found 7"),
        ((*TERM, "direction"), None, "'direction' is missing"),
        ((*TERM, "direction"), 3, "'direction' must be text, found 3"),
        ((*TERM, "file"), None, "'file' is missing"),
        ((*TERM, "sha256"), ["x"], "'sha256' must be text, found ['x']"),
        ((*TERM, "strength"), None, "'strength' is missing"),
        ((*TERM, "strength"), "much", "'strength' must be a finite number, found 'much'"),
        ((*TERM, "strength"), True, "'strength' must be a finite number, found True"),
        ((*TERM, "strength"), float("nan"), "'strength' must be a finite number, found nan"),
        ((*TERM, "factor"), float("inf"), "'factor' must be a finite number, found inf"),
        ((*TERM, "window"), [1], "'window' must be a high timestep and a low one, found [1]"),
        ((*TERM, "window"), [1, 9], "'window' must be a high timestep and a low one, found [1, 9]"),
        ((*TERM, "window"), "all", "'window' must be a list of whole numbers, found 'all'"),
        ((*TERM, "window"), [9.5, 1], "'window' must be a list of whole numbers, found [9.5, 1]"),
        ((*TERM, "mask"), "mouth", "'mask' must be a list, found 'mouth'"),
        ((*TERM, "mask"), [[1, 0], [1]], "'mask' must be rows of as many numbers each"),
        ((*TERM, "mask"), [1, 0], "'mask' must be rows of as many numbers each"),
        ((*TERM, "mask"), [["x"]], "'mask' must be rows of as many numbers each"),
        ((*TERM, "without"), None, "'without' is missing"),
        ((*TERM, "without"), ["b"], "expected an object with 'file', found 'b'"),
        ((*TERM, "per_timestep"), 1, "'per_timestep' must be true or false, found 1"),
        (SAMPLES, None, "'samples' is missing"),
        (SAMPLES, [1, 2], "expected an object with 'inversion', found [1, 2]"),
        (SAMPLES, {"seeds": []}, "'seeds' must be a list of whole numbers, found []"),
        (SAMPLES, {"seeds": [-1]}, "'seeds' must be a list of whole numbers, found [-1]"),
        (SAMPLES, {"inversion": "a", "sha256": "b"}, "'rows' is missing"),
        (("setting",), {}, "not the setting of a run"),
        (("precision",), "float31", "'precision' must be such as float32, found 'float31'"),
        (("precision",), None, "'precision' is missing"),
        (("batch_size",), 0, "'batch_size' must be a whole number from 1 up, found 0"),
        (("batch_size",), 1.5, "'batch_size' must be a whole number from 1 up, found 1.5"),
        (("version",), 1, "'version' must be text, found 1"),
    ],
)
def test_damaged_recipes_are_one_clear_line(
    recipe_json: str, tmp_path: Path, where: tuple[Any, ...], value: Any, message: str
) -> None:
    data = json.loads(recipe_json)
    if not where:
        data = value
    else:
        *path, last = where
        parent = data
        for key in path:
            parent = parent[key]
        parent[last] = value
        if value is None:
            del parent[last]
    (tmp_path / "bad.json").write_text(json.dumps(data))
    with pytest.raises(HspaceError) as raised:
        Recipe.load(tmp_path / "bad.json")
    assert str(raised.value) == f"{tmp_path / 'bad.json'}: {message}" or (
        message == "not the setting of a run" and message in str(raised.value)
    )


@pytest.fixture(scope="module")
def recipe_json(whole: Path) -> str:
    recipe = Recipe.of(h(whole)["a"], sampler_of(), SEEDS, files(whole))
    return json.dumps(recipe.to_json())


def test_files_that_are_no_recipes(folder: Path) -> None:
    for content, message in (
        (b"{", "no readable JSON"),
        (b"\xff\xfe\x00", "no readable JSON"),
        (b"", "no readable JSON"),
    ):
        (folder / "bad.json").write_bytes(content)
        with pytest.raises(HspaceError, match=f"bad.json: {message}"):
            Recipe.load(folder / "bad.json")
    with pytest.raises(HspaceError, match=r"nothing.json: expected a recipe, found nothing"):
        Recipe.load(folder / "nothing.json")
    with pytest.raises(HspaceError, match="here: expected a recipe, found a folder"):
        Recipe.load(folder)
    with pytest.raises(HspaceError, match=r"h.safetensors: no readable JSON"):
        Recipe.load(folder / "h.safetensors")


def test_a_recipe_that_was_edited_by_hand(folder: Path) -> None:
    photo = folder / "photo1.safetensors"
    latents, path = Inversion.load(photo)[[2, 3]], folder / "r.json"
    Edit.of(h(folder)["a"]).save(path, sampler_of(), latents, files=files(folder), photo=photo)
    data = json.loads(path.read_text())
    data["terms"][0].update(strength=2, direction="b")
    data["samples"]["rows"] = [1]
    path.write_text(json.dumps(data))
    expected = sampler_of().run(Inversion.load(photo)[[1]], 2.0 * h(folder)["b"])
    assert torch.equal(Recipe.load(path).run(MODEL), expected)
    data["samples"]["rows"] = [4]
    data["terms"][0]["direction"] = "z"
    path.write_text(json.dumps(data))
    with pytest.raises(HspaceError, match="no row 4 in 4 pictures"):
        Recipe.load(path).latents()
    with pytest.raises(HspaceError, match="no direction 'z'; there are a, b, c"):
        Recipe.load(path).edit()


def test_a_failed_write_leaves_the_earlier_recipe(folder: Path) -> None:
    recipe = Recipe.of(h(folder)["a"], sampler_of(), SEEDS, files(folder))
    (folder / "file").write_text("no folder")
    with pytest.raises(HspaceError, match="can't write"):
        recipe.save(folder / "file" / "r.json")
    assert (folder / "file").read_text() == "no folder"
