"""Converted checkpoints of denoising-diffusion-pytorch compute what the version that wrote them computes."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.formats.originals.denoising_diffusion import Unet, buffers
from tests.models.formats.originals.saving import made, save, state, x_t
from torch import Tensor

import hspace
from hspace.diffusion import Sampler
from hspace.discovery import PCA
from hspace.errors import HspaceError
from hspace.models import convert

BETAS = torch.linspace(1e-3, 0.2, 50, dtype=torch.float64)
SAID = {"schedule": "cosine", "prediction_type": "epsilon"}
VERSIONS = ("1.0.0", "1.5.8", "1.6.4", "1.7.0", "1.7.3", "1.7.4", "1.8.0", "1.9.0", "2.0.0", "2.3.4")
VARIANTS: dict[str, dict[str, Any]] = {
    "other heads": {"attn_heads": 2, "attn_dim_head": 8},
    "full attention on the first level": {"full_attn": (True, False), "attn_heads": 2},
    "four levels": {"dim_mults": (1, 2, 4, 2)},
    "one level": {"dim_mults": (2,)},
    "its own first width": {"init_dim": 16},
    "learned variance": {"out_dim": 6},
    "grey": {"channels": 1},
}


def numbers(version: str) -> tuple[int, int, int]:
    first, second, third = (int(part) for part in version.split("."))
    return first, second, third


def trained(network: Any, version: str | None, objective: str = "pred_noise", **of_buffers: Any) -> dict[str, Any]:
    """A file of its `Trainer`: the weights and, in ema_pytorch's wrapping, their moving average, `network`."""
    around = buffers(BETAS, objective, **of_buffers)
    averaged = {**state(network, "model."), **around}
    last = {name: 1.5 * tensor if name.startswith("model.") else tensor for name, tensor in averaged.items()}
    ema: dict[str, Any] = {"initted": torch.tensor(True), "step": torch.tensor(7)}
    ema |= {f"online_model.{name}": tensor for name, tensor in last.items()}
    ema |= {f"ema_model.{name}": tensor for name, tensor in averaged.items()}
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    content = {"step": 7, "model": last, "opt": optimizer, "ema": ema, "scaler": None}
    return content | ({} if version is None else {"version": version})


def converted(tmp_path: Path, content: Any, **options: Any) -> hspace.Denoiser:
    convert(save(content, tmp_path / "model-1.pt"), tmp_path / "out", image_size=16, **options)
    return hspace.load(tmp_path / "out", device="cpu", dtype=torch.float64)


def check(original: Any, model: hspace.Denoiser) -> None:
    x = x_t(model.image_shape[0])
    for t in (0, 1, 25, 49):
        with torch.no_grad():
            found, expected = model.network(x, torch.full((2,), t)).sample, original(x, torch.full((2,), t))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_computes_what_it_computed(tmp_path: Path, version: str) -> None:
    original = made(lambda: Unet(version=numbers(version)))
    model = converted(tmp_path, trained(original, version))
    check(original, model)
    torch.testing.assert_close(model.alphas_cumprod, (1 - BETAS).cumprod(0), rtol=1e-6, atol=0)
    assert (model.image_shape, model.h_shape, model.prediction_type) == ((3, 16, 16), (16, 8, 8), "epsilon")


def test_versions_differ() -> None:
    """What the versions are told apart for is not nothing: the same weights, read as another version's."""
    outputs = []
    for version in ("1.6.4", "1.7.0", "1.7.3", "1.7.4"):
        network = made(lambda: Unet(version=numbers(version)))  # noqa: B023 - called at once
        with torch.no_grad():
            outputs.append(network(x_t(), torch.full((2,), 25)))
    for one, other in pairwise(outputs):
        assert float((one - other).abs().max()) > 1e-4


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_variant(tmp_path: Path, options: dict[str, Any]) -> None:
    original = made(lambda: Unet(**options))
    check(original, converted(tmp_path, trained(original, "2.3.4")))


@pytest.mark.parametrize("gamma", [math.inf, 5.0])
@pytest.mark.parametrize(
    ("objective", "kind"), [("pred_noise", "epsilon"), ("pred_v", "v_prediction"), ("pred_x0", "sample")]
)
def test_the_weight_of_the_loss_tells_the_objective(tmp_path: Path, objective: str, kind: str, gamma: float) -> None:
    content = trained(made(Unet), "2.3.4", objective, min_snr_gamma=gamma)
    assert converted(tmp_path, content).prediction_type == kind


def test_without_it_the_objective_has_to_be_said(tmp_path: Path) -> None:
    """Older versions: the loss is weighted by `p2_loss_weight`, whatever the objective."""
    content = trained(made(Unet), "1.5.4")
    for named in (content["model"], content["ema"]):
        for key in [key for key in named if key.endswith("loss_weight")]:
            named[key.replace("loss_weight", "p2_loss_weight")] = named.pop(key)
    with pytest.raises(HspaceError, match="doesn't say what the network predicts: give the prediction type"):
        converted(tmp_path, content)
    assert converted(tmp_path, content, prediction_type="sample").prediction_type == "sample"


