"""Partials: what the model is saying at this moment, for whoever reads along, in this process or another.

What can go wrong, and why it cannot:

* *It slows the turn, or fails it.* Who speaks only puts words on a list. A thread beside it carries them out of the process, and only
  while somebody reads along; whatever happens to that thread, the turn does not hear of it.
* *A zombie goes on speaking.* Each partial names the epoch it is said under and the message that it will be. Redis keeps none in the
  place of a later epoch's, Postgres writes none whose epoch has passed, and a reader believes only what fits the session's row that
  it has read at the same time.
* *Redis is away, lies, or garbles.* What was garbled is seen by its digest, and is nothing. What is older is shorter, and waited out.
  Once it fails, this turn's partials go to Postgres instead. And in the end what is stored counts: who was told something else is told
  to discard it.
* *Something is left behind.* The speaker takes it away with the end of the turn; in Redis it ends by itself, in Postgres with the sweep.
"""

import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from datetime import timedelta
from typing import Final
from uuid import UUID

from core.attendance import Bell
from core.cache.allowance import Allowance
from core.cache.clock import utc_now
from core.cache.entry import Entry
from core.cache.shelf import Shelf
from core.content import dump
from core.deadline import Deadline
from core.ids import SessionId, TurnId
from core.store import partials as stored_partials
from core.store.database import Database
from core.store.holds import Hold
from core.store.partials import StoredPartial
from core.values import dataclass

_log = logging.getLogger(__name__)

# How long one that nobody goes on with is kept.
KEPT_S: Final = 60
_IN_REDIS_EVERY_S: Final = 0.1
_IN_POSTGRES_EVERY_S: Final = 0.25
# The longer it is, the more rarely it is sent whole.
_CHARACTERS_A_SECOND: Final = 200_000
_PATIENCE_S: Final = 2.0

# Of this process, which alone speaks under its epochs: the later one says more.
_counts = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Partial:
    epoch: int
    turn_id: TurnId
    seq: int
    agent: str
    count: int
    # Their places among the reply's blocks, and their texts so far.
    blocks: tuple[tuple[int, str], ...]


class Speech:
    """One reply while it is being made. Called by the thread that reads it."""

    def __init__(
        self, hold: Hold, agent: str, is_followed: Callable[[], bool], stir: Callable[["Speech"], None]
    ) -> None:
        self.hold = hold
        self.agent = agent
        self.is_followed = is_followed
        self.is_published = False
        # Rung by whoever wants the speaker's holder to look up.
        self.bell = Bell()
        self.over = threading.Event()
        self._stir = stir
        self._said: list[tuple[int, str]] = []

    def anew(self) -> None:
        """The model is asked again: what it said before counts for nothing."""
        self._said = []

    def say(self, block: int, text: str) -> None:
        if text and not self.over.is_set():
            self._said.append((block, text))
            self._stir(self)

    def stir(self) -> None:
        """Perhaps somebody has come to read along."""
        if self._said:
            self._stir(self)

    @property
    def length(self) -> int:
        """Of no use but to see whether there is more."""
        return len(self._said)

    def partial(self) -> Partial:
        texts: dict[int, list[str]] = {}
        for block, text in tuple(self._said):
            texts.setdefault(block, []).append(text)
        blocks = tuple((block, _well_formed("".join(texts[block]))) for block in sorted(texts))
        hold = self.hold
        return Partial(hold.epoch, hold.turn_id, hold.message_seq + 1, self.agent, next(_counts), blocks)


@dataclass(slots=True)
class _Outlet:
    """What was carried out of this process under one epoch."""

    # There is no Redis, or it failed.
    in_postgres: bool
    thread: threading.Thread | None = None


