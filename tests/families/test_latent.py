"""Unconditional latent diffusion (LDMPipeline): every method, on pictures that come out of an autoencoder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from diffusers import LDMPipeline
from PIL import Image
from tests import pipelines, tiny
from torch import Tensor
from typer.testing import CliRunner

import hspace
from hspace.app.painter import Painter
from hspace.app.scene import Scene
from hspace.app.work.bench import Bench, Opening
from hspace.app.work.jobs import PictureSearch
from hspace.cli import app
from hspace.diffusion import Inversion, Prefixes, draw_samples
from hspace.directions import swap
from hspace.errors import HspaceError
from hspace.evaluation.response import respond
from hspace.masks import as_masks
from hspace.models import Denoiser
from hspace.photos import read_photos

STEPS = 4
LATENTS, PICTURE = (3, pipelines.LATENT_SIZE, pipelines.LATENT_SIZE), (3, pipelines.PIXELS, pipelines.PIXELS)

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the layout of CompVis/ldm-celebahq-256; like its file, that of the VQ-VAE has no scale."""
    path = tmp_path_factory.mktemp("models") / "ldm"
    pipelines.ldm("v_prediction").save_pretrained(path)
    rescaled(path, None)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Denoiser:
    return hspace.load(folder, device="cpu")


@pytest.fixture(scope="module")
def sampler(model: Denoiser) -> hspace.Sampler:
    return hspace.Sampler(model, STEPS, eta=1.0, batch_size=4)


@pytest.fixture(scope="module")
def pcs(sampler: hspace.Sampler) -> hspace.Directions:
    return hspace.PCA(2).fit(sampler, range(8)).directions_


@pytest.fixture
def decoded(model: Denoiser) -> Iterator[list[int]]:
    """Pictures in every pass of the decoder."""
    assert model.codec is not None
    seen: list[int] = []
    handle = model.codec.autoencoder.decoder.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    yield seen
    handle.remove()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Four files, two of them darker."""
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        pixels = np.random.default_rng(i).integers(0, 120, (30, 20, 3)) + 120 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return paths


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*args: object) -> Result:
        result = CliRunner().invoke(app, [str(arg) for arg in args])
        assert result.exit_code == 0, result.output
        return result

    return invoke


def rescaled(path: Path, scale: float | None) -> None:
    file = path / "vqvae" / "config.json"
    config = json.loads(file.read_text())
    config.pop("scaling_factor", None)
    file.write_text(json.dumps(config if scale is None else {**config, "scaling_factor": scale}))


def brightness(images: Tensor) -> dict[str, Tensor]:
    assert tuple(images.shape[1:]) == PICTURE
    return {"brightness": images.mean((1, 2, 3)), "left": images[..., : pipelines.PIXELS // 2].mean((1, 2, 3))}


@pytest.mark.parametrize("prediction_type", tiny.PREDICTION_TYPES)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_pipeline_of_diffusers(prediction_type: str, eta: float) -> None:
    """Its network says the same of the same x_t bit for bit; its scheduler calculates in float32 tensors, we don't."""
    pipe = pipelines.ldm(prediction_type)
    model = hspace.load(
        pipe, device="cpu"
    )  # its weights are frozen now: others have other kernels, even without a graph
    seen: list[tuple[Tensor, int, Tensor]] = []
    handle = pipe.unet.register_forward_hook(lambda _, args, out: seen.append((args[0], int(args[1]), out.sample)))
    torch.manual_seed(1)  # the pipeline hands no generator to its scheduler
    expected = pipe(3, torch.Generator().manual_seed(0), eta, STEPS, output_type="np").images
    handle.remove()
    torch.manual_seed(1)
    noise = {t: torch.randn(3, *LATENTS) for _, t, _ in seen}
    latents = tiny.FixedLatents(torch.randn(3, *LATENTS, generator=torch.Generator().manual_seed(0)), noise)
    sampler, visited = hspace.Sampler(model, STEPS, eta), []
    pictures = sampler.run(latents, visit=lambda t, x_t, _: visited.append((t, x_t.clone())))
    assert torch.equal(visited[0][1], seen[0][0])
    for (x_t, t, output), (timestep, ours) in zip(seen, visited, strict=True):
        assert t == timestep
        with torch.no_grad():
            prediction = model.predict(x_t, t)
        alpha = float(model.alphas_cumprod[t])
        said = {
            "epsilon": prediction.eps,
            "sample": prediction.x_0,
            "v_prediction": alpha**0.5 * prediction.eps - (1 - alpha) ** 0.5 * prediction.x_0,
        }[prediction_type]
        if prediction_type == "v_prediction":  # made of the output, and back
            torch.testing.assert_close(said, output, rtol=0, atol=1e-5)
        else:
            assert torch.equal(said, output)
        torch.testing.assert_close(ours, x_t, rtol=1e-4, atol=1e-4)
    found = (pictures / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=0, atol=1e-4)


