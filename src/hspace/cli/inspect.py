"""`hspace inspect`: what a file of directions holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hspace.directions import Direction, Directions

__all__ = ["command"]


def command(
    file: Annotated[Path, typer.Argument(help="File of directions.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Show what a file of directions holds and how it was made."""
    directions = Directions.load(file)
    if as_json:
        typer.echo(json.dumps(_everything(directions), indent=2))
        return
    console = Console()
    about = Table(title=escape(str(file)), show_header=False, title_justify="left")
    for name, value in _about(directions).items():
        about.add_row(name, escape(value))
    console.print(about)
    listing = Table(
        "name", "norm, first to last t", *(f"{name.replace('_', ' ')}, mean" for name in directions.measured), "notes"
    )
    for i, direction in enumerate(directions):
        norms = direction.norms()
        means = [f"{float(values[:, i].mean()):.3f}" for values in directions.measured.values()]
        reach = f"{norms[0]:.3g} to {norms[-1]:.3g}"
        notes = _notes(direction)
        if (condition := direction.setting.condition) != directions.setting.condition:
            notes = "; ".join(filter(None, (f"found under {condition or 'no condition'}", notes)))
        listing.add_row(escape(direction.name), reach, *means, escape(notes))
    console.print(listing)
    for command in dict.fromkeys(str(item.origin["command"]) for item in directions if "command" in item.origin):
        typer.echo(f"made by: {command}")  # whole, to be copied: a table would break it into lines


def _about(directions: Directions) -> dict[str, str]:
    setting, schedule = directions.setting, directions.setting.schedule
    etas = sorted(set(schedule.etas))
    reach = f"t = {schedule.timesteps[0]} to {schedule.timesteps[-1]} of {schedule.train_timesteps}"
    return {
        "found by": "; ".join(dict.fromkeys(_method(direction) for direction in directions)),
        "model": f"{setting.model_id}, weights {setting.weight_hash}",
        "h": f"{setting.tap}, {' x '.join(map(str, setting.h_shape))}",
        "grid": f"{len(schedule)} steps, {reach}",
        "eta": f"{etas[0]:g}" if len(etas) == 1 else f"{etas[0]:g} to {etas[-1]:g}, one a step",
        **({} if setting.condition is None else {"condition": str(setting.condition)}),
        "injection": setting.injection,
        "unit": f"strength 1 = one standard deviation of {'h, at every t' if setting.space == 'h' else 'x_T'}",
    }


def _method(direction: Direction) -> str:
    origin = direction.origin
    parts = [str(origin.get("method", "unknown"))]
    if "seeds" in origin:
        parts.append(f"{sum(last - first + 1 for first, last in origin['seeds'])} samples")
    if "version" in origin:
        parts.append(f"hspace {origin['version']}")
    return ", ".join(parts)


def _notes(direction: Direction) -> str:
    """What its origin says of it: what it moves, how strong it is, whether it can be trusted."""
    origin, notes = direction.origin, []
    if "moves" in origin:
        notes.append("moves {attribute} {change:+.1f}".format(**origin["moves"]))
    if origin.get("method") == "learned" and "accuracy" in origin:
        notes.append(f"told apart with accuracy {origin['accuracy']:.2f}")
    if "positives" in origin:
        notes.append(f"{origin['positives']} with, {origin['negatives']} without, {origin['parameters']['classifier']}")
    if origin.get("method") == "transfer":
        notes.append("a difference of h, not in the unit of strength")
    notes += [f"without {x['name']}, cosine {x['cosine_before']:+.2f} before" for x in origin.get("without", ())]
    if "singular_value" in origin:
        notes.append(f"singular value {origin['singular_value']:.3g} at t = {origin['timestep']}")
    if origin.get("converged") is False:
        notes.append(f"NOT CONVERGED, residual {origin['residual']:.1e}")
    return "; ".join(notes)


def _everything(directions: Directions) -> dict[str, Any]:
    return {
        "setting": directions.setting.to_json(),
        "directions": [
            {"name": item.name, "norms": item.norms().tolist(), "origin": dict(item.origin)} for item in directions
        ],
        "measured": {name: values.tolist() for name, values in directions.measured.items()},
    }