@dataclass(slots=True)
class Partials:
    """Built once a process."""

    database: Database | None = None
    # None: there is no Redis.
    shelf: Shelf | None = None
    # How long one look into Redis may take.
    budget_s: float = 0.1
    _speeches: dict[SessionId, Speech] = field(default_factory=dict)
    _ears: dict[SessionId, set[Callable[[], None]]] = field(default_factory=dict)
    # What is to be taken away in the end.
    _outlets: dict[tuple[SessionId, int], _Outlet] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # ---- for who speaks

    @contextmanager
    def speech(self, hold: Hold, agent: str, is_followed: Callable[[], bool]) -> Iterator[Speech]:
        said = Speech(hold, agent, is_followed, self._said)
        self._speeches[hold.session_id] = said
        try:
            yield said
        finally:
            said.over.set()
            if self._speeches.get(hold.session_id) is said:
                self._speeches.pop(hold.session_id, None)

    def moved(self, session_id: SessionId) -> None:
        """Something was stored: whoever reads along in this process looks at once."""
        for ear in tuple(self._ears.get(session_id, ())):
            ear()

    def ended(self, hold: Hold) -> None:
        """Nothing more is said under this epoch."""
        self.moved(hold.session_id)
        outlet = self._outlets.pop((hold.session_id, hold.epoch), None)
        if outlet is not None:
            _beside(lambda: self._take_away(hold, outlet), "forget-partial")

    def _said(self, speech: Speech) -> None:
        if speech.is_followed() and not speech.is_published and self.database is not None:
            speech.is_published = True
            place = (speech.hold.session_id, speech.hold.epoch)
            outlet = self._outlets.setdefault(place, _Outlet(in_postgres=self.shelf is None))
            outlet.thread = _beside(lambda: self._publish(speech, outlet), "publish-partial")
        self.moved(speech.hold.session_id)

    # ---- for who listens

    @contextmanager
    def listening(self, session_id: SessionId, ear: Callable[[], None]) -> Iterator[None]:
        """`ear` is called by any thread, often, and must not wait."""
        with self._lock:
            self._ears.setdefault(session_id, set()).add(ear)
        try:
            yield
        finally:
            with self._lock:
                ears = self._ears.get(session_id, set())
                ears.discard(ear)
                if not ears:
                    self._ears.pop(session_id, None)

    def ring(self, session_id: SessionId) -> None:
        """Whoever works on the conversation in this process hears at once what has arrived."""
        speech = self._speeches.get(session_id)
        if speech is not None:
            speech.bell.ring()

    def heard(self, session_id: SessionId) -> Partial | None:
        """What is being said in this process."""
        speech = self._speeches.get(session_id)
        return None if speech is None else speech.partial()

    def look(self, session_id: SessionId, stored: StoredPartial | None) -> list[Partial]:
        """What is said to be said, elsewhere: it counts only if it fits the row that was read with it."""
        found = [] if stored is None else _read(stored.epoch, stored.content)
        if self.shelf is not None:
            entry = self.shelf.look(_key(session_id), Allowance(self.budget_s))
            found += [] if entry is None else _read(entry.epoch, entry.body)
        return found

    # ---- out of this process

    def forget(self, session_id: SessionId, before: int) -> None:
        """What was said under an epoch before this one goes from Redis; in Postgres it goes with the rows."""
        if self.shelf is not None:
            self.shelf.mark(_key(session_id), before, 0, Allowance(self.budget_s))

    def _publish(self, speech: Speech, outlet: _Outlet) -> None:
        """The newest again and again, until the reply is whole: then it is stored, and this is of no use."""
        length = 0
        while not speech.over.is_set():
            if speech.length == length:
                speech.over.wait(_IN_REDIS_EVERY_S / 2)
                continue
            length = speech.length
            partial = speech.partial()
            body = _body(partial)
            self._carry_out(speech.hold, partial, body, outlet)
            pause_s = _IN_POSTGRES_EVERY_S if outlet.in_postgres else _IN_REDIS_EVERY_S
            speech.over.wait(pause_s + len(body) / _CHARACTERS_A_SECOND)

    def _carry_out(self, hold: Hold, partial: Partial, body: str, outlet: _Outlet) -> None:
        if not outlet.in_postgres and self.shelf is not None:
            entry = Entry(partial.epoch, partial.count, body, utc_now() + timedelta(seconds=KEPT_S))
            outlet.in_postgres = not self.shelf.offer(_key(hold.session_id), entry, Allowance(self.budget_s))
        if outlet.in_postgres and self.database is not None:
            stored = StoredPartial(
                hold.session_id, partial.epoch, partial.turn_id, partial.seq, partial.agent, body
            )
            stored_partials.put(self.database.by(Deadline.after(_PATIENCE_S)), stored)

    def _take_away(self, hold: Hold, outlet: _Outlet) -> None:
        if outlet.thread is not None:
            outlet.thread.join(2 * _PATIENCE_S)
        if self.shelf is not None:
            self.shelf.mark(_key(hold.session_id), hold.epoch, 0, Allowance(_PATIENCE_S), ended=True)
        if outlet.in_postgres and self.database is not None:
            database = self.database.by(Deadline.after(_PATIENCE_S))
            stored_partials.forget(database, hold.session_id, hold.epoch)


def _beside(work: Callable[[], None], name: str) -> threading.Thread | None:
    """The last resort of such a thread: what it fails at is done without, or by the sweep."""

    def run() -> None:
        try:
            work()
        except Exception as error:
            _log.warning("%s: %s", name, type(error).__name__)

    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the machine has no more of them
        return None
    return thread


def _key(session_id: SessionId) -> str:
    return f"partial:{session_id}"


def _body(partial: Partial) -> str:
    return dump([str(partial.turn_id), partial.seq, partial.agent, partial.count, partial.blocks])


def _read(epoch: int, body: str) -> list[Partial]:
    try:
        turn_id, seq, agent, count, blocks = json.loads(body)
        texts = tuple((int(block), str(text)) for block, text in blocks)
        return [Partial(epoch, TurnId(UUID(turn_id)), int(seq), str(agent), int(count), texts)]
    except (ValueError, TypeError, AttributeError):
        # Of a release that kept something else.
        return []


def _well_formed(text: str) -> str:
    """As it will be read again once it is stored: a pair of surrogates is one character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return text