def test_a_file_without_a_scale_has_none(folder: Path, tmp_path: Path) -> None:
    """diffusers fills in 0.18215, its LDMPipeline divides by it, and the pictures of CompVis' model are spoilt."""
    x_0 = torch.randn(2, *LATENTS, generator=torch.Generator().manual_seed(0))
    from_folder, from_object = hspace.load(folder, device="cpu"), hspace.load(LDMPipeline.from_pretrained(folder))
    for model in (from_folder, from_object):
        assert model.codec is not None
        assert model.codec.scale == 1.0
        assert any("no scaling_factor" in note for note in model.notes)
        with torch.no_grad():
            assert torch.equal(model.to_pictures(x_0), model.codec.autoencoder.decode(x_0).sample)
    pipelines.ldm("v_prediction").save_pretrained(tmp_path)
    for scale in (0.18215, 0.5, 1.0):
        rescaled(tmp_path, scale)
        for source in (tmp_path, LDMPipeline.from_pretrained(tmp_path)):
            model = hspace.load(source, device="cpu")
            assert model.codec is not None
            assert model.codec.scale == scale
            assert not any("scaling_factor" in note for note in model.notes)
            with torch.no_grad():
                assert torch.equal(model.to_pictures(x_0), model.codec.autoencoder.decode(x_0 / scale).sample)


def test_a_pipeline_built_in_python_has_the_scale_of_its_configuration() -> None:
    model = hspace.load(pipelines.ldm(), device="cpu")
    assert model.codec is not None
    assert model.codec.scale == 0.18215


def test_x_0_and_pictures(sampler: hspace.Sampler, model: Denoiser, decoded: list[int]) -> None:
    assert (model.image_shape, model.picture_shape, model.latent_scale) == (LATENTS, PICTURE, 2)
    x_0 = sampler.run(range(3), pictures=False)
    assert not decoded
    assert tuple(x_0.shape) == (3, *LATENTS)
    pictures = sampler.run(range(3))
    assert tuple(pictures.shape) == (3, *PICTURE)
    assert torch.equal(model.to_pictures(x_0), pictures)
    assert decoded


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
def test_strength_0_is_the_original_and_others_are_not(
    sampler: hspace.Sampler, pcs: hspace.Directions, injection: Any
) -> None:
    plain = sampler.run(range(3))
    zero = hspace.Edit.of(pcs["pc0"], 0.0, injection=injection)
    assert torch.equal(sampler.run(range(3), zero), plain)
    assert torch.equal(sampler.run(range(3), [zero, None, zero]), plain)
    moved = sampler.run(range(3), hspace.Edit.of(pcs["pc0"], 8.0, injection=injection))
    assert bool(((moved - plain).abs().flatten(1).amax(1) > 1e-2).all())


