"""How a direction is made again: its command, or the lines of Python that its origin stands for."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hspace.directions import Direction, fields
from hspace.errors import HspaceError
from hspace.report.code import WIDTH, Code, call, code, comment, numbers

__all__ = ["reproduce"]

_UNIT = "unit_seeds = range(100)  # not remembered: the default; lengths depend on it, nothing else"


def reproduce(direction: Direction) -> str:
    """The shell command that made a direction; where it knows of none, Python, as far as its origin goes.

    What an origin does not hold, such as pictures or a scorer, is a variable with a comment. The model is called as in
    the setting (a folder by its last name) and computes in float32. What a direction was multiplied by since then, no
    origin tells; at most its name does.

    Example:
        >>> import hspace
        >>> from hspace.report.reproduce import reproduce
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2, eta=0.0)
        >>> pcs = hspace.PCA(n_components=2).fit(sampler, seeds=range(4)).directions_
        >>> print(reproduce(pcs["pc1"]))  # doctest: +ELLIPSIS
        import hspace
        <BLANKLINE>
        model = hspace.load("faces64", tap="mid_block")  # weights ...
        sampler = hspace.Sampler(model, steps=2, eta=0.0, start=999)
        pca = hspace.PCA(n_components=2, joint=False, sketch_size=124, injection="symmetric")
        directions = pca.fit(sampler, seeds=range(0, 4)).directions_
        direction = directions[1]
        >>> reproduce(pcs["pc1"].with_origin(command="hspace pca --samples 4"))
        'hspace pca --samples 4'
    """
    origin = dict(direction.origin)
    command = origin.get("command")
    made = command if isinstance(command, str) and command.strip() else _python(direction, origin)
    return "\n".join([made, *_since(origin)])


def _python(direction: Direction, origin: dict[str, Any]) -> str:
    """Lines for methods that are known and origins that are whole, else what is known in one."""
    way = _WAYS.get(str(origin.get("method")))
    if way is None or "shuffled" in origin:
        return _in_words(direction, origin)
    try:
        setting = direction.setting
        if "retimed_from" in origin:
            setting = type(setting).from_json(origin["retimed_from"])
        return "\n".join([*_sampler(setting), *way(direction, origin, setting)])
    except HspaceError:  # somebody's own origin, or a damaged one
        return _in_words(direction, origin)


def _in_words(direction: Direction, origin: Mapping[str, Any]) -> str:
    method, parts = origin.get("method"), origin.get("of")
    if method == "sum" and isinstance(parts, Sequence) and all(isinstance(part, Mapping) for part in parts):
        made = "; ".join(str(part.get("command") or part.get("method", "unknown")) for part in parts)
        return comment(f"{direction.name}: a sum of directions made by {made}")
    if method is None:
        return comment(f"how {direction.name} was made is not remembered")
    of_chance = " from shuffled labels, as a control" if "shuffled" in origin else ""
    version = f" in hspace {origin['version']}" if "version" in origin else ""
    return comment(f"{direction.name} was made by the method {method!r}{version}{of_chance}: more is not remembered")


def _since(origin: Mapping[str, Any]) -> list[str]:
    """What was done to the direction afterwards."""
    found = []
    reports = origin.get("without")
    if isinstance(reports, Sequence) and reports and all(isinstance(report, Mapping) for report in reports):
        names = ", ".join(str(report.get("name")) for report in reports)
        where = "at every timestep" if origin.get("per_timestep") else "over all timesteps together"
        found.append(comment(f"then {names} projected out, {where}"))
    if "retimed_from" in origin:
        found.append("# then retimed to the grid that it has now")
    return found


def _sampler(setting: Any) -> list[str]:
    schedule = setting.schedule
    etas = list(schedule.etas)
    grid = _grid(schedule.timesteps, schedule.train_timesteps)
    tap = {"tap": setting.tap} if setting.space == "h" else {}
    condition = {} if setting.condition is None else setting.condition.given()
    opened = call("model = hspace.load", setting.model_id, **tap, **condition)
    lines = ["import hspace", "", f"{opened}  {comment(f'weights {setting.weight_hash}')}"]
    if grid is None:
        return [
            *lines,
            _unknown("setting", "of this direction: no steps and start make its grid"),
            "sampler = hspace.Sampler.on(model, setting)",
        ]
    eta = etas[0] if len(set(etas)) == 1 else etas
    return [*lines, call("sampler = hspace.Sampler", Code("model"), steps=len(etas), eta=eta, **grid)]


def _grid(timesteps: Sequence[int], total: int) -> dict[str, Any] | None:
    """Arguments of `hspace.Sampler` that lay this grid, see `hspace.diffusion.schedule.grid`; None: there are none."""
    steps, start = len(timesteps), timesteps[0]
    found = np.array(timesteps)
    if np.array_equal(found, np.round(np.arange(start + 1, 0, -(start + 1) / steps))[:steps] - 1):
        return {"start": start}
    if bool((np.diff(found) == -(total // steps)).all()):
        return {"spacing": "leading"}
    if np.array_equal(found, np.linspace(0, total - 1, steps).round()[::-1]):
        return {"spacing": "linspace"}
    return None


def _pca(direction: Direction, origin: dict[str, Any], setting: Any) -> list[str]:
    given = _parameters(origin, "n_components", "joint", "sketch_size")
    return [
        call("pca = hspace.PCA", **given, injection=setting.injection),
        f"directions = pca.fit(sampler, seeds={_seeds(origin)}).directions_",
        f"direction = directions[{fields.integer(origin, 'component')}]",
    ]


def _jacobian(direction: Direction, origin: dict[str, Any], setting: Any) -> list[str]:
    given = _parameters(origin, "n_components", "outside_rank", "tol", "pooled")
    lines = [_UNIT]
    if (mask := fields.value_of(origin["parameters"], "mask")) is not None:
        described = fields.value_of(mask, "given")
        if isinstance(described, list):
            given["mask"] = tuple(fields.integers(mask, "given"))
        elif re.fullmatch(r"[\d\s,+-]+", str(described)):
            given["mask"] = described
        else:
            given["mask"] = Code("mask")
            pixels = f"sha256 of its pixels {fields.text(mask, 'sha256')}"
            lines.append(_unknown("mask", f"the one that was given as {described!r}, {pixels}"))
    samples = fields.entries(origin, "samples") if given["pooled"] else [fields.text(origin, "sample")]
    seeds = [int(match[1]) for label in samples if (match := re.fullmatch(r"s(\d+)", str(label)))]
    latents: str = numbers(seeds)
    if len(seeds) < len(samples):
        latents = "latents"
        lines.append(_unknown("latents", f"what was looked at: {', '.join(map(str, samples))}"))
    if origin.get("converged") is False:
        lines.append("# it did not converge: max_products, which is not remembered, has a say in it")
    lines += [
        call(
            "jacobian = hspace.Jacobian",
            timesteps=fields.integer(origin, "timestep"),
            **given,
            route=fields.value_of(origin, "route"),
            unit_seeds=Code("unit_seeds"),
            injection=setting.injection,
        ),
        f"directions = jacobian.fit(sampler, {latents}).directions_",
        f"direction = directions[{fields.integer(origin, 'component')}]",
    ]
    return lines


def _labelled(direction: Direction, origin: dict[str, Any], setting: Any) -> list[str]:
    given = _parameters(origin, "classifier", "space", "C", "sketch_size", "refine", "photo_fit")
    name, n = fields.text(origin, "attribute"), fields.integer(origin["parameters"], "pictures")
    positives, negatives = (fields.integer(origin, sign) for sign in ("positives", "negatives"))
    return [
        _unknown("photos", f"the {n} pictures that it was made with"),
        _unknown("labels", f"one for each of them: {positives} with, {negatives} without"),
        _UNIT,
        call("labelled = hspace.Labelled", **given, unit_seeds=Code("unit_seeds"), injection=setting.injection),
        f"directions = labelled.fit(sampler, photos, {{{code(name)}: labels}}).directions_",
        "direction = directions[0]",
    ]


def _annotated(direction: Direction, origin: dict[str, Any], setting: Any) -> list[str]:
    given = _parameters(origin, "n_extremes", "balance_by", "classifier", "space", "C", "sketch_size")
    made = call(
        "annotated = hspace.Annotated",
        [fields.text(origin, "attribute")],
        **given,
        unit_seeds=Code("unit_seeds"),
        injection=setting.injection,
    )
    return [
        _unknown("scorer", "the one that it was made with"),
        _UNIT,
        made,
        f"directions = annotated.fit(sampler, scorer, seeds={_seeds(origin)}).directions_",
        "direction = directions[0]",
    ]


def _learned(direction: Direction, origin: dict[str, Any], setting: Any) -> list[str]:
    names = fields.value_of(origin, "parameters")
    given = _parameters(origin, *(names if isinstance(names, dict) else ()))
    lines = ["real = None  # or the real pictures that it was trained with"] if given.get("adversarial_weight") else []
    real = ", real=real" if lines else ""
    types = list(fields.integers(origin, "types"))
    if (last := fields.integer(origin, "iteration")) < fields.integer(names, "iterations"):
        lines.append(f"# the training ended after iteration {last} already")
    lines += [
        call("learned = hspace.Learned", **given),
        f"directions = learned.fit(sampler, seeds={_seeds(origin)}{real}).directions_",
        f'direction = next(item for item in directions if item.origin["types"] == {types})',
    ]
    return lines


def _random(direction: Direction, origin: dict[str, Any], setting: Any) -> list[str]:
    parameters = fields.value_of(origin, "parameters")
    n, within = fields.integer(parameters, "n"), fields.value_of(parameters, "within")
    norms = _unknown("norms", "its length at every timestep of that grid, before what came then")
    if not _since(origin):
        found = ", ".join(f"{norm:.9g}" for norm in direction.norms().tolist())
        norms = textwrap.fill(f"norms = [{found}]", WIDTH, subsequent_indent="    ", break_long_words=False)
    lines, inside = [norms], {}
    if within is not None:
        lines.append(_unknown("within", f"the {within} components in whose span it was drawn"))
        inside["within"] = Code("within")
    space = f", {code(setting.space)}" if setting.space != "h" else ""
    where = Code(f"sampler.setting({code(setting.injection)}{space})")
    drawn = call(
        "directions = hspace.random_directions",
        where,
        Code("norms"),
        n=n,
        **inside,
        seed=fields.integer(origin, "seed"),
    )
    number = re.search(r"random(\d+)$", direction.name)
    which = "# one of these: which, its name does not tell"
    if number is not None and int(number[1]) < n:
        which = f"direction = directions[{number[1]}]"
    return [*lines, drawn, which]


def _transfer(direction: Direction, origin: dict[str, Any], setting: Any) -> list[str]:
    ends = {end: Code(numbers(fields.integers(origin, end))) for end in ("source", "target")}
    return [call("direction = hspace.transfer", Code("sampler"), **ends)]


_WAYS: dict[str, Callable[[Direction, dict[str, Any], Any], list[str]]] = {
    "pca": _pca,
    "jacobian": _jacobian,
    "labelled": _labelled,
    "annotated": _annotated,
    "learned": _learned,
    "random": _random,
    "transfer": _transfer,
}


def _unknown(name: str, what: str) -> str:
    """A variable for what an origin does not hold."""
    return f"{name} = ...  {comment(what)}"


def _parameters(origin: dict[str, Any], *names: str) -> dict[str, Any]:
    """Some of an origin's parameters, by the names that constructors have for them."""
    parameters = fields.value_of(origin, "parameters")
    if not all(name.isidentifier() for name in names):
        raise HspaceError(f"parameters must have names, found {list(names)}")
    return {name: fields.value_of(parameters, name) for name in names}


def _seeds(origin: dict[str, Any]) -> str:
    """Ranges of seeds, [first, last] each."""
    pairs = [tuple(pair) if isinstance(pair, (list, tuple)) else () for pair in fields.entries(origin, "seeds")]
    if not pairs or not all(len(pair) == 2 and all(isinstance(end, int) for end in pair) for pair in pairs):
        raise HspaceError("'seeds' must be pairs of a first and a last seed")
    if len(pairs) == 1:
        return f"range({pairs[0][0]}, {pairs[0][1] + 1})"
    parts = (str(first) if first == last else f"*range({first}, {last + 1})" for first, last in pairs)
    return f"[{', '.join(parts)}]"
