"""What the package relies on in a `Denoiser`, and with it in the network of your own inside, checked one by one."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hspace.diffusion import Sampler
from hspace.directions import Direction, Directions, Edit
from hspace.models import Denoiser, Prediction
from hspace.models.products import Products, products
from hspace.progress import Progress, reporting
from hspace.testing.report import Check, CheckFailed, Report

__all__ = ["check_denoiser"]


def check_denoiser(
    model: Denoiser, *, half: torch.dtype | None = None, raises: bool = True, progress: Progress = False
) -> Report:
    """Check the contract of an adapter on a model, with random x_t; it needs neither data nor a trained network.

    About as much work as a hundred passes of one row, on the device and in the precision that the model is in.
    Comparisons are to rounding of that precision unless they say bit for bit: they are sharpest in float64.

    Args:
        model: As `hspace.load` or the constructor returns it.
        half: Also whether a copy of the network computes in this precision, `torch.bfloat16` or `torch.float16`.
        raises: Whether a check that fails raises; else the report alone says so.
        progress: True for a bar, or a function of (done, total) checks.

    Returns:
        The checks in order, each with what was found; `print` shows a line for each.

    Raises:
        CheckFailed: An `HspaceError` and `AssertionError` that lists what does not hold.

    Example:
        >>> import torch
        >>> from hspace import Denoiser
        >>> from hspace.testing import check_denoiser
        >>> class Mine(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.inner, self.outer = torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 3, 1)
        ...     def forward(self, x_t, timesteps):
        ...         return self.outer(self.inner(x_t).sin())
        >>> model = Denoiser(Mine(), torch.linspace(0.999, 0.01, 100), image_shape=(3, 8, 8), tap="inner")
        >>> report = check_denoiser(model)
        >>> report.passed, report["encode and decode"].found
        (True, 'replayed: 1 module before the tap, 52% of the parameters')
    """
    subject = _Subject.of(model)
    contract = [*_CONTRACT, *([_Line(f"in {half}", lambda each: _half(each, half))] if half is not None else [])]
    checks = []
    with reporting(progress, len(contract), "checking") as advance:
        for line in contract:
            checks.append(line.check(subject))
            advance(1)
    report = Report(model.model_id, tuple(checks))
    if raises and not report.passed:
        raise CheckFailed(report)
    return report


class _Fails(Exception):
    """A line of the contract does not hold; says how."""


@dataclass(frozen=True)
class _Subject:
    """The model, random x_t for it, and passes that several lines look at."""

    model: Denoiser
    x_t: Tensor  # (2, c, h, w)
    state: dict[str, tuple[int, float]]  # of the network before anything ran
    hooked: set[str]  # modules with hooks of others, then

    @classmethod
    def of(cls, model: Denoiser) -> _Subject:
        generator = torch.Generator().manual_seed(0)
        x_t = torch.randn(2, *model.image_shape, generator=generator, dtype=model.state_dtype)
        return cls(model, x_t.to(model.device), _state(model), _hooked(model))

    @cached_property
    def timesteps(self) -> tuple[int, int, int]:
        """The highest that is used, one in the middle, the lowest."""
        highest = len(self.model.alphas_cumprod) - 1 if self.model.start is None else self.model.start
        return highest, highest // 2, 0

    @cached_property
    def plain(self) -> dict[int, Prediction]:
        """At each timestep."""
        return {t: self.model.predict(self.x_t.clone(), t) for t in self.timesteps}

    @cached_property
    def again(self) -> dict[int, tuple[Prediction, Tensor]]:
        """Once more, and x_t as it is after the pass."""
        given = {t: self.x_t.clone() for t in self.timesteps}
        return {t: (self.model.predict(given[t], t), given[t]) for t in self.timesteps}

    @cached_property
    def h(self) -> dict[int, Tensor]:
        """At each timestep."""
        return {t: self.model.observe(self.x_t.clone(), t)[1] for t in self.timesteps}

    @property
    def repeats(self) -> bool:
        """Whether the same work gives the same bits here: on a GPU not always."""
        return self.x_t.device.type == "cpu"

    def rounding(self, scale: Tensor) -> float:
        """How far results may be apart that are the same but for the order of sums."""
        return math.sqrt(torch.finfo(self.model.dtype).eps) * max(float(scale.abs().max()), 1.0)

    def shifts(self, n: int, seed: int = 0) -> Tensor:
        """(n, *h_shape): as large as h is at the timestep in the middle."""
        h = self.h[self.timesteps[1]].to(self.x_t)
        shift = torch.randn(n, *h.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=h.dtype).to(h)
        return shift * h.square().mean().sqrt().clamp_min(1e-3)


@dataclass(frozen=True)
class _Line:
    name: str
    holds: Callable[[_Subject], str]
    required: bool = True

    def check(self, subject: _Subject) -> Check:
        try:
            with torch.no_grad():
                return Check(self.name, True, self.holds(subject), self.required)
        except _Fails as failure:
            return Check(self.name, False, str(failure), self.required)
        except Exception as error:  # whatever a network of one's own may raise
            told = " ".join(str(error).split())[:300]
            return Check(self.name, False, f"{type(error).__name__}: {told}", self.required)


def _shapes(it: _Subject) -> str:
    try:
        plain = it.plain
    except RuntimeError as error:
        raise _Fails(f"eps and x_0 can't be made of x_t {tuple(it.x_t.shape)} and what comes out: {error}") from error
    for prediction in plain.values():
        for name, value in prediction._asdict().items():
            if value.shape != it.x_t.shape or value.dtype != it.x_t.dtype:
                found, wanted = (f"{tuple(x.shape)} {x.dtype}" for x in (value, it.x_t))
                raise _Fails(f"{name} is {found}, expected {wanted}")
    return f"eps and x_0 are {tuple(it.x_t.shape)} {it.x_t.dtype}"


def _tap(it: _Subject) -> str:
    for h in it.h.values():
        if len(h) != len(it.x_t) or not h.is_floating_point():
            raise _Fails(f"h is {tuple(h.shape)} {h.dtype}: expected floating point with {len(it.x_t)} rows in front")
    shapes = {it.model.h_shape, *(tuple(h.shape[1:]) for h in it.h.values())}
    if len(shapes) > 1:
        raise _Fails(f"the shape of h differs between timesteps or batches: {', '.join(map(str, sorted(shapes)))}")
    return f"{it.model.tap.name}, reached once in a pass, h {it.model.h_shape}"


def _finite(it: _Subject) -> str:
    largest = []
    for timestep in (it.timesteps[0], it.timesteps[2]):
        for name, value in it.plain[timestep]._asdict().items():
            if not bool(value.isfinite().all()):
                raise _Fails(f"{name} at t = {timestep} has {int((~value.isfinite()).sum())} numbers that are not")
            largest.append(f"|{name}| <= {float(value.abs().max()):.3g} at t = {timestep}")
    return ", ".join(largest)


def _deterministic(it: _Subject) -> str:
    for timestep, (again, _) in it.again.items():
        _same_pair(it, again, it.plain[timestep], f"two passes at t = {timestep}", exactly=it.repeats)
    return "two passes are the same"


def _single(it: _Subject) -> str:
    furthest = 0.0
    for timestep, batch in it.plain.items():
        single = torch.cat([it.model.predict(row[None].clone(), timestep).eps for row in it.x_t])
        furthest = max(furthest, _same(it, batch.eps, single, f"a batch and its rows alone at t = {timestep}"))
    return f"rows of a batch are those alone, at most {furthest:.1e} apart"


def _input(it: _Subject) -> str:
    for timestep, (_, given) in it.again.items():
        _same(it, given, it.x_t, f"x_t before and after a pass at t = {timestep}", exactly=True)
    return "x_t is left as it was"


def _nothing(it: _Subject) -> str:
    zero = torch.zeros(1, *it.model.h_shape).to(it.x_t)
    for timestep, plain in it.plain.items():
        shifted = it.model.predict(it.x_t.clone(), timestep, shift=zero)
        _same_pair(it, shifted, plain, f"a shift of 0 and none at t = {timestep}", exactly=it.repeats)
    return "a shift of 0 is the plain pass, bit for bit"


def _moves(it: _Subject) -> str:
    timestep = it.timesteps[1]
    eps = it.plain[timestep].eps
    moved = it.model.predict(it.x_t.clone(), timestep, shift=it.shifts(2)).eps - eps
    if not bool((moved.flatten(1).norm(dim=1) > 0).all()):
        raise _Fails("a shift as large as h itself does not change eps: choose another tap")
    share = float(moved.norm() / eps.norm())
    return f"a shift as large as h changes eps by {share:.2g} of its length at t = {timestep}"


def _apart(it: _Subject) -> str:
    timestep = it.timesteps[1]
    eps, shift = it.plain[timestep].eps, it.shifts(2)
    shift[1] = 0
    shifted = it.model.predict(it.x_t.clone(), timestep, shift=shift).eps
    _same(it, shifted[1], eps[1], "a row with the h of the other one shifted and without")
    another = it.model.predict(torch.stack([-it.x_t[0], it.x_t[1]]), timestep).eps
    _same(it, another[1], eps[1], "a row beside one other and another")
    return "a shift or another picture in one row leaves the others as they are"


def _decodes(it: _Subject) -> str:
    for timestep, plain in it.plain.items():
        encoding = it.model.encode(it.x_t.clone(), timestep)
        it.model.encode(-it.x_t, it.timesteps[0] - timestep)  # what that leaves behind is not of these rows
        decoded = it.model.decode(encoding)
        _same_pair(it, decoded, plain, f"decode and predict at t = {timestep}", exactly=it.repeats)
    shifts = it.shifts(2)
    blocks = [encoding.h, encoding.h + shifts.to(encoding.h)]
    hooked = it.model.predict(it.x_t.clone(), encoding.timestep, shift=shifts)
    expected = Prediction(*(torch.cat(pair) for pair in zip(plain, hooked, strict=True)))
    other = it.model.decode(encoding, torch.cat(blocks))
    _same_pair(it, other, expected, f"decode and predict with other h at t = {encoding.timestep}")
    return it.model.replay.reason


def _pairs(it: _Subject) -> str:
    for timestep, (eps, x_0) in it.plain.items():
        alpha = float(it.model.alphas_cumprod[timestep])
        made = alpha**0.5 * x_0 + (1 - alpha) ** 0.5 * eps
        _same(it, made, it.x_t, f"sqrt(alpha) x_0 + sqrt(1 - alpha) eps and x_t at t = {timestep}")
    return "x_t = sqrt(alpha) x_0 + sqrt(1 - alpha) eps"


def _gradients(it: _Subject) -> str:
    model, timestep = it.model.widened(), it.timesteps[1]
    encoding = model.encode(it.x_t[:1].to(model.state_dtype), timestep)
    with torch.enable_grad():
        found = products(model, encoding)
        v = it.shifts(1, seed=1).to(encoding.h).reshape(1, 1, -1)
        exact, differences = found.forward(v), Products(model, encoding, route="central_differences").forward(v)
    apart = float((exact - differences).norm() / differences.norm().clamp_min(1e-30))
    if not apart < 0.05:
        raise _Fails(f"the derivative of eps by h ({found.route}) is {apart:.2g} of its length off differences of eps")
    return f"products with the Jacobian by {found.route}, within {apart:.1g} of differences of eps"


def _directions(it: _Subject) -> str:
    sampler = Sampler(it.model, 2)
    vectors = torch.stack([it.shifts(1, seed)[0] for seed in range(len(sampler.timesteps))]).cpu()
    direction = Direction(vectors, sampler.setting(), "random")
    with tempfile.TemporaryDirectory() as folder:
        Directions([direction]).save(Path(folder) / "random.safetensors")
        loaded = Directions.load(Path(folder) / "random.safetensors")[0]
    if not torch.equal(loaded.vectors, vectors) or loaded.setting != direction.setting:
        raise _Fails("a direction is another when loaded")
    plain, unmoved = sampler.run([0]), sampler.run([0], Edit.of(loaded, 0.0))
    _same(it, unmoved, plain, "a sample at strength 0 and the plain one", exactly=it.repeats)
    moved = float((sampler.run([0], loaded) - plain).square().mean().sqrt())
    if not moved > 0:
        raise _Fails("a direction does not change samples")
    return f"a direction saves, loads and moves samples by {moved:.2g} (root mean square)"


def _half(it: _Subject, dtype: torch.dtype | None) -> str:
    model, timestep = it.model, it.timesteps[1]
    other = copy.copy(model)
    other.network, other._compiled = copy.deepcopy(model.network), None
    other = other.tapped(model.tap.name).to(dtype=dtype)
    x_t = it.x_t.to(other.state_dtype)
    for t in it.timesteps:
        if not bool(other.predict(x_t, t).eps.isfinite().all()):
            raise _Fails(f"eps at t = {t} has numbers that are not finite")
    eps, exact = other.predict(x_t, timestep).eps, it.plain[timestep].eps
    apart = float((eps.to(exact) - exact).norm() / exact.norm())
    if not apart < 0.2:
        raise _Fails(f"eps is {apart:.2g} of its length off that in {model.dtype}")
    if (h := other.observe(x_t, timestep)[1]).dtype != dtype:
        raise _Fails(f"h is {h.dtype}")
    return f"eps is {apart:.1g} of its length off that in {model.dtype}"


def _unchanged(it: _Subject) -> str:
    network = it.model.network
    after = _state(it.model)
    if changed := [name for name in {**it.state, **after} if it.state.get(name) != after.get(name)]:
        raise _Fails(f"weights or buffers of the network have changed: {', '.join(changed[:3])}")
    for name, module in network.named_modules():
        if module.training:
            raise _Fails(f"module {name!r} is in training mode")
    if left := _hooked(it.model) - it.hooked:
        raise _Fails(f"hooks are left on {', '.join(sorted(left)[:3])}")
    if any(weight.requires_grad for weight in network.parameters()):
        raise _Fails("weights are not frozen")
    return "weights frozen and as they were, evaluation mode, no hooks left"


def _plausible(it: _Subject) -> str:
    r"""Of pure noise at the highest timestep, trained networks of eps return about the noise itself."""
    model, timestep = it.model, it.timesteps[0]
    alpha = float(model.alphas_cumprod[timestep])
    eps, x_0 = it.plain[timestep]
    like = {"eps": _correlation(eps, it.x_t), "x_0": _correlation(x_0, it.x_t)}
    name = "eps" if model.prediction_type == "epsilon" else "x_0"
    found = (
        f"{model.prediction_type}: of pure noise at t = {timestep} (alpha {alpha:.2g}), eps has std "
        f"{float(eps.std()):.2g}, and {name} goes with the noise by {like[name]:+.2f}"
    )
    if alpha > 0.1:
        return f"{found}; there is too much signal at this t to judge by it"
    if name == "eps" and not (like["eps"] > 0.8 and 0.7 < float(eps.std()) < 1.4):
        raise _Fails(f"{found}; a trained network of eps gives about 1 and +1")
    if name == "x_0" and abs(like["x_0"]) > 0.5:
        raise _Fails(f"{found}; a trained network gives about 0")
    return found


_CONTRACT = (
    _Line("shapes and types", _shapes),
    _Line("tap", _tap),
    _Line("finite", _finite),
    _Line("deterministic", _deterministic),
    _Line("batch equals single", _single),
    _Line("input", _input),
    _Line("shift of 0", _nothing),
    _Line("shift", _moves),
    _Line("rows apart", _apart),
    _Line("encode and decode", _decodes),
    _Line("eps and x_0", _pairs),
    _Line("gradients", _gradients),
    _Line("directions", _directions),
    _Line("prediction type", _plausible, required=False),
    _Line("left as it was", _unchanged),
)


def _same(it: _Subject, found: Tensor, expected: Tensor, what: str, *, exactly: bool = False) -> float:
    """How far they are apart."""
    apart = float((found - expected).abs().max())
    if exactly and torch.equal(found, expected):
        return 0.0
    if exactly or not apart <= it.rounding(expected):
        raise _Fails(f"{what} differ by {apart:.2g}" + (", expected bit for bit the same" if exactly else ""))
    return apart


def _same_pair(it: _Subject, found: Prediction, expected: Prediction, what: str, *, exactly: bool = False) -> None:
    for name, a, b in zip(Prediction._fields, found, expected, strict=True):
        _same(it, a, b, f"{name} of {what}", exactly=exactly)


def _correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity((a - a.mean()).flatten(), (b - b.mean()).flatten(), dim=0))


def _hooked(model: Denoiser) -> set[str]:
    return {
        name
        for name, module in model.network.named_modules()
        if module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
    }


def _state(model: Denoiser) -> dict[str, tuple[int, float]]:
    """What changes with the numbers of weights and buffers."""

    def numbered(tensors: Iterator[tuple[str, Tensor]]) -> dict[str, tuple[int, float]]:
        return {name: (tensor._version, float(tensor.double().sum())) for name, tensor in tensors}

    network: Any = model.network
    return {**numbered(network.named_parameters()), **numbered(network.named_buffers())}