def test_the_weights_of_the_last_step(tmp_path: Path) -> None:
    original = made(Unet)
    content = trained(original, "2.3.4")
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.copy_(1.5 * parameter.float())
    check(original, converted(tmp_path, content, weights="model"))


def test_a_network_alone(tmp_path: Path) -> None:
    original = made(Unet)
    said = {"schedule": "sigmoid", "train_timesteps": 100, "prediction_type": "v_prediction"}
    model = converted(tmp_path, state(original), **said)
    check(original, model)
    u = torch.linspace(0, 1, 101, dtype=torch.float64)
    low, high = torch.tensor([-3.0, 3.0], dtype=torch.float64).sigmoid()
    bar = (high - (6 * u - 3).sigmoid()) / (high - low)
    torch.testing.assert_close(model.alphas_cumprod[:99], bar[1:100], rtol=1e-4, atol=1e-6)
    assert model.prediction_type == "v_prediction"


def test_methods_run_on_it(tmp_path: Path) -> None:
    """A network of our own with the taps of a U-Net: one encoding and many decodings, directions, half precision."""
    original = made(Unet)
    model = converted(tmp_path, trained(original, "2.3.4"))
    assert model.can_replay
    for tap in ("before", "middle", "mid_block", "up_blocks.0", "resnet_out"):
        tapped = model.tapped(tap)
        encoding = tapped.encode(x_t(), 25)
        eps = model.predict(x_t(), 25).eps
        torch.testing.assert_close(tapped.decode(encoding).eps, eps, rtol=0, atol=0)
        doubled = torch.cat([encoding.h, encoding.h + 0.1])
        shifted = tapped.predict(x_t(), 25, shift=torch.full_like(encoding.h[0], 0.1)).eps
        torch.testing.assert_close(tapped.decode(encoding, doubled).eps, torch.cat([eps, shifted]), rtol=0, atol=1e-10)
        assert not torch.equal(eps, shifted)
    sampler = Sampler(model, steps=3, eta=1.0)
    directions = PCA(2).fit(sampler, seeds=range(6)).directions_
    plain, edited = sampler.run([0]), sampler.run([0], edit=3.0 * directions["pc0"])
    assert torch.equal(plain, sampler.run([0], edit=0.0 * directions["pc0"]))
    assert not torch.equal(plain, edited)
    half = hspace.load(tmp_path / "out", device="cpu", dtype=torch.bfloat16)
    rough, exact = half.predict(x_t().float(), 25).eps, model.predict(x_t(), 25).eps
    assert float((rough - exact).std() / exact.std()) < 0.1


def early(version: str) -> Any:
    return trained(made(lambda: Unet(version=numbers(version))), version)


def changed(**replaced: Tensor) -> Any:
    content = trained(made(Unet), "2.3.4")
    content["ema"] |= {f"ema_model.model.{name.replace('__', '.')}": value for name, value in replaced.items()}
    return content


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            lambda: trained(made(lambda: Unet(version=(1, 5, 4))), None),
            {},
            "doesn't say by which: give the package vers",
        ),
        (lambda: early("1.5.4"), {"package_version": "1.9.0"}, r"before 1\.8 .* not 1\.9\.0"),
        (lambda: early("1.5.4"), {"package_version": "0.27.2"}, r"from 1\.0 on are supported, not 0\.27\.2"),
        (lambda: early("1.5.4"), {"package_version": "new"}, "must look like 1.5.4, not 'new'"),
        (lambda: early("1.7.1"), {}, r"version 1\.7\.1 of .*, which is not supported"),
        (lambda: trained(made(Unet), "2.3.4"), {"schedule": "cosine"}, "has betas of its own: leave out schedule"),
        (lambda: trained(made(Unet), "2.3.4"), {"heads": 4}, "heads: no option of denoising-diffusion-pytorch"),
        (lambda: state(made(Unet)), {}, "holds no betas: give the schedule"),
        (lambda: changed(time_mlp__0__weights=torch.zeros(8)), {}, "Fourier features of t are not supported"),
        (lambda: changed(init_conv__weight=torch.zeros(8, 6, 7, 7)), {}, "self-conditioning is not supported"),
        (lambda: changed(cond__weight=torch.zeros(1)), {}, r"1 left over \(cond\.weight\)"),
        (lambda: {"model": state(made(Unet), "model.") | {"odd": torch.zeros(1)}}, SAID, r"left over \(odd\)"),
    ],
)
def test_what_is_not_supported_or_not_said(tmp_path: Path, content: Any, options: Any, message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        converted(tmp_path, content(), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["model-1.pt"]


def test_a_version_may_be_said(tmp_path: Path) -> None:
    original = made(lambda: Unet(version=(1, 5, 4)))
    check(original, converted(tmp_path, trained(original, None), package_version="1.5.4"))
