"""A backup: the file that the archive has of a conversation, and how it is read again. Not an export: its rows are as they are stored, and
name people, and it goes back under its own ID and owner.

What can go wrong, and why it cannot: *it is cut, or changed.* Its last line counts the lines before it and names the end of a chain
of digests over them, as in an export.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final
from uuid import UUID

from core.content import dump
from core.errors import BackupUnreadable
from core.ids import SessionId, UserId
from core.store.backups import Due, StoredRow
from core.transfer import lines as written
from core.transfer.lines import Chain, NotALine, end_line
from core.values import dataclass

_FORMAT: Final = "latchkey-backup"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Head:
    session_id: SessionId
    user_id: UserId
    # As of which moment it was read; it is counted out of the figures, and into them again, as of then.
    at: datetime


def lines(due: Due, rows: Iterable[StoredRow]) -> Iterator[str]:
    head = {
        "kind": "backup",
        "format": _FORMAT,
        "version": _VERSION,
        "session": str(due.session_id),
        "user": str(due.user_id),
        "at": due.at.isoformat(),
    }
    chain = Chain()
    for line in _all(dump(head), rows):
        chain = chain.after(line)
        yield line
    yield end_line(chain)


def _all(head: str, rows: Iterable[StoredRow]) -> Iterator[str]:
    yield head
    for row in rows:
        # In JSON a line's end stands between its parts, and nowhere else.
        yield f"{_before(row.table)}{row.json.replace(chr(10), ' ')}}}"


def _before(table: str) -> str:
    return f'{{"kind":"row","table":{dump(table)},"row":'


def head(line: bytes) -> Head:
    """Of the first line; what comes behind it is not known to be right yet."""
    try:
        fields = written.read(line)
        if (fields.get("format"), fields.get("version")) != (_FORMAT, _VERSION):
            raise BackupUnreadable
        return Head(
            SessionId(UUID(fields["session"])),
            UserId(UUID(fields["user"])),
            datetime.fromisoformat(fields["at"]),
        )
    except (NotALine, KeyError, ValueError, TypeError) as problem:
        raise BackupUnreadable from problem


def rows(file: Iterable[bytes]) -> Iterator[StoredRow]:
    """Of the whole file. That it is whole is known at its end, and not before: nothing of it is put back until then."""
    chain, is_whole = Chain(), False
    for number, line in enumerate(file):
        try:
            text = line.decode()
        except UnicodeDecodeError as problem:
            raise BackupUnreadable from problem
        if text == end_line(chain):
            is_whole = True
            break
        chain = chain.after(text)
        if number:
            yield _row(text)
    if not is_whole:
        raise BackupUnreadable


def _row(text: str) -> StoredRow:
    start, middle = '{"kind":"row","table":"', '","row":'
    table, found, rest = text.removeprefix(start).partition(middle)
    if not text.startswith(start) or not found or not rest.endswith("}"):
        raise BackupUnreadable
    return StoredRow(table, rest[:-1])
