"""Operating: what operators do to one conversation. Each may be sent again, and says what it found.

What can go wrong, and why it cannot: the conversation has moved on since the operator looked, for its owner, a holder, the sweep or
another operator was quicker.

* *Its lock is cleared while a turn runs.* That turn is answered by whoever began with it. If it hands over afterwards, that holds; if it
  did before, that lock is cleared. The audit tells both in their order.
* *It is cancelled while it finishes.* The stop counts as a signal: a turn that has not ended when it comes does not end without having
  seen it; one that has ended stays what it is.
* *It is woken while the sweep wakes it, or somebody works on it.* A wake-up is a word: one of those who come is granted the lease.
* *It is ended while a turn runs.* The row goes, and with it the epoch that all writes of the holder name: nothing more is written.
"""

import logging
from datetime import datetime
from enum import StrEnum

from core.about import learn, short
from core.answering import Turns
from core.deadline import Deadline
from core.digest import digest
from core.errors import QueueUnavailable, SessionNotFound, TurnNotFound
from core.ids import SessionId, TurnId
from core.reception import CANCELLED
from core.recovery import Alone
from core.sessions.current import CurrentSessions, Told
from core.store import operators
from core.store.database import Database
from core.store.endings import EndedSession
from core.store.operators import OpenTurn, Standing
from core.tries import again_and_again, past_dead_connections
from core.values import dataclass

_log = logging.getLogger(__name__)

# How long a change is tried that others are quicker than.
_PATIENCE_S = 5.0
_NO_SUCH = "There is no conversation of this ID; perhaps it has ended and was cleaned up."
_MERGED = "This conversation became a part of another one (`merged_into`): that one is to be acted on."
_NO_SUCH_TURN = "This conversation has no turn with this ID."


class Outcome(StrEnum):
    CLEARED = "cleared"
    NOTHING_TO_CLEAR = "nothing_to_clear"
    CANCELLED = "cancelled"
    STOPPING = "stopping"
    NOTHING_TO_CANCEL = "nothing_to_cancel"
    WOKEN = "woken"
    IS_HELD = "is_held"
    NOTHING_TO_RECOVER = "nothing_to_recover"


@dataclass(frozen=True, slots=True)
class Done:
    outcome: Outcome
    # How many turns were ended by it, or told to stop.
    turns: int = 0
    # Until when a function holds the conversation, where that is why nothing was done.
    held_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Operating:
    """`operator`: as which person; None: as whoever has the operators' token."""

    database: Database
    turns: Turns
    current: CurrentSessions

    def clear_lock(self, session_id: SessionId, operator: str | None) -> Done:
        """From the next message on the manager answers."""
        self._standing(session_id)
        cleared = again_and_again(
            Deadline.after(_PATIENCE_S),
            lambda: [operators.clear_lock(self.database, session_id, operator)],
        )[0]
        if cleared is None:
            raise SessionNotFound(_NO_SUCH)
        stored, was_held = cleared
        self.current.changed_for_others(Told(session_id, stored.version), stored.epoch)
        return Done(Outcome.CLEARED if was_held else Outcome.NOTHING_TO_CLEAR)

    def cancel(self, session_id: SessionId, turn_id: TurnId | None, operator: str | None) -> Done:
        """One turn, or all that have not ended: those that have not begun are over with it, one that has stops at its next safe point."""

        def attempt() -> tuple[Standing, list[OpenTurn]] | None:
            standing = self._standing(session_id, turn_id)
            meant = [turn for turn in standing.turns if turn_id is None or turn.id == standing.meant]
            new = [turn.id for turn in meant if turn.stop is None]
            if new and not operators.stop(
                self.database, session_id, standing.version, new, operator, error=CANCELLED
            ):
                return None
            return standing, meant

        standing, meant = again_and_again(Deadline.after(_PATIENCE_S), attempt)
        new = sum(turn.stop is None for turn in meant)
        self.current.changed_for_others(Told(session_id, standing.version + bool(new)), standing.epoch)
        if not meant:
            return Done(Outcome.NOTHING_TO_CANCEL)
        begun = next((turn.id for turn in meant if turn.is_begun), None)
        self.turns.see_to(session_id, None if standing.held_until else begun)
        return Done(self._stopped(session_id, {turn.id for turn in meant}), new)

    def recover(self, session_id: SessionId, operator: str | None) -> Done:
        """Somebody goes on with it now, if its next turn could go on and nobody has it."""
        standing = self._standing(session_id)
        if not standing.turns or standing.turns[0].status == "waiting":
            return Done(Outcome.NOTHING_TO_RECOVER)
        if standing.held_until is not None:
            return Done(Outcome.IS_HELD, held_until=standing.held_until)
        # Where nobody can be woken it is gone on with here.
        alone = Alone(self.turns.work, Deadline.after(self.turns.limits.turn_budget_s))
        if not (self.turns.wakeups or alone).recover(session_id, standing.epoch):
            raise QueueUnavailable
        turn = standing.turns[0].id
        past_dead_connections(lambda: operators.note_woken(self.database, session_id, turn, operator))
        return Done(Outcome.WOKEN)

    def end(self, session_id: SessionId, operator: str | None) -> None:
        """It goes with all that was said in it, its audit too; so a line in the log says who ended it."""
        known = self._standing(session_id)
        ended = again_and_again(
            Deadline.after(_PATIENCE_S), lambda: [operators.end(self.database, session_id)]
        )[0]
        if ended is None:
            # One that has become a part of another since is not ended by this.
            self._is_gone(session_id)
        # It was there a moment ago: by whomever it was ended since, perhaps by an attempt whose reply was lost, nobody is shown it any more.
        self.current.ended_by_others(ended or EndedSession(session_id, known.epoch, known.version, ()))
        learn(session=short(session_id))
        who = "the operators' token" if operator is None else f"person {digest(operator)[:12]}"
        _log.info("a conversation was ended by an operator: %s", who)

    def _standing(self, session_id: SessionId, turn_id: TurnId | None = None) -> Standing:
        standing = past_dead_connections(lambda: operators.standing(self.database, session_id, turn_id))
        if standing is None:
            raise SessionNotFound(_NO_SUCH)
        if standing.merged_into is not None:
            raise SessionNotFound(_MERGED)
        if turn_id is not None and standing.meant is None:
            raise TurnNotFound(_NO_SUCH_TURN)
        return standing

    def _is_gone(self, session_id: SessionId) -> None:
        standing = past_dead_connections(lambda: operators.standing(self.database, session_id))
        if standing is not None and standing.merged_into is not None:
            raise SessionNotFound(_MERGED)

    def _stopped(self, session_id: SessionId, meant: set[TurnId]) -> Outcome:
        standing = past_dead_connections(lambda: operators.standing(self.database, session_id))
        still = standing is not None and any(turn.id in meant for turn in standing.turns)
        return Outcome.STOPPING if still else Outcome.CANCELLED
