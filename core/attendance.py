"""Waiting for outside calls without letting go: each runs on a thread, and the waiter's heart goes on beating."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

from core import about
from core.deadline import Deadline

T = TypeVar("T")
K = TypeVar("K")


def on_a_thread(work: Callable[[], T], name: str) -> "Future[T]":
    """A thread that can be left behind: it keeps neither the waiter nor the process. It is part of the waiter's request, also in
    how long that may wait for Redis.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            # As it is known now: a thread that is left behind is not about what its waiter goes on to.
            with about.under():
                outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True).start()
    return outcome


class Bell:
    """Rung by any thread, it has whoever attends calls beat at once."""

    def __init__(self) -> None:
        self.rung: Future[None] = Future()

    def ring(self) -> None:
        with suppress(InvalidStateError):
            self.rung.set_result(None)

    def heard(self) -> None:
        self.rung = Future()


def attend(
    calls: "Mapping[K, Future[T]]",
    until: Deadline,
    beat: Callable[[], None],
    beat_s: float,
    bell: Bell | None = None,
) -> "Iterator[tuple[K, Future[T]]]":
    """Each call as it ends; those that have not by the deadline do not come. `beat` is called all the while, and what it
    raises ends the waiting.
    """
    names = {future: key for key, future in calls.items()}
    open_ = {future for future in names if not future.done()}
    for future in names.keys() - open_:
        yield names[future], future
    next_beat = Deadline.after(beat_s)
    while open_ and until.left_s():
        awaited: set[Future[Any]] = {*open_} if bell is None else {*open_, bell.rung}
        done, _ = wait(awaited, min(next_beat.left_s(), until.left_s()), FIRST_COMPLETED)
        is_rung = bell is not None and bell.rung in done
        if bell is not None and is_rung:
            bell.heard()
        for future in open_ & done:
            yield names[future], future
        open_ -= done
        if open_ and (is_rung or not next_beat.left_s()):
            beat()
            next_beat = Deadline.after(beat_s)
