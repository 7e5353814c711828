"""The page: a card for each direction, the entanglement map, how everything was made. No script, no network."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

from hspace.directions import Direction, Directions
from hspace.errors import HspaceError
from hspace.evaluation import Evaluation
from hspace.report.entanglement import clipped, leaks, suggestions
from hspace.version import __version__

__all__ = ["report"]


def report(
    directions: Directions,
    found: Evaluation,
    strips: Mapping[str, Image.Image],
    *,
    title: str = "Directions",
    file: str = "directions.safetensors",
    scorer: str = "portraits",
    commands: Mapping[str, str] | None = None,
) -> str:
    """HTML that needs nothing beside itself, light or dark as the reader's system is.

    Args:
        directions: The set.
        found: Its evaluation.
        strips: A picture for each direction, by name.
        title: Of the page.
        file: That the directions are in, for the commands shown.
        scorer: Name of the scorer.
        commands: Shell commands that made what the page shows, by what they make.

    Raises:
        HspaceError: An evaluation or strips of other directions.
    """
    measured = tuple(score.direction for score in found.scores)
    if measured != directions.names:
        raise HspaceError(
            f"the evaluation is of {', '.join(measured)}, the directions are {', '.join(directions.names)}"
        )
    if missing := [name for name in directions.names if name not in strips]:
        raise HspaceError(f"no strip of {', '.join(missing)}")
    effects, errors = found.matrix()
    largest = max(1.0, float(effects.abs().max()))
    against = {verdict.direction: verdict for verdict in found.verdicts}
    cards = []
    for i, (item, score) in enumerate(zip(directions, found.scores, strict=True)):
        order = effects[i].abs().argsort(descending=True).tolist()
        profile = [
            {
                "name": found.response.attributes[a],
                "value": float(effects[i, a]),
                "error": float(errors[i, a]),
                "share": abs(float(effects[i, a])) / largest,
            }
            for a in order
        ]
        cards.append(
            {
                "name": item.name,
                "score": score,
                "content": found.content[item.name],
                "damage": found.damage[item.name],
                "verdict": against.get(item.name),
                "profile": profile,
                "strip": _inline(strips[item.name]),
                "made": json.dumps(_made(item), indent=1, sort_keys=True),
                "command": f"hspace edit {file} --direction {item.name!r} --out {item.name}.png".replace("'", '"'),
            }
        )
    table = leaks(found)
    cells = [
        {"name": name, "values": [{"share": float(x), "shade": float(y)} for x, y in zip(*rows, strict=True)]}
        for name, *rows in zip(directions.names, table.tolist(), clipped(table).tolist(), strict=True)
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
        pairs=suggestions(found),
        file=file,
        scorer=scorer,
        samples=len(found.seeds),
        low=low,
        high=high,
        commands=dict(commands or {}),
    )


def _inline(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _made(item: Direction) -> dict[str, Any]:
    """Of the origin what fits on a card: long lists are cut."""
    return {key: value for key, value in item.origin.items() if len(json.dumps(value)) < 2000}
