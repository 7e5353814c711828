"""Run the contest: find, then measure with both injections; what has its file in the folder is not done again."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from hspace.atomic import writing
from hspace.benchmark.meter import Meter
from hspace.benchmark.methods import METHODS, Method
from hspace.benchmark.summary import summarised
from hspace.benchmark.task import Task
from hspace.diffusion import Injection
from hspace.diffusion.latents import as_seeds
from hspace.directions import Directions
from hspace.errors import HspaceError
from hspace.evaluation import evaluate, spread
from hspace.version import __version__

__all__ = ["run"]

_UNIT = 2_000_000  # seeds of the samples that scores are brought to their unit with
_INJECTIONS: tuple[Injection, ...] = ("symmetric", "asymmetric")


def run(
    task: Task,
    folder: str | PathLike[str],
    seeds: Iterable[int],
    *,
    methods: Sequence[str] = tuple(METHODS),
    also: Mapping[str, Directions] | None = None,
    strength: float = 3.0,
    about: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Every method, and what its directions do to fresh samples.

    A stage is finding the directions of a method, or measuring them with one injection; its file is written when it is
    done, so that a contest that was interrupted goes on, and one that is done is only read.

    Args:
        task: The contest.
        folder: For the files of the stages.
        seeds: Fresh samples that are edited.
        methods: Names from `METHODS`; one that starts from another finds that first.
        also: Directions made elsewhere, by name, at whatever price; on the grid of the sampler.
        strength: Of both ends.
        about: More that tells one contest from another, such as the name of the scorer.
        say: Told what is going on.

    Returns:
        Plain JSON types: `setting` of the contest, `rows` as `hspace.benchmark.summary` has them.

    Raises:
        HspaceError: A method that there is not, a name used twice; a folder with another contest.
    """
    for name in methods:
        if name not in METHODS:
            raise HspaceError(f"no method {name!r}; there are {', '.join(METHODS)}")
    others = dict(also or {})
    for name in others:
        if name in METHODS or not re.fullmatch(r"[\w. -]+", name):
            raise HspaceError(
                f"{name!r} can't be a name: it is a method, or more than letters, digits and -._ are in it"
            )
    seeds = as_seeds(seeds)
    where = Path(folder)
    setting = _setting(task, seeds, strength, about or {})
    _claim(where, setting)
    contest = _Contest(task, where, seeds, strength, say)
    rows: list[dict[str, Any]] = []
    for name in methods:
        directions, cost = contest.found(name)
        rows += contest.rows(name, METHODS[name], directions, cost)
    for name, directions in others.items():
        cost = dict.fromkeys(("samples", "calls", "seconds", "cpu_seconds")) | {"words": "made elsewhere"}
        rows += contest.rows(name, Method(_elsewhere, space=directions.setting.space), directions, cost)
    return {"setting": setting, "rows": rows}


class _Contest:
    """The stages."""

    def __init__(
        self, task: Task, folder: Path, seeds: tuple[int, ...], strength: float, say: Callable[[str], None]
    ) -> None:
        self.task, self.folder, self.seeds, self.strength, self.say = task, folder, seeds, strength, say

    def found(self, name: str) -> tuple[Directions, dict[str, Any]]:
        """Directions of a method, and what they cost."""
        file, price = self.folder / f"{name}.safetensors", self.folder / f"{name}.json"
        if not price.exists():
            method = METHODS[name]
            before = None if method.after is None else self.found(method.after)[0]
            self.say(f"{name}: finding directions")
            began, spent = time.monotonic(), time.process_time()
            with Meter(self.task.sampler.model) as meter:
                found = method.find(self.task, before)
            cost = {
                "words": found.words,
                "samples": found.samples,
                "calls": round(meter.calls),
                "seconds": round(time.monotonic() - began, 1),
                "cpu_seconds": round(time.process_time() - spent, 1),
            }
            found.directions.save(file)
            _write(price, {**cost, "options": dict(found.options)})
        return Directions.load(file), _read(price)

    def rows(self, name: str, method: Method, directions: Directions, cost: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One for each injection; injection means nothing to directions of x_T."""
        found = []
        for injection in _INJECTIONS if method.space == "h" else _INJECTIONS[:1]:
            data = self._measured(name, directions, injection)
            kind = {"aimed": method.aimed, "control": method.control, "space": method.space, "injection": injection}
            found.append({"method": name, **kind, **cost, **summarised(data, aimed=method.aimed)})
        return found

    def _measured(self, name: str, directions: Directions, injection: Injection) -> Any:
        file = self.folder / f"{name}-{_digest(directions)}-{injection}.json"
        if not file.exists():
            self.say(f"{name}: measuring, {injection}")
            unit = self._unit()
            setting = replace(directions.setting, injection=injection)
            same = Directions([replace(item, setting=setting) for item in directions])
            ends = (-self.strength, self.strength)
            began = time.monotonic()
            found = evaluate(
                *(self.task.sampler, same, self.task.scorer, self.seeds), strengths=ends, attributes={}, unit=unit
            )
            _write(file, {**found.to_json(), "seconds": time.monotonic() - began})
        return _read(file)

    def _unit(self) -> dict[str, float]:
        file = self.folder / "unit.json"
        if not file.exists():
            batches = self.task.sampler.stream(range(_UNIT, _UNIT + 2 * self.task.unit_samples))
            _write(file, spread(self.task.scorer, (images for _, images in batches)))
        return dict(_read(file))


def _digest(directions: Directions) -> str:
    """Tells directions from others of the same name: those found again are measured again."""
    digest = hashlib.sha256()
    for item in directions:
        digest.update(item.name.encode())
        digest.update(item.vectors.float().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def _elsewhere(task: Task, before: Directions | None) -> Any:
    raise HspaceError("directions made elsewhere are not found again")


def _setting(task: Task, seeds: tuple[int, ...], strength: float, about: Mapping[str, Any]) -> dict[str, Any]:
    """What all stages of one contest have in common."""
    model, schedule = task.sampler.model, task.sampler.schedule
    return {
        **about,
        "version": __version__,
        "model": model.model_id,
        "weights": model.weight_hash,
        "tap": model.tap.name,
        "dtype": str(model.dtype).removeprefix("torch."),
        "timesteps": list(schedule.timesteps),
        "etas": list(schedule.etas),
        "factors": list(task.factors),
        "calls": task.calls,
        "directions": task.k,
        "unit_samples": task.unit_samples,
        "seed": task.seed,
        "samples": len(seeds),
        "seeds": [[each.start, each.stop] for each in _ranges(seeds)],
        "strength": strength,
    }


def _ranges(seeds: tuple[int, ...]) -> list[range]:
    """Runs of seeds that follow each other."""
    found: list[range] = []
    for seed in seeds:
        if found and seed == found[-1].stop:
            found[-1] = range(found[-1].start, seed + 1)
        else:
            found.append(range(seed, seed + 1))
    return found


def _claim(folder: Path, setting: Mapping[str, Any]) -> None:
    """A folder belongs to one contest."""
    file = folder / "setting.json"
    if not file.exists():
        _write(file, dict(setting))
        return
    there = _read(file)
    for key in (*setting, *there):
        if there.get(key) != setting.get(key):
            raise HspaceError(
                f"{folder} holds another benchmark: its {key} is {there.get(key)}, here {setting.get(key)}; "
                "take another folder"
            )


def _write(file: Path, data: Any) -> None:
    with writing(file) as partial:
        partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HspaceError(f"{file} can't be read ({error}): remove it to have it made again") from error
