"""The doctor's rounds: from conversation to conversation, in pieces, mending what is asked to be mended."""

from collections.abc import Iterator

from core.doctor.diagnosis import Ailment, diagnose
from core.ids import SessionId
from core.store import records
from core.store.database import Database
from core.values import dataclass

_AT_ONCE = 500
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Visit:
    session_id: SessionId
    messages: int
    ailments: tuple[Ailment, ...]
    mended: bool
    # It is being worked on, and was not mended for that.
    is_held: bool = False


def rounds(database: Database, *, fix: bool) -> Iterator[Visit]:
    after: SessionId | None = None
    while ids := records.page(database, after, _AT_ONCE):
        for session_id in ids:
            seen = visit(database, session_id, fix=fix)
            if seen is not None:
                yield seen
        after = ids[-1]


def visit(database: Database, session_id: SessionId, *, fix: bool) -> Visit | None:
    """None: there is no such conversation. What is mended is judged again, and must be well."""
    found: tuple[Ailment, ...] = ()
    messages = 0
    for _ in range(_TRIES):
        record = records.read(database, session_id)
        if record is None:
            return None
        diagnosis = diagnose(record)
        found, messages = found or diagnosis.ailments, len(record.messages)
        if diagnosis.is_well:
            return Visit(session_id, messages, found, mended=bool(found))
        if not fix or record.is_held:
            return Visit(session_id, messages, found, mended=False, is_held=record.is_held)
        records.mend(database, record, diagnosis.leave_out, uncompact=diagnosis.uncompact)
    return Visit(session_id, messages, found, mended=False)
