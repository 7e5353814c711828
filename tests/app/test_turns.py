"""Turns, with real threads: who goes when, who leaves the row, and what an exception leaves behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hspace.app.turns import Superseded, Turns

SOON = 20.0  # seconds in which a thread surely gets there; nothing is timed


class Row:
    """Threads that queue for turns while somebody holds them, in a known order."""

    def __init__(self, patience: int = 8) -> None:
        self.turns = Turns(patience)
        self.went: list[str] = []
        self.threads: list[threading.Thread] = []

    def waiting(self) -> int:
        return len(self.turns._hurried) + len(self.turns._others)

    def join(self, name: str, *, first: bool = False, wanted: Callable[[], bool] = lambda: True) -> None:
        """Returns when the thread waits."""
        mine = self.turns._hurried if first else self.turns._others
        before = len(mine)

        def wait() -> None:
            try:
                with self.turns.taken(first=first, wanted=wanted):
                    self.went.append(name)
            except Superseded:
                self.went.append(f"not {name}")

        self.threads.append(threading.Thread(target=wait, daemon=True))
        self.threads[-1].start()
        until(lambda: len(mine) > before)

    def finish(self) -> list[str]:
        for thread in self.threads:
            thread.join(SOON)
            assert not thread.is_alive()
        return self.went


def until(happened: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(SOON * 1000)):
        if happened():
            return
        pause.wait(0.001)
    raise AssertionError("it never happened")


def test_in_order_those_in_a_hurry_first() -> None:
    row = Row()
    with row.turns.taken():
        for name in ("picture 1", "preview 1", "picture 2", "preview 2"):
            row.join(name, first=name.startswith("preview"))
    assert row.finish() == ["preview 1", "preview 2", "picture 1", "picture 2"]


def test_previews_do_not_starve_pictures() -> None:
    """However many are in a hurry, after `patience` of them one of the others goes."""
    row = Row(patience=3)
    with row.turns.taken():
        for i in range(2):
            row.join(f"picture {i}")
        for i in range(8):
            row.join(f"{i}", first=True)
    assert row.finish() == ["0", "1", "2", "picture 0", "3", "4", "5", "picture 1", "6", "7"]


def test_patience_is_of_those_who_wait() -> None:
    """Previews that nobody waited for do not count when a picture comes."""
    row = Row(patience=2)
    for _ in range(5):
        with row.turns.taken(first=True):
            pass
    with row.turns.taken(first=True):
        row.join("picture")
        row.join("preview", first=True)
    assert row.finish() == ["preview", "picture"]


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 4))
def test_everybody_gets_a_turn(hurries: list[bool], patience: int) -> None:
    row = Row(patience)
    with row.turns.taken():
        for i, first in enumerate(hurries):
            row.join(f"{'+' if first else '-'}{i}", first=first)
    went = row.finish()
    for sign in "+-":
        numbers = [int(name[1:]) for name in went if name[0] == sign]
        assert numbers == [i for i, first in enumerate(hurries) if first == (sign == "+")]
    overtaken = "".join(name[0] for name in went).rstrip("+").split("-")
    assert all(len(previews) <= patience for previews in overtaken)


def test_who_has_moved_on_leaves_the_row_when_somebody_comes() -> None:
    row, old = Row(), [True]
    with row.turns.taken():
        row.join("picture 1", wanted=lambda: old[0])
        row.join("picture 2")
        old[0] = False
        row.join("preview", first=True)
        until(lambda: row.went == ["not picture 1"])  # though its turn has not come
    assert row.finish() == ["not picture 1", "preview", "picture 2"]


@pytest.mark.parametrize("names", [("preview", "picture"), ("picture", "preview")])
def test_who_has_moved_on_does_not_stand_in_the_way(names: tuple[str, str]) -> None:
    """It finds out at its turn, and the one behind it may have looked before and gone to sleep again."""
    for _ in range(10):
        row, old = Row(), [True]
        with row.turns.taken():
            for name in names:
                preview = name == "preview"
                row.join(name, first=preview, wanted=lambda preview=preview, old=old: not preview or old[0])
            old[0] = False
        assert sorted(row.finish()) == ["not preview", "picture"]


def test_who_is_not_wanted_does_not_begin() -> None:
    turns = Turns()
    with pytest.raises(Superseded), turns.taken(wanted=lambda: False):
        raise AssertionError("not wanted")
    with turns.taken():
        pass


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_a_failure_ends_the_turn(failure: type[BaseException]) -> None:
    row = Row()

    def fail() -> None:
        with row.turns.taken():
            row.join("next")
            raise failure

    with pytest.raises(failure):
        fail()
    assert row.finish() == ["next"]


def test_a_question_that_fails_leaves_no_ghost() -> None:
    turns = Turns()

    def broken() -> bool:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"), turns.taken(wanted=broken):
        pass
    with turns.taken():
        pass


def test_an_interrupt_while_waiting_leaves_no_ghost() -> None:
    """Ctrl-C in the main thread, which is the next in the row; those behind it hear of it."""
    row, may_end = Row(), threading.Event()

    def hold() -> None:
        with row.turns.taken():
            may_end.wait(SOON)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    until(lambda: row.turns._busy)

    def press() -> None:
        until(lambda: row.waiting() == 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    presser = threading.Thread(target=press, daemon=True)
    presser.start()
    with pytest.raises(KeyboardInterrupt), row.turns.taken():
        raise AssertionError("it was not free")
    assert row.waiting() == 0
    row.join("behind")
    may_end.set()
    holder.join(SOON)
    assert row.finish() == ["behind"]


def test_one_at_a_time() -> None:
    turns, inside, most = Turns(), 0, 0

    def work(first: bool) -> None:
        nonlocal inside, most
        for _ in range(50):
            with turns.taken(first=first):
                inside += 1
                most = max(most, inside)
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(work, bool(i % 2)) for i in range(8)]:
            job.result(SOON)
    assert (inside, most) == (0, 1)
