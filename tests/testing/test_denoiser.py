"""Every line of the contract: it holds for real adapters, and fails for networks that break it."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import networks, tiny
from torch import Tensor, nn

import hspace
from hspace.errors import HspaceError
from hspace.models import Denoiser, Prediction
from hspace.testing import CheckFailed, Report, check_denoiser

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
GOOD: dict[str, Callable[[], Denoiser]] = {
    "unet": tiny.denoiser,
    "unet, float32": lambda: tiny.denoiser(dtype=torch.float32),
    "unet, v, decoder": lambda: tiny.denoiser("v_prediction", tap="up_blocks.0"),
    "unet, sample, input of the middle": lambda: tiny.denoiser("sample", tap="before"),
    "learned variance": lambda: tiny.denoiser(out_channels=6),
    "own": tiny.plain_denoiser,
    "own, decoded whole": lambda: networks.denoiser(networks.seeded(networks.Remembering)),
    "own, without weights": lambda: tiny.gaussian_denoiser(0.3, 0.5),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD.keys())
def test_adapters_that_work_pass(make: Callable[[], Denoiser]) -> None:
    model = make()
    report = check_denoiser(model)
    assert report.passed, str(report)
    assert report["encode and decode"].found == model.replay.reason
    assert len(report.checks) == 15


def test_the_recipe_of_an_own_network_passes(shared_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMEFACES64", str(shared_models / "animefaces64"))
    whole = runpy.run_path(str(RECIPES / "own_network.py"))["animefaces64"]()
    assert whole.h_shape == (256, 16, 16)
    options = {"image_shape": (3, 32, 32), "tap": whole.tap.name, "start": whole.start}  # it takes smaller ones: faster
    model = Denoiser(whole.network, whole.alphas_cumprod, **options)
    report = check_denoiser(model)
    assert report.passed, str(report)
    assert report["prediction type"].passed, str(report)  # it is trained
    assert model.can_replay


class Own(networks.Base):
    """What the broken ones below start from."""


class AnotherSize(Own):
    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        return super().forward(x_t, timesteps)[..., ::2, ::2]


class BatchStatistics(Own):
    def middle(self, x: Tensor) -> Tensor:
        return super().middle((x - x.mean(0)) / (x.var(0, unbiased=False) + 0.1).sqrt())


class ChangesItsInput(Own):
    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        return super().forward(x_t.mul_(1.5), timesteps)


class ReadsHooks(Own):
    def middle(self, x: Tensor) -> Tensor:
        return super().middle(x) + (0.01 if self.inner._forward_hooks else 0.0)


class WithoutEffect(Own):
    def middle(self, x: Tensor) -> Tensor:
        return x + 0 * self.inner(x)


class NeverReached(Own):
    def middle(self, x: Tensor) -> Tensor:
        return x


class Twice(Own):
    def middle(self, x: Tensor) -> Tensor:
        return self.inner(super().middle(x))


class NotFinite(Own):
    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        eps = super().forward(x_t, timesteps)
        return eps / (timesteps < 99).to(eps)[:, None, None, None]


class OfAnotherShape(Own):
    """As where tokens are left out at some timesteps."""

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        wide = 8 if int(timesteps[0]) > 30 else 4
        x = self.first(x_t) + self.embedded(timesteps)
        h = nn.functional.interpolate(self.inner(x[..., :wide]), size=(8, 8))
        return self.last(torch.tanh(h)) + 0.5 * x_t


class MixesRows(Own):
    """Its h goes into the next row."""

    def middle(self, x: Tensor) -> Tensor:
        h = super().middle(x)
        return h + 0.1 * h.roll(1, 0)


class RemembersLate(networks.Remembering):
    """Where the probe does not look: at high timesteps a replay would miss what is left in an attribute."""

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        self.late = float(timesteps[0]) > 60
        return super().forward(x_t, timesteps)

    def middle(self, x: Tensor) -> Tensor:
        h = self.inner(self.block(x))
        return h + self.block.kept if self.late else h


class Detached(Own):
    def middle(self, x: Tensor) -> Tensor:
        return super().middle(x).detach()


class WrongGradient(Own):
    """As with a stop of gradients that someone forgot: every route agrees, and none with what happens."""

    def middle(self, x: Tensor) -> Tensor:
        h = super().middle(x)
        return 0.5 * h + 0.5 * h.detach()


class Counts(Own):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def middle(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().middle(x)


class Trains(Own):
    def middle(self, x: Tensor) -> Tensor:
        self.last.train()
        return super().middle(x)


class LeavesHooks(Own):
    def middle(self, x: Tensor) -> Tensor:
        if not self.last._forward_hooks:
            self.last.register_forward_hook(lambda *_: None)
        return super().middle(x)


BROKEN: dict[type[nn.Module], tuple[str, ...]] = {
    AnotherSize: ("shapes and types",),
    networks.Random: ("deterministic",),
    BatchStatistics: ("batch equals single",),
    ChangesItsInput: ("input",),
    ReadsHooks: ("shift of 0",),
    WithoutEffect: ("shift", "directions"),
    NeverReached: ("tap",),
    Twice: ("tap",),
    NotFinite: ("finite",),
    OfAnotherShape: ("tap",),
    MixesRows: ("rows apart",),
    RemembersLate: ("encode and decode",),
    Detached: ("gradients",),
    WrongGradient: ("gradients",),
    Counts: ("left as it was",),
    Trains: ("left as it was",),
    LeavesHooks: ("left as it was",),
}
FOUND = {
    AnotherSize: "eps and x_0 can't be made of x_t (2, 3, 8, 8) and what comes out",
    networks.Random: "of two passes at t = 99 differ by",
    BatchStatistics: "a batch and its rows alone at t = 99 differ by",
    ChangesItsInput: "x_t before and after a pass at t = 99 differ by",
    ReadsHooks: "of a shift of 0 and none at t = 99 differ by",
    WithoutEffect: "a shift as large as h itself does not change eps: choose another tap",
    NeverReached: "tap 'inner' is never reached in a forward pass",
    Twice: "tap 'inner' is reached 2 times in a forward pass",
    NotFinite: "eps at t = 99 has 384 numbers that are not",
    OfAnotherShape: "the shape of h differs between timesteps",
    MixesRows: "a row with the h of the other one shifted and without differ by",
    RemembersLate: "of decode and predict at t = 99 differ by",
    Detached: "eps of custom does not depend on h at 'inner'",
    WrongGradient: "of its length off differences of eps",
    Counts: "weights or buffers of the network have changed: calls",
    Trains: "module 'last' is in training mode",
    LeavesHooks: "hooks are left on last",
}


@pytest.mark.parametrize(("kind", "names"), BROKEN.items(), ids=[kind.__name__ for kind in BROKEN])
def test_networks_broken_in_one_way_fail_where_they_are(kind: type[nn.Module], names: tuple[str, ...]) -> None:
    report = check_denoiser(networks.denoiser(networks.seeded(kind)), raises=False)
    failing = [check.name for check in report.failures]
    assert set(names) <= set(failing), str(report)
    assert FOUND[kind] in report[names[0]].found
    assert not report.passed


def test_the_base_of_the_broken_ones_is_not() -> None:
    assert check_denoiser(networks.denoiser(networks.seeded(Own))).passed


@pytest.mark.parametrize("kind", [RemembersLate, Detached, WrongGradient, Trains, LeavesHooks])
def test_what_is_not_broken_is_not_said_to_be(kind: type[nn.Module]) -> None:
    report = check_denoiser(networks.denoiser(networks.seeded(kind)), raises=False)
    assert tuple(check.name for check in report.failures) == BROKEN[kind]


def test_a_prediction_that_does_not_fit_its_schedule_fails() -> None:
    class Wrong(Denoiser):
        def predict(self, *args: Any, **options: Any) -> Prediction:
            eps, _ = super().predict(*args, **options)
            return Prediction(eps, eps)

    model = Wrong(tiny.unet(), tiny.scheduler().alphas_cumprod, image_shape=tiny.IMAGE_SHAPE)
    report = check_denoiser(model, raises=False)
    assert "sqrt(alpha) x_0 + sqrt(1 - alpha) eps and x_t at t = 99 differ by" in report["eps and x_0"].found
    assert report["finite"].passed


def test_directions_that_a_model_would_not_know_again_fail() -> None:
    class Forgetful(Denoiser):
        hashes = iter(range(10**6))

        def __getattribute__(self, name: str) -> Any:
            return f"{next(Forgetful.hashes):016d}" if name == "weight_hash" else super().__getattribute__(name)

    model = Forgetful(tiny.unet(), tiny.scheduler().alphas_cumprod, image_shape=tiny.IMAGE_SHAPE)
    report = check_denoiser(model, raises=False)
    assert [check.name for check in report.failures] == ["directions"]


def test_half_precision_is_checked_when_asked_for() -> None:
    class Overflows(networks.Base):
        def middle(self, x: Tensor) -> Tensor:
            return super().middle(x * 1e6) / 1e6  # beyond float16

    good = check_denoiser(networks.denoiser(networks.seeded(networks.Base)), half=torch.float16)
    assert good["in torch.float16"].passed
    model = networks.denoiser(networks.seeded(Overflows))
    assert check_denoiser(model, half=torch.bfloat16).passed
    report = check_denoiser(model, half=torch.float16, raises=False)
    assert "has numbers that are not finite" in report["in torch.float16"].found
    assert model.dtype == torch.float64


def test_an_untrained_network_and_a_wrong_prediction_type_get_a_hint() -> None:
    report = check_denoiser(tiny.denoiser())
    hint = report["prediction type"]
    assert (hint.passed, hint.required, report.passed) == (False, False, True)
    trained = tiny.gaussian_denoiser(0.3, 0.5)
    assert check_denoiser(trained)["prediction type"].passed
    options = {"image_shape": (1, 8, 8), "tap": "inner", "spacing": "trailing"}
    wrong = Denoiser(trained.network, trained.alphas_cumprod, prediction_type="v_prediction", **options)
    assert "goes with the noise by -1.00" in check_denoiser(wrong, raises=False)["prediction type"].found


def test_failures_are_raised_in_one_line() -> None:
    model = networks.denoiser(networks.seeded(Detached))
    with pytest.raises(CheckFailed, match=r"custom: 1 of 15 checks fail: gradients \(.*") as caught:
        check_denoiser(model)
    assert isinstance(caught.value, (HspaceError, AssertionError))
    assert "\n" not in str(caught.value)
    assert caught.value.report.failures[0].name == "gradients"


def test_a_report_has_a_line_for_every_check() -> None:
    report = check_denoiser(tiny.gaussian_denoiser(0.3, 0.5))
    lines = str(report).splitlines()
    assert lines[0] == "custom: 15 checks, none fails"
    assert [line.split(maxsplit=1)[0] for line in lines[1:]] == ["ok"] * 15
    assert isinstance(report, Report)


def test_progress_counts_checks() -> None:
    seen: list[tuple[int, int]] = []
    check_denoiser(tiny.plain_denoiser(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 15) for i in range(15)]


def test_the_kit_is_found_as_an_attribute() -> None:
    assert hspace.testing.check_denoiser is check_denoiser
    with pytest.raises(AttributeError, match="module 'hspace' has no attribute 'nothing'"):
        _ = hspace.nothing
