"""Exporting: a conversation as a file, in parts that an answer can carry. Put together they are the file.

What can go wrong, and why it cannot: *it changes while it is read.* The version is looked at before and after each part, and a part
says which version it goes on with; of one that has changed nothing more is told, and the reader begins again. *It is long.* No more
than a page of it is held at once, and a part goes on from a place that stands in its name. *A message is larger than a part.* Parts
end after any byte, and not after a line only.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from core.access import Role, Who
from core.deadline import Deadline
from core.entrance import enter
from core.errors import ExportChanged, InvalidRequest, SessionNotFound
from core.ids import SessionId
from core.store import exports
from core.store.database import Database
from core.transfer.lines import FORMAT, KINDS, VERSION, Chain, end_line, written
from core.tries import again_and_again, past_dead_connections
from core.values import dataclass

# What a function may answer with is 6 MB, and this is carried as base64.
PART_BYTES: Final = 4_000_000
_PATIENCE_S: Final = 5.0
_MOST: Final = 2**63 - 1
_NOTHING: Final = Chain()


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a part begins: behind a row of a kind, and so many bytes into the line after it."""

    version: int
    # 0: the session's own line. The last: the end's.
    section: int = 0
    place: int = 0
    cut: int = 0
    chain: Chain = _NOTHING

    def __str__(self) -> str:
        numbers = (self.version, self.section, self.place, self.cut, self.chain.lines)
        return "-".join([*map(str, numbers), self.chain.digest])

    @classmethod
    def read(cls, given: str) -> "Cursor":
        *numbers, digest = given.split("-")
        if (
            len(numbers) != 5
            or not all(number.isascii() and number.isdigit() and len(number) < 20 for number in numbers)
            or len(digest) != 64
            or not set(digest) <= set("0123456789abcdef")
        ):
            raise InvalidRequest("`after` must be sent back as X-Next-Part gave it.")
        version, section, place, cut, lines = map(int, numbers)
        if section > len(KINDS) + 1 or max(version, place, cut, lines) > _MOST:
            raise InvalidRequest("`after` must be sent back as X-Next-Part gave it.")
        return cls(version, section, place, cut, Chain(lines, digest))


@dataclass(frozen=True, slots=True)
class Part:
    session_id: SessionId
    version: int
    content: bytes
    # None: this was the last.
    next: Cursor | None


def part(database: Database, who: Who, after: Cursor | None, most_bytes: int = PART_BYTES) -> Part:
    """For whoever owns the conversation."""
    if after is not None:
        return _part(database, who, after, most_bytes)

    def attempt() -> Part | None:
        try:
            return _part(database, who, None, most_bytes)
        except ExportChanged:
            # Nothing was told of it yet.
            return None

    return again_and_again(Deadline.after(_PATIENCE_S), attempt)


def _part(database: Database, who: Who, after: Cursor | None, most_bytes: int) -> Part:
    visit = enter(database, who, needed=Role.OWNER)
    cursor = after or Cursor(visit.version)
    if cursor.version != visit.version:
        raise ExportChanged
    content, following = _filled(database, visit.session_id, cursor, most_bytes)
    if enter(database, who, needed=Role.OWNER).version != visit.version:
        raise ExportChanged
    return Part(visit.session_id, visit.version, content, following)


def _filled(
    database: Database, session_id: SessionId, cursor: Cursor, most_bytes: int
) -> tuple[bytes, Cursor | None]:
    content = bytearray()
    for line, behind in lines(database, session_id, cursor):
        told = f"{line}\n".encode()[cursor.cut :]
        if len(content) + len(told) > most_bytes:
            if not content:
                # Larger than a part by itself.
                return told[:most_bytes], replace(cursor, cut=cursor.cut + most_bytes)
            return bytes(content), cursor
        content += told
        cursor = behind
    return bytes(content), None


def lines(database: Database, session_id: SessionId, cursor: Cursor) -> Iterator[tuple[str, Cursor]]:
    """Each line from a place on, with where the next one begins."""
    chain = cursor.chain
    for section in range(cursor.section, len(KINDS) + 1):
        place = cursor.place if section == cursor.section else 0
        for line, at in _section(database, session_id, section, place):
            chain = chain.after(line)
            yield line, Cursor(cursor.version, section, at, 0, chain)
    end = len(KINDS) + 1
    if (cursor.section, cursor.place) < (end, 1):
        yield end_line(chain), Cursor(cursor.version, end, 1, 0, chain)


def _section(
    database: Database, session_id: SessionId, section: int, place: int
) -> Iterator[tuple[str, int]]:
    if section == 0:
        if place == 0:
            yield _head(database, session_id), 1
        return
    kind = KINDS[section - 1]
    while rows := past_dead_connections(partial(exports.page, database, session_id, kind, place)):
        for at, row in rows:
            yield written(kind, row), at
        place = rows[-1][0]


def _head(database: Database, session_id: SessionId) -> str:
    row = past_dead_connections(lambda: exports.session(database, session_id))
    if row is None:
        raise SessionNotFound
    return written("session", {"format": FORMAT, "version": VERSION, **row})
