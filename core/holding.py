"""Holding: one function's hold on one turn. What it knows of it, and the commits that move it on.

Every commit goes out under the hold's epoch. A commit that matches nothing is looked into: our own first try may have
been committed unseen, or something may have arrived that has to be seen first; otherwise the hold is lost, and whoever
lost it stops at once and writes nothing more.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar
from uuid import uuid4

from core.compaction import Window
from core.content import Blocks, Compaction, Message, dump, sendable
from core.conversation import Conversation
from core.deadline import Deadline
from core.errors import DatabaseUnavailable
from core.lease import Lease
from core.model.reply import ModelReply
from core.run import NEW, Run, finished
from core.stopwatch import COMMITS, FINISH, Stopwatch
from core.store import compactions, ends, spending, steps
from core.store.database import Database, TakenBack
from core.store.ends import Closing, Ended
from core.store.fence import Reply
from core.store.holds import Grant, Hold, OpenCall, Remembered
from core.store.locks import Relock
from core.store.spending import Total
from core.store.steps import Asked, Consequences, Seen, Stepped
from core.store.used import Amount, Used
from core.tally import Tally
from core.values import dataclass

_log = logging.getLogger(__name__)

T = TypeVar("T")

_LONGEST_PAUSE_S = 0.5


class HoldLost(Exception):
    """Another function holds the conversation, or the turn is over: nothing more is to be written."""


@dataclass(frozen=True, slots=True)
class Said:
    """A reply, and behind which prefix it was made."""

    reply: ModelReply
    agent: str
    prefix_digest: str


class Holding:
    def __init__(
        self,
        database: Database,
        grant: Grant,
        lease: Lease,
        conversation: Conversation,
        *,
        approval_ttl_s: int,
        outcome_ttl_s: int,
        charges: bool = False,
        storage: Any = None,
        history: str = NEW,
    ) -> None:
        self._database = database
        # Where its tools keep application sessions.
        self.storage = storage
        self._approval_ttl_s = approval_ttl_s
        self._outcome_ttl_s = outcome_ttl_s
        self.grant = grant
        self.hold: Hold = grant.hold
        self.lease = lease
        self.conversation = conversation
        self.tally = Tally(grant.turn_usage, grant.session_usage, charges=charges)
        # Who holds the conversation; None: nobody, so the manager answers.
        self.active_agent = grant.active_agent
        self.said_by = grant.said_by
        self.stop = grant.stop
        self.input = grant.input
        self.calls: dict[str, OpenCall] = {call.id: call for call in grant.calls}
        # The calls that nobody but this holder can have begun.
        self.fresh: set[str] = set()
        # What its calls came to, as the client is told; complete if this holder saw the whole turn.
        self.log: list[dict[str, Any]] = []
        self.saw_all = grant.hold.message_seq == grant.first_seq
        # Nothing of what it knows was taken back.
        self.is_current = True
        self.has_ended = False
        # What is told of the work on it: where the time went, what became of it, and who did it.
        self.watch = Stopwatch()
        self.run = Run(grant.turn_usage.get("run") or {}, grant.hold.epoch, history, self.watch)
        self.became = "broken_off"
        self.code: str | None = None
        self.worked_by: str | None = None
        # Somebody reads along while it is answered.
        self.is_followed = grant.is_followed
        # Nothing more is folded until more was said than this; and below what, if the model said that it is too long.
        self.folded_at = 0
        self.window: Window | None = None

    # ---- while an outside call runs

    def beat(self) -> None:
        """Renews the lease and hears what has arrived. A database that is away costs nothing while the lease is trusted."""
        renewed = self.lease.again()
        try:
            heard = steps.renew(self._in_time(), self.hold, lease_ttl_s=self.lease.ttl_s)
        except DatabaseUnavailable:
            if not self.lease.is_trusted:
                raise HoldLost from None
            return
        if heard is None:
            raise HoldLost
        self.lease = renewed
        self.is_followed = heard.is_followed
        if heard.signal_seq > self.hold.signal_seq:
            self._look()

    # ---- steps

    def reserve(self, amount: Amount) -> list[Total]:
        """Sets aside what the next call may cost; tells what is spent and set aside of the day with it."""
        used, attempt = self._used(), uuid4()
        totals = self._insist(
            lambda: spending.reserve(
                self._in_time(), self.hold, amount, used, attempt, lease_ttl_s=self.lease.ttl_s
            )
        )
        if totals is None:
            raise HoldLost
        self.tally.charged()
        return totals

    def append_reply(self, said: Said, calls: Sequence[Asked]) -> None:
        reply = self._reply(said)
        stepped = self._insist(
            lambda: steps.append_reply(
                self._in_time(),
                self.hold,
                reply,
                calls,
                lease_ttl_s=self.lease.ttl_s,
                approval_ttl_s=self._approval_ttl_s,
            )
        )
        self.tally.charged()
        self._moved_on(stepped, self._message("assistant", said.reply.content, said))
        self.calls = {
            call.id: OpenCall(
                call.id, call.name, call.effect, "asked" if call.approval_id else "started", None
            )
            for call in calls
        }
        self.said_by = said.agent
        self.fresh = {call.id for call in calls if call.approval_id is None}
        self.saw_all = self.saw_all and len(self.fresh) == len(calls)

    def append_results(
        self, blocks: Blocks, settled: dict[str, str], consequences: Consequences | None = None
    ) -> None:
        follows = consequences or Consequences()
        content, usage = dump(blocks), dump(self.tally.session)
        stepped = self._insist(
            lambda: steps.append_results(
                self._in_time(),
                self.hold,
                content,
                settled,
                follows,
                session_usage=usage,
                lease_ttl_s=self.lease.ttl_s,
                outcome_ttl_s=self._outcome_ttl_s,
            )
        )
        self._moved_on(stepped, self._message("user", blocks))
        if follows.relock is not None:
            self.active_agent = follows.relock.agent
        # What a person is asked of them is in the rows alone.
        self.saw_all = self.saw_all and "unknown" not in settled.values()
        # As a look at the stored turn tells them.
        for call in sorted(self.calls.values(), key=lambda call: call.id):
            shown = {"id": call.id, "name": call.name, "effect": call.effect, "status": settled[call.id]}
            self.log.append(shown)
        self.calls, self.fresh = {}, set()

    def relock(self, change: Relock) -> None:
        if not self._insist(
            lambda: steps.relock(self._in_time(), self.hold, change, lease_ttl_s=self.lease.ttl_s)
        ):
            # Our own first try was committed, or it was given to another, who has it from the next message on.
            self._look()
        self.active_agent = change.agent

    def compact(self, place: int, content: Blocks, agent: str, usage: dict[str, Any]) -> None:
        """What is before this place of the conversation is told by these blocks from now on."""
        compaction = Compaction(self.conversation.messages[place - 1].seq, dump(content))
        used = self._used()
        laid = self._insist(
            lambda: compactions.add(
                self._in_time(),
                self.hold,
                compaction,
                rewrites=self.grant.rewrites,
                agent=agent,
                lease_ttl_s=self.lease.ttl_s,
                usage=dump(usage),
                used=used,
            )
        )
        if not laid:
            # If the conversation is still ours, it was our own first try that was committed.
            self._look()
        self.tally.charged()
        self.grant = replace(self.grant, rewrites=self.grant.rewrites + 1)
        self.conversation = self.conversation.since(place, compaction)

    def todos(self) -> list[tuple[str, str]]:
        return self._insist(lambda: compactions.todos(self._in_time(), self.hold.session_id), renews=False)

    def absorb(self) -> None:
        """What was steered into the turn becomes a message of it. If more has arrived meanwhile, that is seen first."""
        content = self.input
        assert content is not None
        stepped = self._insist(
            lambda: steps.absorb(self._in_time(), self.hold, content, lease_ttl_s=self.lease.ttl_s)
        )
        message = Message.from_client(self.hold.message_seq + 1, content)
        if stepped is not None:
            self.input = None
        else:
            seen = self._look()
            if seen.message_seq == self.hold.message_seq:
                return
            if seen.message_seq != message.seq:
                raise HoldLost
        self._add(message)

    def start(self, ids: Sequence[str]) -> None:
        if not self._insist(
            lambda: steps.start_calls(self._in_time(), self.hold, ids, lease_ttl_s=self.lease.ttl_s)
        ):
            raise HoldLost
        self.fresh |= set(ids)

    def keep(self, call_id: str, status: str, block: dict[str, Any]) -> None:
        """A result that cannot be part of a message yet, because other calls of the same message are still open."""
        result = dump(block)
        kept = self._insist(
            lambda: steps.keep_result(
                self._in_time(),
                self.hold,
                call_id,
                status=status,
                result=result,
                lease_ttl_s=self.lease.ttl_s,
            )
        )
        if not kept:
            raise HoldLost
        self.calls[call_id] = replace(self.calls[call_id], status=status, result=result)

    # ---- ends

    @property
    def is_called(self) -> bool:
        """Something has arrived, was seen, and is not yet acted on."""
        return self.stop is not None or self.input is not None

    def finish(self, said: Said) -> Ended | None:
        """None: something has arrived that comes first."""
        if self.is_called:
            return None
        reply = self._reply(said, ends=True)
        ended = self._ended(lambda: ends.finish(self._in_time(), self.hold, reply))
        if ended is not None:
            self.became = "completed"
            self.tally.charged()
            self._add(self._message("assistant", said.reply.content, said))
        return ended

    def close(self, closing: Closing) -> Ended | None:
        """None: something has arrived that comes first."""
        if closing.status == "completed" and self.is_called:
            return None
        used = self._used(ends=True)
        ended = self._ended(
            lambda: ends.close(
                self._in_time(), self.hold, closing, used=used, outcome_ttl_s=self._outcome_ttl_s
            )
        )
        self.is_current = closing.left_out_from is None
        if ended is not None:
            self.became, self.code = closing.status, (closing.error or {}).get("code")
        return ended

    def hand_over(self, *, waits: bool = False, not_run: Sequence[str] = ()) -> bool:
        """False: something has arrived that has to be seen first."""
        used = self._used(ends=True)
        let_go = self._insist(
            lambda: ends.hand_over(self._in_time(), self.hold, waits=waits, not_run=not_run, used=used),
            purpose=FINISH,
        )
        seen = None if let_go else steps.look(self._in_time(), self.hold)
        if let_go or (seen is not None and seen.epoch == self.hold.epoch and not seen.is_held):
            self.became = "waiting" if waits else "handed_over"
            return True
        self._see(seen)
        return False

    def give_up(self) -> None:
        """Lets go as a crash would, but at once."""
        try:
            ends.give_up(self._in_time(), self.hold)
        except DatabaseUnavailable:
            _log.warning("turn %s: could not let go; its lease will run out", self.hold.turn_id)

    def connection(self, deadline: Deadline) -> AbstractContextManager[Any]:
        """For a tool: a connection of its own, beside those that the turn's commits need."""
        return self._database.connection(deadline)

    def remembered(self) -> Remembered:
        return Remembered(self.hold.session_id, self.grant.rewrites, self.hold.message_seq)

    # ---- how a commit is made sure of

    def _insist(self, write: Callable[[], T], *, renews: bool = True, purpose: str = COMMITS) -> T:
        """A write whose connection died may or may not have been committed. Each of ours can be sent twice and counts once,
        so it is sent until it is answered, for as long as the lease is trusted; so is one that was taken back for another.
        One that matched nothing renewed nothing.
        """
        with self.watch.on(purpose):
            done = self._until_answered(write, renews=renews)
        if purpose == FINISH and done:
            finished(self.watch.spent_s[FINISH])
        return done

    def _until_answered(self, write: Callable[[], T], *, renews: bool) -> T:
        pause_s = 0.0
        while True:
            renewed = self.lease.again()
            try:
                done = write()
            except (DatabaseUnavailable, TakenBack):
                if not self.lease.is_trusted:
                    raise
                time.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - spreads out those who try again
                pause_s = min(2 * pause_s + 0.05, _LONGEST_PAUSE_S)
                continue
            if renews and done:
                self.lease = renewed
            return done

    def _moved_on(self, stepped: Stepped | None, message: Message) -> None:
        if stepped is None and self._look().message_seq != self.hold.message_seq + 1:
            raise HoldLost
        if stepped is not None and stepped.signal_seq > self.hold.signal_seq:
            self._look()
        self._add(message)

    def _add(self, message: Message) -> None:
        self.hold = replace(self.hold, message_seq=self.hold.message_seq + 1)
        self.conversation.add(message)

    def _ended(self, write: Callable[[], Ended | None]) -> Ended | None:
        ended = self._insist(write, purpose=FINISH)
        if ended is None and self._look().message_seq != self.hold.message_seq:
            raise HoldLost
        self.has_ended = ended is not None
        return ended

    def _look(self) -> Seen:
        return self._see(self._insist(lambda: steps.look(self._in_time(), self.hold), renews=False))

    def _see(self, seen: Seen | None) -> Seen:
        if seen is None or seen.epoch != self.hold.epoch or not seen.is_held:
            raise HoldLost
        self.hold = replace(self.hold, signal_seq=seen.signal_seq)
        self.stop, self.input = seen.stop, seen.input
        return seen

    def _in_time(self) -> Database:
        return self._database.by(self.lease.trusted_until)

    def _message(self, role: str, content: Blocks, said: Said | None = None) -> Message:
        seq, content = self.hold.message_seq + 1, sendable(content)
        if said is None:
            return Message(seq, role, content)
        return Message(seq, role, content, said.prefix_digest, said.reply.stop_reason)

    def _used(self, *, ends: bool = False) -> Used:
        return self.tally.used(self.run.so_far(ends=ends))

    def _reply(self, said: Said, *, ends: bool = False) -> Reply:
        return Reply(
            agent=said.agent,
            content=dump(said.reply.content),
            prefix_digest=said.prefix_digest,
            stop_reason=said.reply.stop_reason,
            usage=dump(said.reply.usage),
            used=self._used(ends=ends),
        )
