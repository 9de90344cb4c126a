"""What becomes of a message that comes while its conversation is busy: the client chooses."""

from collections.abc import Sequence
from enum import StrEnum

from core.store.admissions import Admission
from core.store.claims import OpenTurn


class OnBusy(StrEnum):
    REJECT = "reject"  # it is refused
    QUEUE = "queue"  # it is answered after those before it
    MERGE = "merge"  # it joins the message that waits last, and both are answered as one
    LATEST = "latest"  # it takes the place of all that wait
    INTERRUPT = "interrupt"  # the turn in progress stops at its next safe point, and keeps what it did
    ROLLBACK = "rollback"  # the same, and the model is no longer told of it
    STEER = "steer"  # it enters the turn in progress before the model is asked next


# A stronger wish to stop takes the place of a weaker one.
_STRENGTH = {None: 0, "cancel": 1, "interrupt": 2, "rollback": 3}


def admission(on_busy: OnBusy, turns: Sequence[OpenTurn]) -> Admission | None:
    """Of the open turns, oldest first, the first may have begun; the others wait. None: refused."""
    begun = turns[0] if turns and turns[0].begun else None
    waiting = [turn for turn in turns if not turn.begun]
    match on_busy:
        case OnBusy.REJECT:
            return None
        case OnBusy.MERGE if waiting:
            return Admission(joins=waiting[-1].id)
        case OnBusy.LATEST:
            return Admission(replaces=tuple(turn.id for turn in waiting))
        case OnBusy.INTERRUPT | OnBusy.ROLLBACK if begun and _STRENGTH[on_busy] > _STRENGTH[begun.stop]:
            return Admission(stops=begun.id, stop=on_busy)
        case OnBusy.STEER if begun and begun.stop is None:
            return Admission(joins=begun.id)
    return Admission()
