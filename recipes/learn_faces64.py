"""Learned directions of faces64, the random control beside them, and what both do:

    python recipes/learn_faces64.py --work learning

Writes docs/learned.md and its pictures. Every part that has its file in the working folder is not done again; a
training that was interrupted goes on. On two CPU cores about an hour and a half for each of the two taps, of which the
training is --minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import hspace
from hspace.atomic import writing
from hspace.attributes import PortraitScorer, load_scorer
from hspace.evaluation import effects, frechet_distance, named, spread
from hspace.faces import render_seeds
from hspace.learning.reconstructor import ReconstructorSize

K, STEPS, SAMPLES = 10, 5, 1000
STRENGTH = 3.0
OPTIONS: dict[str, Any] = {
    "span": 32,
    "batch_size": 8,
    "max_strength": 4.0,
    "shift_rate": 0.005,
    "reconstructor_rate": 1e-3,
    "discriminator_rate": 2e-4,
    "replays": 10,
    "warmup": 40,
    "checked": 100,
    "injection": "asymmetric",
}
NOISE = {"up_blocks.0": 0.2, "mid_block": 0.05}
"""By tap: shifts at the bottleneck change the picture less, and the reconstructor has to see them to begin with."""
EFFECT_SEEDS = range(50_000, 50_024)
LONG, LONG_SEEDS = 20, range(50_000, 50_008)
"""Another grid that directions are used on, retimed."""
PAIRS = range(60_000, 60_400)
REAL = range(500_000, 502_000)


class Run:
    """One tap: a folder with the training, the control, and their figures."""

    def __init__(self, folder: Path, tap: str, size: ReconstructorSize) -> None:
        self.folder, self.tap, self.size = folder, tap, size
        model = hspace.load("faces64", dtype=torch.bfloat16).tapped(tap)
        self.sampler = hspace.Sampler(model, STEPS, 0.0, batch_size=16)
        self.scorer: PortraitScorer = load_scorer("portraits")

    def learned(self, parametrisation: str, iterations: int) -> hspace.Learned:
        return hspace.Learned(
            K,
            parametrisation=parametrisation,  # type: ignore[arg-type]
            reconstructor=self.size,
            iterations=iterations,
            noise=NOISE[self.tap],
            **OPTIONS,
        )

    def trained(self, parametrisation: str, iterations: int, minutes: float | None) -> hspace.Learned:
        """Train, or go on, or only open what is there."""
        folder = self.folder / parametrisation
        learned = self.learned(parametrisation, iterations)
        done = folder / "done.json"
        already = json.loads(done.read_text())["iterations"] if done.exists() else None
        if already is not None:
            learned.iterations = already  # no further
        resume = (folder / "state.safetensors").exists()
        spent = json.loads((folder / "minutes.json").read_text()) if (folder / "minutes.json").exists() else 0.0
        left = None if minutes is None else max(0.01, minutes - spent)
        began = time.monotonic()
        shown = 0

        def on_save(now: hspace.Learned) -> None:
            nonlocal shown
            line = now.history_[-1] if now.history_ else {}
            say(f"{parametrisation} {(time.monotonic() - began) / 60 + spent:.1f} min: {line}")
            write(folder / "minutes.json", (time.monotonic() - began) / 60 + spent)
            if now.iteration_ // 200 > shown:
                shown = now.iteration_ // 200
                directions = now.directions_now()
                hspace.plot.strip(self.sampler, [7], directions, (-3, 0, 3)).save(folder / f"{now.iteration_:06d}.png")

        learned.fit(self.sampler, range(SAMPLES), folder=folder, resume=resume, minutes=left, on_save=on_save)
        write(done, {"iterations": learned.iteration_, "stopped": learned.stopped_})
        return learned

    def figures(self, learned: hspace.Learned, label: str) -> dict[str, Any]:
        """Accuracy, effects, Frechet distances; the directions under their names are saved."""
        pairs = learned.pairs(PAIRS)
        real = self.scorer.features(torch.from_numpy(render_seeds(REAL)).permute(0, 3, 1, 2) / 127.5 - 1)
        plain, shifted = (frechet_distance(self.scorer.features(x), real) for x in (pairs.plain, pairs.shifted))
        unit = spread(self.scorer, learned.population_.images.split(64))
        measured = effects(self.sampler, learned.directions_, self.scorer, EFFECT_SEEDS, strength=STRENGTH)
        directions = named(learned.directions_, measured, unit=unit)
        directions.save(self.folder / f"{label}.safetensors")
        rows = []
        for old, item in zip(learned.directions_, directions, strict=True):
            change = {name: value / unit[name] for name, value in measured.of(old.name).items()}
            origin = {key: item.origin[key] for key in ("types", "accuracy", "effect", "moves")}
            rows.append({"name": item.name, **origin, "change": change})
        told = learned.tell(pairs)
        return {
            "iterations": learned.iteration_,
            "accuracy": told.accuracy,
            "strength_error": told.strength_error,
            "rows": rows,
            "hidden": learned.hidden_codes(pairs),
            "frechet": {"plain": plain, "shifted": shifted},
            "rms": float((pairs.shifted - pairs.plain).square().mean().sqrt()),
        }

    def on_a_longer_grid(self, label: str, unit: dict[str, float]) -> dict[str, float]:
        """Change of the attribute that each direction is named after, or moves most, by direction."""
        directions = hspace.Directions.load(self.folder / f"{label}.safetensors")
        sampler = hspace.Sampler(self.sampler.model, LONG, 0.0, batch_size=16)
        measured = effects(sampler, directions, self.scorer, LONG_SEEDS, strength=STRENGTH)
        moved = {item.name: item.origin["moves"]["attribute"] for item in directions}
        return {name: measured.of(name)[attribute] / unit[attribute] for name, attribute in moved.items()}


def cached(path: Path, make: Callable[[], Any]) -> Any:
    if not path.exists():
        began = time.monotonic()
        write(path, make())
        say(f"{path.stem}: {time.monotonic() - began:.0f} s")
    return json.loads(path.read_text())


def write(path: Path, found: Any) -> None:
    with writing(path) as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n")


def say(line: str) -> None:
    print(line, flush=True, file=sys.stderr)


def page(docs: Path, found: dict[str, dict[str, Any]]) -> None:
    """docs/learned.md, with the notes of docs/learned-notes.md at its end."""
    options = ", ".join(f"{name} {value}" for name, value in OPTIONS.items() if name != "injection")
    lines = ["# Learned directions of faces64", ""]
    lines += [
        "Written by `python recipes/learn_faces64.py --work learning`; nothing is filled in by hand but the notes."
    ]
    lines += [f"K = {K}, {STEPS} steps of DDIM (eta 0), asymmetric injection, bfloat16; options: {options},"]
    lines += ["noise " + ", ".join(f"{noise:g} at {tap}" for tap, noise in NOISE.items()) + "."]
    lines += ["Strengths are standard deviations of h along the direction; changes of a factor are between"]
    lines += [
        f"-{STRENGTH:g} and {STRENGTH:g}, on {len(EFFECT_SEEDS)} fresh seeds, in standard deviations of the factor"
    ]
    lines += ["over generated samples.", ""]
    for tap, of_tap in found.items():
        lines += [
            f"## Tap {tap}",
            "",
            *_summary(of_tap),
            "",
            *_rows(of_tap["ortho"]),
            "",
            *_longer(of_tap["ortho"]),
            "",
        ]
        lines += [f"![Learned directions at {tap}](learned-{tap.replace('.', '')}.png)", ""]
    notes = docs / "learned-notes.md"
    if notes.exists():
        lines += ["## Notes, by hand", "", notes.read_text(encoding="utf-8").rstrip()]
    with writing(docs / "learned.md") as partial:
        partial.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _summary(of_tap: dict[str, Any]) -> list[str]:
    """Trained and control side by side."""
    table = ["| | trained | fixed random directions (control) |", "| --- | --- | --- |"]

    def row(title: str, cell: Callable[[dict[str, Any]], str]) -> None:
        control = cell(of_tap["fixed"]) if "fixed" in of_tap else "not measured"
        table.append(f"| {title} | {cell(of_tap['ortho'])} | {control} |")

    row("iterations", lambda x: f"{x['iterations']}")
    row("minutes of training", lambda x: f"{x['minutes']:.0f}")
    row("accuracy on fresh samples (chance 0.10)", lambda x: f"{x['accuracy']:.2f}")
    row("mean error of the strength", lambda x: f"{x['strength_error']:.2f}")
    row(
        "directions that change a factor by 1 or more",
        lambda x: f"{sum(abs(r['moves']['change']) >= 1 for r in x['rows'])} of {len(x['rows'])}",
    )
    row("change of a pixel by a shift, root mean square", lambda x: f"{x['rms']:.3f}")
    row("Frechet distance of unshifted samples to portraits", lambda x: f"{x['frechet']['plain']:.2f}")
    row(
        "of shifted samples",
        lambda x: f"{x['frechet']['shifted']:.2f} ({x['frechet']['shifted'] / x['frechet']['plain']:.2f} times)",
    )
    ways = list(of_tap["ortho"]["hidden"])
    for how in ways:
        row(f"accuracy of a fresh reconstructor, degraded by {how}", partial(_hidden, how))
    return table


def _hidden(how: str, found: dict[str, Any]) -> str:
    return f"{found['hidden'][how]:.2f}"


def _rows(found: dict[str, Any]) -> list[str]:
    table = [
        "| direction | types | accuracy | moves most | and | pixel change |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["rows"]:
        moves = row["moves"]
        if moves["change"] * row["change"][moves["attribute"]] < 0:  # it was turned around to be named
            row = {**row, "change": {name: -change for name, change in row["change"].items()}}
        first, *others = sorted(row["change"].items(), key=lambda item: -abs(item[1]))[:3]
        rest = ", ".join(f"{name} {value:+.2f}" for name, value in others)
        cells = (row["name"], row["types"], f"{row['accuracy']:.2f}", f"{first[0]} {first[1]:+.2f}", rest)
        table.append("| " + " | ".join(str(cell) for cell in (*cells, f"{row['effect']:.2f}")) + " |")
    return table


def _longer(found: dict[str, Any]) -> list[str]:
    changes = ", ".join(f"{name} {change:+.2f}" for name, change in found["long"].items())
    return [
        f"The same directions retimed to {LONG} steps, change of the attribute that each moves most, on",
        f"{len(LONG_SEEDS)} fresh seeds: {changes}.",
    ]


def of_tap(args: argparse.Namespace, tap: str) -> dict[str, Any]:
    """Train, measure, draw."""
    run = Run(args.work / tap, tap, args.reconstructor)
    found = {}
    for parametrisation in ("ortho", "fixed"):

        def figures(parametrisation: str = parametrisation) -> dict[str, Any]:
            trained = json.loads((run.folder / "ortho.json").read_text()) if parametrisation == "fixed" else None
            iterations = args.iterations if trained is None else args.control_iterations or trained["iterations"]
            learned = run.trained(parametrisation, iterations, args.minutes if trained is None else None)
            result = run.figures(learned, parametrisation)
            if trained is None:
                result["long"] = run.on_a_longer_grid(
                    parametrisation, spread(run.scorer, learned.population_.images.split(64))
                )
            result["minutes"] = json.loads((run.folder / parametrisation / "minutes.json").read_text())
            return result

        if parametrisation == "fixed" and args.skip_control and not (run.folder / "fixed.json").exists():
            continue
        found[parametrisation] = cached(run.folder / f"{parametrisation}.json", figures)
    picture = args.docs / f"learned-{tap.replace('.', '')}.png"
    if not picture.exists() or args.draw:
        directions = hspace.Directions.load(run.folder / "ortho.safetensors")
        with writing(picture) as partial:
            hspace.plot.strip(run.sampler, [50_000, 50_003], directions).save(partial)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("learning"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--taps", nargs="+", default=["up_blocks.0", "mid_block"])
    parser.add_argument("--only", choices=["up_blocks.0", "mid_block"], help="one tap now; no page")
    parser.add_argument("--minutes", type=float, default=30.0, help="of each training")
    parser.add_argument("--iterations", type=int, default=5000)
    parser.add_argument("--control-iterations", type=int, help="of the control; default: as many as the training had")
    parser.add_argument("--reconstructor", default="lenet")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as many as it wants")
    parser.add_argument("--skip-control", action="store_true", help="leave out a control that is not there yet")
    parser.add_argument("--draw", action="store_true", help="draw the strips again")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.only:
        of_tap(args, args.only)
        return
    page(args.docs, {tap: of_tap(args, tap) for tap in args.taps})


if __name__ == "__main__":
    main()
