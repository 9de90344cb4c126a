"""Entrance: somebody is let into a conversation, or told why not; and why nothing was found for them.

Whatever is not there, not theirs or past its time is looked for in the same statements, so neither the answer nor how long it
takes tells which of these it was.
"""

from core.access import Role, Who
from core.errors import DeviceBarred, LatchkeyError, RoleTooSmall, SessionNotFound
from core.store import visitors
from core.store.database import Database
from core.store.visitors import Visit
from core.tries import past_dead_connections


def enter(database: Database, who: Who, needed: Role = Role.VIEWER) -> Visit:
    visit = past_dead_connections(lambda: visitors.find(database, who))
    if visit is None:
        raise nothing_for(database, who)
    require(visit, needed)
    return visit


def require(visit: Visit, needed: Role) -> None:
    demand(visit.held_as, needed)


def demand(held_as: Role, needed: Role) -> None:
    if not held_as.suffices_for(needed):
        raise RoleTooSmall(
            f"You are {held_as} of this conversation; this takes its {needed}. Nothing was stored."
        )


def nothing_for(
    database: Database, who: Who, missing: type[LatchkeyError] = SessionNotFound
) -> LatchkeyError:
    """What to raise where a statement found nothing on behalf of somebody."""
    if past_dead_connections(lambda: visitors.is_barred(database, who)):
        return DeviceBarred()
    return missing()


def nothing_of(database: Database, who: Who) -> None:
    """Where a list on behalf of somebody came out empty: that is all right, unless they may ask for nothing at all."""
    if past_dead_connections(lambda: visitors.is_barred(database, who)):
        raise DeviceBarred
