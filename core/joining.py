"""Joining: two conversations of one owner become one, and two again. What is in the way, and what is written if nothing is."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from core.access import Role, Who, caller
from core.branching import Keep, Plan, plan, renamed, undoing
from core.digest import digest
from core.entrance import enter
from core.errors import (
    FieldProblem,
    IfMatchMissing,
    InvalidRequest,
    NotAsSeen,
    NotMergeable,
    RoleTooSmall,
    SessionBusy,
    UndoOver,
)
from core.ids import SessionId
from core.store import merges, partings
from core.store.database import Database
from core.store.merges import Joined, Joining, Load, Side
from core.store.partings import Parting
from core.store.revisions import Revision
from core.store.visitors import Visit
from core.values import dataclass

BUSY: Final = (
    "A message of this conversation is being answered, or waits for its turn or for a person. Nothing was stored: wait until it is "
    "over, or cancel it."
)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a merge would come to."""

    target: Side
    source: Side
    load: Load
    plan: Plan

    @property
    def etag(self) -> str:
        """Of both, as they were read: a merge that names it is of just these."""
        read = [f"{side.id}.{side.version}" for side in (self.target, self.source)]
        return f'"{digest(" ".join(read))[:32]}"'


def preview(database: Database, who: Who, visit: Visit, source_id: SessionId, keep: Keep) -> Preview | None:
    """None: somebody was quicker."""
    if source_id == visit.session_id:
        raise InvalidRequest(errors=(FieldProblem("from", "must be another conversation"),))
    other = enter(database, caller(who).about(source_id), Role.OWNER)
    if not visit.user_id == visit.owner_id == other.owner_id:
        raise RoleTooSmall("Only two conversations of your own can be merged. Nothing was stored.")
    both = merges.sides(database, visit.session_id, source_id)
    if both is None or (both[0].version, both[1].version) != (visit.version, other.version):
        return None
    target, source = both
    if source.org_id not in (None, target.org_id):
        raise NotMergeable(
            "What was said in an organisation's conversation stays in that organisation. Nothing was stored."
        )
    return Preview(target, source, merges.load(database, target.id, source.id), plan(target, source, keep))


def join(
    database: Database,
    visit: Visit,
    shown: Preview,
    seen: Collection[str] | None,
    revision_id: UUID,
    undo_s: int,
) -> Joined | None:
    """`seen`: the `etag` that the owner was shown. None: somebody was quicker."""
    if seen is None:
        raise IfMatchMissing
    if not {"*", shown.etag}.intersection(seen):
        raise NotAsSeen("One of the two has changed since the preview. Nothing was stored: look at it again.")
    _must_be_quiet("conversation", shown.target)
    _must_be_quiet("one it is merged with (`from`)", shown.source)
    renames, messages = renamed(shown.load, revision_id)
    return merges.merge(
        database,
        Joining(
            id=revision_id,
            target=shown.target,
            source=shown.source,
            lock=shown.plan.lock,
            todos=shown.plan.todos,
            metadata=shown.plan.metadata,
            usage=shown.plan.usage,
            renames=renames,
            renamed=messages,
            undo_s=undo_s,
            by=visit.user_id,
        ),
    )


def part(database: Database, visit: Visit, revision: Revision, source_id: SessionId) -> Joined | None:
    """None: somebody was quicker."""
    both = merges.sides(database, visit.session_id, source_id)
    if both is None:
        raise UndoOver("The conversation that was merged into this one is gone. Nothing was stored.")
    target = both[0]
    if target.version != visit.version:
        return None
    if target.is_busy:
        raise SessionBusy(BUSY)
    back = undoing(target, revision.before, revision.after)
    return partings.part(
        database,
        Parting(
            revision_id=revision.id,
            target=target,
            source_id=source_id,
            lock=back.lock,
            todos=back.todos,
            metadata=back.metadata,
            usage=back.usage,
            left=back.left,
            by=visit.user_id,
        ),
    )


def _must_be_quiet(name: str, side: Side) -> None:
    if side.is_busy:
        raise SessionBusy(
            f"A message of the {name} is being answered, or waits. Nothing was stored: wait until it is over, or cancel it."
        )
    if side.has_questions:
        raise SessionBusy(
            f"Somebody is still asked something in the {name}: see GET /v1/approvals. Nothing was stored: decide it first."
        )