def test_a_batch_is_the_same_as_one_by_one(sampler: hspace.Sampler, pcs: hspace.Directions) -> None:
    together = sampler.run(range(5), 2.0 * pcs["pc1"])
    alone = torch.cat([sampler.run([seed], 2.0 * pcs["pc1"]) for seed in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    shared = sampler.run(range(5), 2.0 * pcs["pc1"], prefixes=Prefixes())
    torch.testing.assert_close(together, shared, rtol=0, atol=1e-4)
    assert tuple(draw_samples(sampler, range(2)).shape) == (2, *PICTURE)


def test_a_decoder_out_of_memory_halves_the_batch(model: Denoiser) -> None:
    assert model.codec is not None
    expected = hspace.Sampler(model, STEPS, batch_size=2).run(range(6))

    def full(_: Any, args: Any) -> None:
        if len(args[0]) > 2:
            raise torch.OutOfMemoryError("out of memory")

    sampler = hspace.Sampler(model, STEPS)
    handle = model.codec.autoencoder.decoder.register_forward_pre_hook(full)
    try:
        found = sampler.run(range(6))
    finally:
        handle.remove()
    assert sampler.batch_size == 2
    assert torch.equal(found, expected)


def test_directions_are_saved_loaded_and_applied(
    sampler: hspace.Sampler, pcs: hspace.Directions, folder: Path, tmp_path: Path
) -> None:
    pcs.save(tmp_path / "pcs.safetensors")
    again = hspace.Directions.load(tmp_path / "pcs.safetensors")
    elsewhere = hspace.Sampler.on(hspace.load(folder, device="cpu"), again.setting, batch_size=4)
    edit = hspace.Edit.of(again["pc0"], 3.0)
    pictures = sampler.run(range(2), 3.0 * pcs["pc0"])
    assert torch.equal(elsewhere.run(range(2), edit), pictures)
    edit.save(tmp_path / "recipe.json", elsewhere, range(2), files=[tmp_path / "pcs.safetensors"])
    assert torch.equal(hspace.Recipe.load(tmp_path / "recipe.json").run(elsewhere.model), pictures)


def test_components_decode_nothing_unless_somebody_looks(sampler: hspace.Sampler, decoded: list[int]) -> None:
    quiet = hspace.PCA(2).fit(sampler, range(8)).directions_
    hspace.calibrate(quiet, sampler, range(4))
    assert not decoded
    shown: dict[int, Tensor] = {}
    looked = hspace.PCA(2).fit(sampler, range(8), on_batch=lambda rows, x: shown.update({rows.start: x})).directions_
    assert torch.equal(torch.cat([shown[0], shown[4]]), sampler.run(range(8)))
    for a, b in zip(quiet, looked, strict=True):
        assert torch.equal(a.vectors, b.vectors)


def test_masks_of_a_jacobian_are_of_the_picture(sampler: hspace.Sampler) -> None:
    timestep = sampler.timesteps[1]

    def fitted(mask: Any, **options: Any) -> hspace.Jacobian:
        options = {"timesteps": timestep, "outside_rank": 2, "unit_seeds": range(4), **options}
        return hspace.Jacobian(2, mask=mask, **options).fit(sampler, [0, 1])

    def middle(images: Tensor) -> dict[str, Tensor]:
        assert tuple(images.shape[1:]) == PICTURE
        masks = torch.zeros(len(images), *PICTURE[1:])
        masks[:, 4:12, 4:12] = 1
        return {"middle": masks}

    by_box = fitted("4,4,12,12")
    on_latents = torch.zeros(LATENTS[1:])
    on_latents[2:6, 2:6] = 1
    assert by_box.images_ is not None
    assert by_box.saliency_ is not None
    assert by_box.masks_ is not None
    assert torch.equal(by_box.images_, sampler.run([0, 1]))
    assert tuple(by_box.saliency_.shape) == (2, 1, 2, *LATENTS[1:])
    assert torch.equal(by_box.masks_, on_latents.expand(2, -1, -1))
    in_pixels = as_masks("4,4,12,12", (pipelines.PIXELS, pipelines.PIXELS))[0]
    for other in (fitted(in_pixels), fitted(on_latents), fitted("middle", regions=middle)):
        for a, b in zip(by_box.directions_, other.directions_, strict=True):
            assert torch.equal(a.vectors, b.vectors)
    inside = (by_box.saliency_.square() * on_latents).sum((3, 4)) / by_box.saliency_.square().sum((3, 4))
    free = fitted(None, outside_rank=0)
    assert free.saliency_ is not None
    without = (free.saliency_.square() * on_latents).sum((3, 4)) / free.saliency_.square().sum((3, 4))
    assert float(inside.mean()) > float(without.mean()) + 0.1
    maps = hspace.plot.heatmaps(by_box.images_, by_box.saliency_[:, 0], masks=by_box.masks_)
    assert maps.width > 3 * 96
    with pytest.raises(HspaceError, match=r"expected \(16, 16\) \(the picture\) or \(8, 8\)"):
        fitted(torch.ones(5, 5))


def test_a_pooled_jacobian_decodes_nothing(sampler: hspace.Sampler, decoded: list[int]) -> None:
    timestep = sampler.timesteps[2]
    jacobian = hspace.Jacobian(1, timesteps=timestep, pooled=True, unit_seeds=range(4)).fit(sampler, range(3))
    assert jacobian.directions_.names == (f"t{timestep}-0",)
    assert not decoded


def test_masks_of_an_edit_are_of_the_picture(sampler: hspace.Sampler, pcs: hspace.Directions) -> None:
    """h is (8, 4, 4): four pixels of the picture are a cell of it."""
    from hspace.cli.edit import mask_for

    mask = mask_for("0,0,8,16", sampler.model, pcs.setting)
    assert torch.equal(mask, torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(4, 4))
    edit = hspace.Edit.of(pcs["pc0"], 8.0, mask=mask)
    assert bool((sampler.run([0], edit) - sampler.run([0])).any())


@pytest.mark.parametrize("space", ["h", "noise"])
def test_labelled_photos(sampler: hspace.Sampler, photos: list[Path], decoded: list[int], space: Any) -> None:
    options = {"unit_seeds": range(4), "space": space}
    bright = {"bright": [0, 1, 0, 1]}
    by_files = hspace.Labelled(**options).fit(sampler, photos, bright).directions_["bright"]
    assert not decoded  # photos are encoded, and that is all
    by_pictures = hspace.Labelled(**options).fit(sampler, read_photos(photos, PICTURE), bright).directions_["bright"]
    assert torch.equal(by_files.vectors, by_pictures.vectors)
    assert tuple(by_files.vectors.shape) == ((STEPS, 8, 4, 4) if space == "h" else (1, *LATENTS))
    assert bool((sampler.run([0], 4.0 * by_files) - sampler.run([0])).any())


def test_a_scorer_sees_pictures(sampler: hspace.Sampler) -> None:
    annotated = hspace.Annotated(["brightness"], n_extremes=3, unit_seeds=range(4)).fit(sampler, brightness, range(8))
    assert annotated.directions_.names == ("brightness",)
    response = respond(sampler, annotated.directions_, brightness, range(20, 24), strengths=(-3, 3))
    assert bool(response.scores.isfinite().all())


@pytest.mark.parametrize("kind", ["global", "block"])
def test_learned_directions(
    sampler: hspace.Sampler, photos: list[Path], decoded: list[int], tmp_path: Path, kind: Any
) -> None:
    """The networks that learn see latents; what is said of pictures is measured on pictures."""
    few = hspace.Sampler(sampler.model, 2, 0.0, batch_size=4)
    passes: list[int] = []
    learned = hspace.Learned(
        2, kind=kind, span=4, iterations=3, batch_size=4, replay_size=8, checked=4, reconstructor="lenet"
    )
    real = read_photos(photos, PICTURE)
    learned.fit(few, range(8), real=real, folder=tmp_path / "work", on_save=lambda _: passes.append(len(decoded)))
    assert passes
    assert not any(passes)  # until the effect on pictures is measured
    assert decoded
    assert tuple(learned.population_.images.shape) == (8, *LATENTS)
    assert torch.equal(learned.population_.images, few.run(range(8), pictures=False))
    assert torch.equal(learned._trainer.real, sampler.model.from_pictures(real))
    pairs = learned.pairs(range(100, 108))
    assert tuple(pairs.plain.shape) == (8, *LATENTS)
    assert 0 <= learned.tell(pairs).accuracy <= 1
    found = learned.hidden_codes(pairs, epochs=1, ways=("none", "jpeg", "blur"))  # JPEG is of pictures
    assert set(found) == {"none", "jpeg", "blur"}
    change = learned.change([0], [3.0])
    assert bool((few.run([50], change) - few.run([50])).any())
    with pytest.raises(HspaceError, match=r"real pictures must be of shape \(m, \*\(3, 16, 16\)\)"):
        hspace.Learned(2, span=4, checked=4).fit(few, range(8), real=torch.zeros(2, *LATENTS))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_photos_are_inverted(model: Denoiser, photos: list[Path], tmp_path: Path, eta: float) -> None:
    """x_0 comes back; the picture as far as the autoencoder brings it back."""
    sampler = hspace.Sampler(model, 8, eta)
    pictures = read_photos(photos, PICTURE)
    inversion = sampler.invert(pictures, refine=20)
    x_0 = model.from_pictures(pictures)
    torch.testing.assert_close(sampler.run(inversion, pictures=False), x_0, rtol=0, atol=1e-4 if eta else 0.1)
    alone = model.to_pictures(x_0)
    expected = 10 * torch.log10(4 / (alone - pictures).square().mean((1, 2, 3)))
    assert inversion.codec_psnr is not None
    torch.testing.assert_close(inversion.codec_psnr, expected)
    if eta:
        torch.testing.assert_close(inversion.psnr, inversion.codec_psnr, rtol=0, atol=1e-2)
    assert re.fullmatch(
        r"reconstructed with a PSNR of [\d.-]+ dB, where the autoencoder alone reaches [\d.-]+ dB",
        inversion.described(0),
    )
    inversion.save(tmp_path / "photo.safetensors")
    again = Inversion.load(tmp_path / "photo.safetensors")
    assert again.codec_psnr is not None
    assert torch.equal(again.codec_psnr, inversion.codec_psnr)
    assert torch.equal(again.images, pictures)
    assert again[1:2].codec_psnr == inversion.codec_psnr[1:2]
    assert torch.equal(sampler.run(again), sampler.run(inversion))
    assert sampler.invert(pictures[:1], refine=0, reconstruct=False).codec_psnr is None
    with pytest.raises(HspaceError, match=r"pictures must have shape \(n, 3, 16, 16\)"):
        sampler.invert(torch.zeros(1, *LATENTS))


def test_a_pixel_model_has_no_autoencoder_to_measure() -> None:
    sampler = hspace.Sampler(tiny.denoiser("sample"), 2)
    inversion = sampler.invert(sampler.run([0]))
    assert inversion.codec_psnr is None
    assert "autoencoder" not in inversion.described(0)


def test_gradients_are_of_latents(sampler: hspace.Sampler) -> None:
    shift = torch.zeros(sampler.model.h_shape, requires_grad=True)
    seen: list[tuple[int, ...]] = []

    def loss(x_0: Tensor, _: slice) -> Tensor:
        seen.append(tuple(x_0.shape))
        return x_0.square().mean()

    hspace.backpropagate(sampler, range(2), lambda t, h, rows: h + shift, loss)
    assert seen == [(2, *LATENTS)]
    assert shift.grad is not None
    assert bool(shift.grad.any())


def test_strips_and_swaps_are_of_pictures(sampler: hspace.Sampler, pcs: hspace.Directions) -> None:
    strip = hspace.plot.strip(sampler, [0, 1], pcs["pc0"], strengths=[-2, 0, 2])
    assert strip.width > 3 * 96
    plain, swapped = sampler.run([0, 1]), swap(sampler, [0, 1], donors=[7])
    assert swapped.shape == plain.shape
    assert bool((swapped != plain).any())


def test_the_painter(
    sampler: hspace.Sampler, pcs: hspace.Directions, folder: Path, photos: list[Path], tmp_path: Path
) -> None:
    painter = Painter(sampler, preview_steps=2)
    directions = {"pc0": pcs["pc0"]}
    scene = Scene(seed=3, strengths={"pc0": 2.0})
    one = hspace.Sampler(sampler.model, STEPS, 1.0)
    assert torch.equal(painter.draw(scene, directions), one.run([3], hspace.Edit.of(pcs["pc0"], 2.0)))
    assert tuple(painter.draw(scene, directions, quick=True).shape) == (1, *PICTURE)
    photo = painter.invert(read_photos(photos[:1], PICTURE), "me")
    assert tuple(painter.draw(Scene(photo="me"), directions, photos={"me": photo}).shape) == (1, *PICTURE)
    mask = np.zeros(PICTURE[1:], np.uint8)
    mask[4:12, 2:10] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    bench = Bench(Opening(str(folder), "cpu", "float32", sampler.setting()))
    search = PictureSearch(3, sampler.timesteps[1], 1, painted=str(tmp_path / "mask.png"), still=True)
    done = search.run(bench, False)
    assert done.directions.names == (f"part t{sampler.timesteps[1]}-0",)
    assert torch.equal(
        painter.draw(scene, {"pc0": done.directions[0]}), painter.draw(scene, {"pc0": done.directions[0]})
    )


def test_commands(run: Run, folder: Path, photos: list[Path], tmp_path: Path) -> None:
    on = ("-m", folder, "--device", "cpu")
    sampled = run("sample", *on, "--seeds", "0:2", "-s", STEPS, "-o", "each")
    assert "note: the VQ-VAE's file has no scaling_factor" in sampled.stdout
    assert Image.open("each/0.png").size == (16, 16)
    run("pca", *on, "-n", 6, "-k", 2, "-s", STEPS, "-o", "pcs.safetensors", "--picture", "pcs.png")
    run("edit", "pcs.safetensors", *on, "-d", "pc0", "--seeds", "0", "--mask", "0,0,8,16", "-o", "edit.png")
    inverted = run("invert", *photos[:2], *on, "-s", STEPS, "-o", "photo.safetensors", "--preview", "both.png")
    assert len(re.findall(r"a PSNR of [\d.-]+ dB, where the autoencoder alone reaches", inverted.stdout)) == 2
    run("edit", "pcs.safetensors", *on, "--photo", "photo.safetensors", "-d", "pc1", "-o", "photo.png")
    jacobian = ("--timesteps", "spread:1", "-k", 1, "-s", STEPS, "--unit-samples", 4, "--mask", "2,2,12,12")
    run("jacobian", *on, *jacobian, "--saliency", "where.png", "--picture", "strip.png")
    run("swap", *on, "--seeds", "0", "--donors", "1", "-s", STEPS, "-o", "swap.png")
    (tmp_path / "scorer.py").write_text("def scorer(images):\n    return {'brightness': images.mean((1, 2, 3))}\n")
    (tmp_path / "real").mkdir()
    for path in photos:
        path.rename(tmp_path / "real" / path.name)
    learning = ("-k", 2, "-n", 6, "--span", 4, "--iterations", 2, "--per-iteration", 4, "-s", 2, "--hidden-codes", 8)
    run("learn", *on, *learning, "--real", "real", "--scorer", "scorer.py:scorer", "--reconstructor", "lenet")
    pictures = ("pcs.png", "edit.png", "both.png", "photo.png", "where.png", "strip.png", "swap.png")
    assert all(min(Image.open(tmp_path / name).size) > 96 for name in pictures)
