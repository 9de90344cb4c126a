"""Recovery: finds what nobody goes on with any more, and sees to it that somebody does.

What can go wrong, and why it does not matter: many sweeps at once find the same. Each finding is only a wake-up, or a
write at the version that was read, so the second to come finds nothing to do.
"""

import logging
from dataclasses import dataclass

from core.decisions import expire
from core.erasing import Erasing
from core.ids import SessionId
from core.partials import KEPT_S
from core.store import approvals, endings, locks, partials, rates, turns
from core.store.approvals import Overdue
from core.store.database import Database
from core.wakeups import Wakeups

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    woken: int
    expired: int
    forgotten: int
    # Agents whose time was over.
    unlocked: int = 0
    # Conversations that nobody used, and application sessions that belonged to none.
    ended: int = 0
    application_sessions: int = 0
    # Erasures that nobody went on with.
    erased: int = 0
    # Networks that have not sent too much lately.
    rates: int = 0


def sweep(
    database: Database,
    wakeups: Wakeups,
    *,
    key_ttl_s: int,
    limit: int = 100,
    erasing: Erasing | None = None,
) -> Swept:
    """Goes on with erasures, wakes turns whose holder died or whose wake-up was lost, ends approvals that nobody gave, takes locks away whose time is
    over, forgets old keys, ends what nobody uses.
    """
    expired = _end_overdue(database, limit)
    stranded = turns.stranded(database, limit)
    for session_id, epoch in stranded:
        wakeups.recover(session_id, epoch)
    forgotten = turns.forget_keys(database, key_ttl_s=key_ttl_s, limit=limit)
    unlocked = locks.clean_up(database, limit)
    partials.clean_up(database, limit, kept_s=KEPT_S)
    ended = len(endings.clean_up(database, limit))
    alone = endings.clean_up_alone(database, limit)
    erased = 0 if erasing is None else erasing.sweep()
    swept = Swept(
        len(stranded), expired, forgotten, unlocked, ended, alone, erased, rates.clean_up(database, limit)
    )
    if swept != Swept(0, 0, 0):
        told = ", ".join(f"{name} {getattr(swept, name)}" for name in Swept.__slots__ if getattr(swept, name))
        _log.info("sweep: %s", told)
    return swept


def _end_overdue(database: Database, limit: int) -> int:
    """Those of one conversation in one write: after the first the version that they were read at would be past."""
    overdue = approvals.overdue(database, limit)
    by_session: dict[tuple[SessionId, int], list[Overdue]] = {}
    for approval in overdue:
        by_session.setdefault((approval.session_id, approval.version), []).append(approval)
    return sum(expire(database, *session, due) for session, due in by_session.items())
