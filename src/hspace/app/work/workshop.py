"""Has jobs done, one at a time, by a process of its own: pictures go on meanwhile, and what is cancelled ends."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hspace.app.turns import Superseded
from hspace.app.work.bench import Opening
from hspace.app.work.jobs import Job, json_of
from hspace.errors import HspaceError

__all__ = ["Work", "Workshop"]


class Work:
    """A job that was begun.

    Attributes:
        fraction: Done of it, 0 to 1.
        left: Seconds, where they are known.
        begun: Whether it is its turn, and the model is open.
        seconds: How long it took, once it is over.
    """

    def __init__(self) -> None:
        self.fraction = 0.0
        self.left: float | None = None
        self.begun = False
        self.seconds = 0.0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._cancelled = False
        self._process: subprocess.Popen[str] | None = None
        self._told: dict[str, Any] = {}
        self._error: Exception | None = None

    def wait(self, seconds: float) -> bool:
        """Whether it is over, after so long at the most."""
        return self._over.wait(seconds)

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self._cancelled

    def cancel(self) -> None:
        """Ends it now, in whatever it is doing."""
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                self._process.kill()

    def result(self) -> dict[str, Any]:
        """What it had to tell, once it is over.

        Raises:
            Superseded: It was cancelled.
            HspaceError: What the job refuses.
            RuntimeError: It failed, by no fault of the visitor's.
        """
        self._over.wait()
        if self._error is not None:
            raise self._error
        return self._told

    def _done_by(self, process: subprocess.Popen[str] | None) -> None:
        """Whose process ends with it when it is cancelled."""
        with self._lock:
            if self._cancelled and process is not None:
                raise Superseded
            self._process = process

    def _heard(self, message: dict[str, Any]) -> bool:
        """Takes a word of the process; whether it was the last one."""
        match message:
            case {"fraction": fraction, "left": left}:
                self.begun, self.fraction, self.left = True, fraction, left
                return False
            case {"told": told}:
                self._told = told
            case {"error": error}:
                self._error = HspaceError(error)
            case _:
                self._error = RuntimeError(f"a job failed:\n{message.get('failed')}")
        return True


class Workshop:
    """Does what it is given, in order.

    Its process starts with the first job, which waits for it some seconds, and again after one was cancelled.

    Args:
        opening: What the process opens.

    Example:
        >>> import pathlib, tempfile, hspace
        >>> from hspace.app.work.bench import Opening
        >>> from hspace.app.work.jobs import ComponentSearch
        >>> from hspace.app.work.workshop import Workshop
        >>> sampler = hspace.Sampler(hspace.load("faces64", "cpu"), steps=2)
        >>> workshop = Workshop(Opening("faces64", "cpu", "float32", sampler.setting()))
        >>> out = pathlib.Path(tempfile.mkdtemp()) / "found.safetensors"
        >>> workshop.begin(ComponentSearch(components=2, samples=4), out).result()
        {}
        >>> hspace.Directions.load(out).names
        ('pc0', 'pc1')
        >>> workshop.close()
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._hand = ThreadPoolExecutor(1, "hspace-workshop")
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._end: weakref.finalize[Any, Workshop] | None = None

    def begin(self, job: Job, out: Path) -> Work:
        """Put a job in the row.

        Args:
            job: What to do.
            out: File of the directions that it finds.
        """
        work = Work()
        self._hand.submit(self._do, work, {**json_of(job), "out": str(out)})
        return work

    def close(self) -> None:
        """No more work: that which is going on ends."""
        self._hand.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._end is not None:
                self._end()

    def _do(self, work: Work, task: dict[str, Any]) -> None:
        try:
            if work.cancelled:
                raise Superseded
            process = self._ready()
            work._done_by(process)
            began, over = time.monotonic(), False
            try:
                _say(process, task)
                while not over and (line := _heard(process)):
                    over = work._heard(json.loads(line))
            finally:
                work.seconds = time.monotonic() - began
                work._done_by(None)
                if not over:
                    _end(process)
            if work.cancelled and not over:
                raise Superseded
            if not over:
                raise HspaceError("the work ended before it was done: perhaps memory ran out")
        except Exception as error:
            work._error = error
        finally:
            work._over.set()

    def _ready(self) -> subprocess.Popen[str]:
        """The process, started where there is none."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                command = [sys.executable, "-m", "hspace.app.work.worker"]
                pipe = subprocess.PIPE
                self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8")
                self._end = weakref.finalize(self, _end, self._process)
                _say(self._process, self._opening.to_json())
            return self._process


def _say(process: subprocess.Popen[str], message: dict[str, Any]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
    except OSError:  # it is gone, and says nothing any more
        return


def _heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
