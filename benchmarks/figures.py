"""All figures, by name. Each takes the options and gives figures beside their baselines."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import hspace
from benchmarks import jacobian, pca, sampling
from benchmarks.fresh import Found, fresh
from benchmarks.measure import Figure, Options, alternated
from hspace.diffusion import Prefixes
from hspace.directions import Edit
from hspace.models.products import Products


def of_sampling(options: Options) -> list[Figure]:
    """Against bare calls of the U-Net."""
    images, steps = options.few(32, 2), options.few(5, 2)
    sampler = hspace.Sampler(options.model(), steps)
    times = alternated(sampling.works(sampler, images), options.rounds)
    limits = {"plain": "1.08", "symmetric": "1.08", "asymmetric": "1.5 to 2"}
    return [
        times.figure(
            f"sampling, {kind}" + (" edit, h recorded" if kind != "plain" else ""),
            "bare U-Net calls",
            kind,
            "bare",
            limit=limit,
            note=f"{images} images x {steps} steps, {images / times.median(kind):.2f} images/s",
        )
        for kind, limit in limits.items()
    ]


def of_batches(options: Options) -> list[Figure]:
    """The automatic batch against one sample at a time."""
    images, steps = options.few(32, 2), options.few(3, 1)
    model = options.model()
    samplers = {"automatic": hspace.Sampler(model, steps), "loop": hspace.Sampler(model, steps, batch_size=1)}
    works = {name: partial(sampler.run, range(images)) for name, sampler in samplers.items()}
    times = alternated(works, options.rounds)
    size = samplers["automatic"].batch_size
    note = f"{images} images x {steps} steps, batch {size}, {images / times.median('automatic'):.2f} images/s"
    return [times.figure("automatic batch", "batch-1 loop", "automatic", "loop", limit="below 1", note=note)]


def of_layouts(options: Options) -> list[Figure]:
    """Precision and layout of the network."""
    images, steps = options.few(16, 2), options.few(3, 1)
    models = {
        "float32": options.model("float32"),
        "float32, channels last": options.model("float32", channels_last=True),
        "bfloat16": options.model("bfloat16"),
        "bfloat16, channels last": options.model("bfloat16", channels_last=True),
    }
    works = {name: partial(hspace.Sampler(model, steps).run, range(images)) for name, model in models.items()}
    times = alternated(works, options.rounds)
    note = f"{images} images x {steps} steps"
    return [times.figure(f"sampling, {name}", "float32", name, "float32", note=note) for name in list(models)[1:]]


def of_strips(options: Options) -> list[Figure]:
    """A strip and a slider, whose edits act in the second half of the steps."""
    seeds, steps = options.few(6, 1), options.few(10, 2)
    sampler = hspace.Sampler(options.model(), steps)
    direction = hspace.random_directions(sampler.setting(), norms=[1.0] * steps)[0]
    late = Edit.of(direction, window=(sampler.timesteps[steps // 2], 0))
    strengths = (-3.0, -1.5, 0.0, 1.5, 3.0)
    rows = [seed for seed in range(seeds) for _ in strengths]
    edits = [strength * late if strength else None for strength in strengths] * seeds
    strips = alternated(
        {
            "shared": lambda: sampler.run(rows, edits, prefixes=Prefixes()),
            "each": lambda: sampler.run(rows, edits),
        },
        options.rounds,
    )
    prefixes = Prefixes()
    slider = alternated(
        {
            "kept": lambda: sampler.run([0], 2.0 * late, prefixes=prefixes),
            "anew": lambda: sampler.run([0], 2.0 * late),
        },
        options.rounds,
    )
    computed = seeds * steps // 2 + seeds * (len(strengths) - 1) * (steps - steps // 2) + seeds * (steps - steps // 2)
    expected = computed / (len(rows) * steps)
    half = f"window: the last {steps - steps // 2} of {steps} steps"
    return [
        strips.figure(
            "strip, prefix shared",
            "every picture by itself",
            "shared",
            "each",
            limit=f"{expected:.2f} by passes",
            note=f"{seeds} seeds x {len(strengths)} strengths, {half}",
        ),
        slider.figure(
            "slider, from the kept x_t", "from x_T", "kept", "anew", limit="0.50 by passes", note=f"1 picture, {half}"
        ),
    ]


def of_jacobian(options: Options) -> list[Figure]:
    """One product with J^T J: decoder alone, both graphs kept, against automatic differentiation of the U-Net."""
    model = options.model("float32")
    x_t = torch.randn(1, *model.image_shape, generator=torch.Generator().manual_seed(0)).to(model.device)
    with torch.no_grad():
        encoding = model.encode(x_t, 500)
    products = Products(model, encoding)
    v = torch.randn(1, 1, encoding.h.numel(), generator=torch.Generator().manual_seed(1)).to(model.device)

    def whole() -> None:
        with sdpa_kernel(SDPBackend.MATH):
            jacobian.squared(model, x_t, 500, v.reshape(1, *model.h_shape))

    times = alternated({"decoder": lambda: products.transposed(products.forward(v)), "whole": whole}, options.rounds)
    note = "one product with J^T J at one timestep, float32, graphs there already"
    return [times.figure("Jacobian, decoder only", "whole U-Net by autograd", "decoder", "whole", note=note)]


def of_pca(options: Options) -> list[Figure]:
    """Its share of a run; time and memory against scikit-learn on stored h."""
    samples, steps, components = options.few(128, 4), options.few(4, 2), options.few(25, 2)
    sampler = hspace.Sampler(options.model(), steps)
    shares = [pca.measured_share(sampler, samples, components) for _ in range(options.rounds)]
    rounds = [(spent, spent + rest) for rest, spent in shares]
    share = statistics.median(a / b for a, b in rounds)
    middle = min(rounds, key=lambda pair: abs(pair[0] / pair[1] - share))
    found = [
        Figure(
            "PCA's own work",
            "the run with it",
            *middle,
            "s",
            share,
            limit="0.05",
            rounds=rounds,
            note=f"{samples} samples x {steps} steps, {components} components",
        )
    ]
    samples, steps = options.few(1000, 4), options.few(2, 2)
    arguments = {"samples": samples, "steps": steps, "components": components}
    streamed, stored = (fresh("pca", options, stored=stored, **arguments) for stored in (False, True))
    note = f"{samples} samples x {steps} steps, {components} components, sampling included"
    return [*found, *_against("streamed PCA", "scikit-learn on stored h", streamed, stored, "about 1", note)]


def of_backprop(options: Options) -> list[Figure]:
    """One step in a graph at a time, against one graph of everything."""
    steps, batch = options.few(20, 2), options.few(4, 1)
    segments, graph = (fresh("backprop", options, steps=steps, batch=batch, segment=s) for s in (1, steps))
    short = fresh("backprop", options, steps=options.few(5, 1), batch=batch, segment=1)
    note = f"{batch} samples x {steps} steps, float32"
    name = "back-propagation by segments"
    return [
        *_against(name, "one autograd graph", segments, graph, "1.4", note),
        Figure.of_values(
            f"{name}, memory added at {steps} steps",
            f"at {options.few(5, 1)} steps",
            segments["mb"],
            short["mb"],
            "MB",
            limit="1.2",
            note=f"{batch} samples, float32",
        ),
    ]


def of_scale(options: Options) -> list[Figure]:
    """Cost of a sample and peak memory as samples grow: PCA with one step; the short run before and after the long."""
    few, many = options.few(250, 4), 8 if options.quick else 4000 if options.long else 1000
    arguments = {"steps": 1, "components": options.few(25, 2), "stored": False}
    runs = [fresh("pca", options, samples=n, **arguments) for n in (few, many, few)]
    each = {kind: [run[kind] / n for run, n in zip(runs, (few, many, few), strict=True)] for kind in ("wall", "cpu")}
    wall, cpu = ((times[0] + times[2]) / 2 for times in (each["wall"], each["cpu"]))
    name, baseline = f"{many} samples", f"{few} samples"
    note = "PCA, 25 components, 1 step"
    return [
        Figure.of_values(
            f"cost of a sample, {name}",
            baseline,
            1000 * each["wall"][1],
            1000 * wall,
            "ms",
            limit="1.05",
            cpu_ratio=each["cpu"][1] / cpu,
            note=note,
        ),
        Figure.of_values(
            f"peak memory, {name}", baseline, runs[1]["peak"], (runs[0]["peak"] + runs[2]["peak"]) / 2, "MB",
            limit="1.1", note=note,
        ),
    ]  # fmt: skip


def _against(name: str, baseline: str, ours: Found, theirs: Found, limit: str, note: str) -> list[Figure]:
    """Time and added memory of work in fresh processes."""
    cpu = ours["cpu"] / theirs["cpu"]
    time = Figure.of_values(
        f"{name}, time", baseline, ours["wall"], theirs["wall"], "s", limit=limit, cpu_ratio=cpu, note=note
    )
    return [time, Figure.of_values(f"{name}, memory added", baseline, ours["mb"], theirs["mb"], "MB", note=note)]


FIGURES: dict[str, Callable[[Options], list[Figure]]] = {
    "sampling": of_sampling,
    "batches": of_batches,
    "layouts": of_layouts,
    "strips": of_strips,
    "jacobian": of_jacobian,
    "pca": of_pca,
    "backprop": of_backprop,
    "scale": of_scale,
}
