"""Compiled stages, with hooks between them; the layout of weights; half precision on the CPU."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from tests import tiny
from torch import Tensor

import hspace
from hspace import HspaceError, HspaceWarning
from hspace.models import Denoiser

MODEL = tiny.denoiser(dtype=torch.float32)
STEPS = 3
SAMPLER = hspace.Sampler(MODEL, STEPS)
SHIFTS = tiny.h_shifts(MODEL, SAMPLER.timesteps)


def close(a: Tensor, b: Tensor, atol: float = 2e-5) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def graphs(compiled: Denoiser) -> list[str]:
    """Names of the stages that a pass runs in compiled form, in order."""
    assert compiled._compiled is not None
    names = {module: name for name, module in compiled.network.named_modules()}
    ran: list[str] = []
    for stage, forward in compiled._compiled._stages.items():

        def told(*args: Any, forward: Any = forward, stage: Any = stage, **kwargs: Any) -> Any:
            ran.append(names[stage])
            return forward(*args, **kwargs)

        compiled._compiled._stages[stage] = told
    return ran


@pytest.mark.parametrize("tap", ["mid_block", "middle", "down_blocks.0"])
def test_samples_are_those_of_the_network_as_it_is(tap: str) -> None:
    model = MODEL.tapped(tap)
    plain, sampler = hspace.Sampler(model, STEPS), hspace.Sampler(model.compiled("eager"), STEPS)
    shifts = tiny.h_shifts(model, plain.timesteps)
    for injection in ("symmetric", "asymmetric"):
        edit, zero = (tiny.Shift({t: k * h for t, h in shifts.items()}, injection) for k in (1, 0))
        seen: list[list[Tensor]] = [[], []]
        for drawn, h in zip((plain, sampler), seen, strict=True):
            drawn.run(range(3), edit, record=lambda t, x, rows, h=h: h.append(x))
        close(torch.stack(seen[0]), torch.stack(seen[1]))
        close(sampler.run(range(3), edit), plain.run(range(3), edit))
        assert torch.equal(sampler.run(range(3), zero), sampler.run(range(3)))


@pytest.mark.parametrize(
    ("tap", "left_out"), [("mid_block", set()), ("middle", {"mid_block"}), ("up_blocks.0.resnets.0", {"up_blocks.0"})]
)
def test_every_stage_is_compiled_but_that_with_the_tap_inside(tap: str, left_out: set[str]) -> None:
    compiled = MODEL.tapped(tap).compiled("eager")
    stages = ["time_embedding", "down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1"]
    ran = graphs(compiled)
    with torch.no_grad():
        compiled.observe(torch.zeros(1, *tiny.IMAGE_SHAPE), 5)
    assert ran == [name for name in stages if name not in left_out]


def test_gradients_and_products_are_those_of_the_network_as_it_is() -> None:
    compiled = MODEL.compiled("eager")
    ran = graphs(compiled)
    sampler = hspace.Sampler(compiled, STEPS, 0.0)
    found = []
    for drawn in (hspace.Sampler(MODEL, STEPS, 0.0), sampler):
        shift = torch.zeros(MODEL.h_shape, requires_grad=True)
        hspace.backpropagate(drawn, range(2), lambda t, h, rows, shift=shift: h + shift, lambda x, rows: x.sum())
        found.append(shift.grad)
    close(found[0], found[1], 1e-3)
    assert ran  # on the way there
    x_t = torch.zeros(1, *tiny.IMAGE_SHAPE)
    ran.clear()
    jacobians = [
        torch.autograd.functional.jacobian(
            lambda h, model=model: model.decode(model.encode(x_t, 5), h).eps, torch.zeros(1, *model.h_shape)
        )
        for model in (MODEL, compiled)
    ]
    assert torch.equal(*jacobians)
    assert not ran


def test_nothing_is_left_behind_after_an_exception() -> None:
    compiled = MODEL.compiled("eager")

    def interrupted(h: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compiled.observe(torch.zeros(1, *tiny.IMAGE_SHAPE), 5, change=interrupted)
    assert all("forward" not in module.__dict__ for module in MODEL.network.modules())


def test_a_machine_without_a_compiler_warns_once_and_goes_on() -> None:
    import torch._inductor.config as inductor

    compiled = MODEL.compiled()
    with warnings.catch_warnings(record=True) as caught, inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        warnings.simplefilter("always", HspaceWarning)
        x_0 = hspace.Sampler(compiled, STEPS).run(range(2))
    told = [str(warning.message) for warning in caught if warning.category is HspaceWarning]
    assert len(told) == 1
    assert "torch.compile fails here, the network runs as it is" in told[0]
    assert "no-such-compiler" in told[0]
    assert torch.equal(x_0, SAMPLER.run(range(2)))


def test_a_backend_that_there_is_not() -> None:
    with pytest.raises(HspaceError, match=r"torch.compile has no backend 'nonsense'; there are .*inductor"):
        MODEL.compiled("nonsense")


def test_load_compiles_and_lays_out() -> None:
    model = hspace.load((tiny.unet(dtype=torch.float32), tiny.scheduler()), channels_last=True, compile=True)
    assert model._compiled is not None
    assert model._compiled.backend == "inductor"
    assert model.network.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.network.conv_in.weight.is_contiguous()


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_last_changes_nothing_but_last_bits(injection: Any, dtype: torch.dtype) -> None:
    pair = tiny.unet(dtype=torch.float32), tiny.scheduler()
    plain = hspace.Sampler(hspace.load(pair, dtype=dtype), STEPS)
    x_0 = [plain.run(range(4)), plain.run(range(4), tiny.Shift(SHIFTS, injection))]
    model = hspace.load(pair, dtype=dtype, channels_last=True)
    assert model.network is plain.model.network
    sampler = hspace.Sampler(model, STEPS)
    edit, zero = tiny.Shift(SHIFTS, injection), tiny.Shift({t: 0 * h for t, h in SHIFTS.items()}, injection)
    atol = 2e-5 if dtype == torch.float32 else 0.3
    close(sampler.run(range(4)), x_0[0], atol)
    close(sampler.run(range(4), edit), x_0[1], atol)
    close(sampler.run([2]), sampler.run(range(4))[2:3], atol)
    assert torch.equal(sampler.run(range(4), zero), sampler.run(range(4)))
    assert torch.equal(sampler.run(range(4), [edit, zero, None, edit])[1:3], sampler.run(range(4))[1:3])


def test_half_precision_works_on_a_cpu_and_says_that_it_is_slow() -> None:
    model = hspace.load((tiny.unet(dtype=torch.float32), tiny.scheduler()), device="cpu", dtype=torch.float16)
    note = "float16 takes tens of times longer than float32 on a CPU: bfloat16 is for it"
    assert note in model.notes
    assert hspace.load(model).notes == model.notes
    assert not any("float16" in text for text in MODEL.notes)
    close(hspace.Sampler(model, STEPS).run(range(2)), SAMPLER.run(range(2)), 0.05)
