"""The process that works: `python -m hspace.app.work.worker`. A line of JSON in is a job, lines of JSON out tell of it.

    {"model": ..., ...}                             first, what to open (`Opening`)
    {"job": "ComponentSearch", "values": {...}, "out": "found.safetensors"}
    -> {"fraction": 0.25, "left": 12.0}             while it goes
    -> {"told": {...}}  or  {"error": "..."}  or  {"failed": "..."}

It ends when its input does, in whatever it is doing: no orphan works on for an app that is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

from hspace.app.work.bench import Bench, Opening
from hspace.app.work.jobs import job_of
from hspace.app.work.meter import Meter
from hspace.errors import HspaceError

__all__ = ["main"]

_NICER = 5  # pictures go first
_EVERY = 0.2  # seconds between two words on how far it is


def main() -> None:
    """Work until there is no more input."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print does not come between the answers
    if hasattr(os, "nice"):
        os.nice(_NICER)
    lines = _lines()
    bench = Bench(Opening.from_json(json.loads(next(lines))))
    for line in lines:
        _tell(answers, _worked(bench, json.loads(line), answers))


def _worked(bench: Bench, task: dict[str, Any], answers: TextIO) -> dict[str, Any]:
    """Does one job; what came of it."""
    try:
        job = job_of(task)
        meter, last = Meter(job.passes(len(bench.sampler.timesteps))), 0.0
        _tell(answers, {"fraction": 0.0, "left": None})

        def progress(done: int, total: int) -> None:
            nonlocal last
            meter(done, total)
            if time.monotonic() - last > _EVERY:
                last = time.monotonic()
                _tell(answers, {"fraction": meter.fraction, "left": meter.left})

        done = job.run(bench, progress)
        done.directions.save(task["out"])
    except HspaceError as error:
        return {"error": str(error)}
    except Exception:  # the app says that it is its own fault, and logs this
        return {"failed": traceback.format_exc()}
    return {"told": done.told}


def _tell(answers: TextIO, message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more: the input will end, too
        answers.write(json.dumps(message) + "\n")


def _lines() -> Iterator[str]:
    """Lines of the input, read beside the work, so that its end ends the process."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield waiting.get()


if __name__ == "__main__":
    main()
