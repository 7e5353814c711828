"""The page: a card for each direction, the entanglement map, how everything was made. No script, no network."""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

from hspace.directions import Direction, Directions
from hspace.errors import HspaceError
from hspace.evaluation import Evaluation, duplicates, leaks, suggestions
from hspace.report.reproduce import reproduce
from hspace.version import __version__

__all__ = ["report"]


def report(
    directions: Directions,
    found: Evaluation,
    strips: Mapping[str, Image.Image],
    *,
    title: str = "Directions",
    homes: Mapping[str, tuple[str, str]] | None = None,
    model: str | None = None,
    scorer: str = "portraits",
    commands: Mapping[str, str] | None = None,
) -> str:
    """HTML that needs nothing beside itself, light or dark as the reader's system is.

    Args:
        directions: The set.
        found: Its evaluation.
        strips: A picture for each direction, by name.
        title: Of the page.
        homes: By direction the file that it is in and its name there, for the commands shown,
        model: and what opens the model, where its id does not.
        scorer: Name of the scorer.
        commands: Shell commands that made what the page shows, by what they make.

    Raises:
        HspaceError: An evaluation or strips of other directions.
    """
    measured = found.response.directions
    if measured != directions.names:
        raise HspaceError(
            f"the evaluation is of {', '.join(measured)}, the directions are {', '.join(directions.names)}"
        )
    if missing := [name for name in directions.names if name not in strips]:
        raise HspaceError(f"no strip of {', '.join(missing)}")
    where = dict(homes or {name: ("directions.safetensors", name) for name in directions.names})
    names, by_name = found.names(), {score.direction: score for score in found.scores}
    cards = [
        {
            "name": name,
            "called": names[name],
            "score": by_name[name],
            "content": found.content.get(name, {}),
            "damage": found.damage.get(name),
            "verdicts": [verdict for verdict in found.verdicts if verdict.direction == name],
            "profile": _profile(found, directions.names.index(name)),
            "strip": _inline(strips[name]),
            "made": json.dumps(_made(directions[name]), indent=1, sort_keys=True),
            "reproduce": reproduce(directions[name]),
            "use": _edit(where[name], model),
        }
        for name in found.ranking()
    ]
    order = [directions.names.index(name) for name in found.ranking()]
    table = leaks(found)[order][:, order]
    cells = [
        {"name": name, "values": [{"share": x, "shade": min(1.0, x)} for x in row]}
        for name, row in zip(found.ranking(), table.tolist(), strict=True)
    ]
    pairs = [
        {"words": f"it moves {pair.attribute} {pair.share:.1f} times as far as its own attribute", "use": command}
        for pair in suggestions(found)
        for command in [_edit(where[pair.direction], model, without=where[pair.other])]
    ]
    low, high = found.response.strengths[0], found.response.strengths[-1]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("hspace.report").joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        version=__version__,
        setting=directions.setting,
        cards=cards,
        cells=cells,
        pairs=pairs,
        groups=duplicates(found),
        scorer=scorer,
        samples=found.response.scores.shape[2],
        low=low,
        high=high,
        commands=dict(commands or {}),
    )


def _profile(found: Evaluation, i: int) -> list[dict[str, Any]]:
    """Effects of a direction, the largest first."""
    effects, errors = found.matrix()
    largest = max(1.0, float(effects.abs().max()))
    return [
        {
            "name": found.response.attributes[a],
            "value": float(effects[i, a]),
            "error": float(errors[i, a]),
            "share": abs(float(effects[i, a])) / largest,
        }
        for a in effects[i].abs().argsort(descending=True).tolist()
    ]


def _edit(home: tuple[str, str], model: str | None, *, without: tuple[str, str] | None = None) -> str:
    """The command that uses a direction."""
    file, name = home
    parts = ["hspace", "edit", file, "--direction", name]
    if without is not None:
        parts += ["--without", ":".join(without)]
    if model is not None:
        parts += ["--model", model]
    return shlex.join([*parts, "--out", f"{name}.png"])


def _inline(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _made(item: Direction) -> dict[str, Any]:
    """Of the origin what fits on a card: long lists are cut."""
    return {key: value for key, value in item.origin.items() if key != "command" and len(json.dumps(value)) < 2000}
