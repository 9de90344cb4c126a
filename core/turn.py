"""The story of one turn. Read this file first.

A function that has never seen the device, and may be frozen or killed at any moment, answers one message:

    claim     one statement: who is it, is the message new, may we; its history
    choose    the agent that holds the conversation, else the manager
    resume    the last stored message says what is next
    ask       the model, holding nothing: no transaction, no connection
    finish    one statement: reply, usage, status and release, all or nothing
    reply     what was stored, never what was not

What can go wrong at each step, and why it does not matter: before the claim nothing is written. After it the message is
stored, so whoever comes next finds it and goes on: a retry with the same key takes the same turn up again once the lease
of the dead function is over. The model's reply exists for others only once `finish` has committed it, under an epoch
that nobody else had meanwhile.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from typing import Any

from core.agents.agent import Agent
from core.agents.roster import Roster
from core.content import Blocks, dump, says_something, text_of
from core.deadline import Deadline
from core.errors import (
    DatabaseConflict,
    IdempotencyKeyReused,
    ModelFailed,
    ModelRefused,
    ModelSaidNothing,
    ModelStoppedUnexpectedly,
    SessionBusy,
    TurnNotFound,
)
from core.ids import DeviceId, SessionId, TurnId
from core.lease import Lease
from core.model.prompt import Prompt
from core.model.reply import Model, ModelReply, added, tokens
from core.store import claims, turns
from core.store.claims import Arrival, Claim, Grant, Outcome
from core.store.database import ConnectionDied, Database
from core.store.turns import Ended, StoredTurn

_log = logging.getLogger(__name__)

_CLAIM_TRIES = 4
# A reply that ended in one of these ways can be stored and shown as it is.
_WHOLE = ("end_turn", "stop_sequence", "max_tokens", "model_context_window_exceeded")
_ABANDONED = {
    "code": "turn_abandoned",
    "detail": "The function that was answering this message stopped, and the next message came before a retry did.",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as its client sees it."""

    id: TurnId
    session_id: SessionId
    seq: int
    status: str
    agent: str | None
    content: Blocks
    usage: dict[str, Any]
    error: dict[str, str] | None
    created_at: datetime
    ended_at: datetime | None

    @property
    def is_over(self) -> bool:
        return self.ended_at is not None

    @property
    def reply(self) -> str | None:
        return text_of(self.content) if self.status == "completed" else None


@dataclass(frozen=True, slots=True)
class Turns:
    """Answers messages. Built once a process; it remembers nothing between two of them."""

    database: Database
    model: Model
    roster: Roster
    default_model: str
    lease_ttl_s: int
    lease_margin_s: int
    session_ttl_s: int

    def answer(self, arrival: Arrival, deadline: Deadline) -> Turn:
        self.model.warm()
        claim, lease = self._claim(arrival)
        if claim.grant is None or lease is None:
            return self._seen_before(arrival, claim)
        grant = claim.grant
        agent = self.roster.owner(grant.active_agent)
        try:
            reply = self._ask(agent, grant, deadline.earlier(lease.trusted_until))
        except ModelFailed as failure:
            return self._fail(arrival, grant, agent, failure)
        return self._finish(arrival, grant, agent, reply)

    def find(self, device_id: DeviceId, turn_id: TurnId) -> Turn:
        stored = turns.find(self.database, device_id, turn_id)
        if stored is None:
            raise TurnNotFound
        return _shown(stored)

    # ---- claim

    def _claim(self, arrival: Arrival) -> tuple[Claim, Lease | None]:
        """The claim, tried again where trying again is free: the connection died, or another did the same at once."""
        for attempt in range(1, _CLAIM_TRIES + 1):
            # Trust is counted from before the claim is sent: a slow claim shortens it.
            trusted_until = Deadline.after(self.lease_ttl_s - self.lease_margin_s)
            try:
                claim = self._claim_once(arrival)
            except (ConnectionDied, DatabaseConflict):
                if attempt == _CLAIM_TRIES:
                    raise
                continue
            if claim.outcome is Outcome.AGAIN:
                continue
            if claim.grant is None:
                return claim, None
            return claim, Lease(claim.grant.session_id, claim.grant.epoch, trusted_until)
        raise DatabaseConflict

    def _claim_once(self, arrival: Arrival) -> Claim:
        claim = claims.claim(
            self.database,
            arrival,
            lease_ttl_s=self.lease_ttl_s,
            session_ttl_s=self.session_ttl_s,
            abandoned=_ABANDONED,
        )
        if claim.grant is None or not claim.grant.stale:
            return claim
        return self._read_again(claim, claim.grant)

    def _read_again(self, claim: Claim, grant: Grant) -> Claim:
        """The claim waited for another's commit and read what was there before it. Now the conversation is ours."""
        current = claims.reload(self.database, grant.session_id, grant.turn_id)
        if current.still_running:
            return replace(claim, grant=replace(grant, history=current.history, stale=False))
        turns.release(self.database, grant)
        return replace(claim, outcome=Outcome.SEEN, grant=None)

    def _seen_before(self, arrival: Arrival, claim: Claim) -> Turn:
        if claim.outcome is Outcome.REUSED:
            raise IdempotencyKeyReused
        if claim.outcome is Outcome.BUSY:
            raise SessionBusy(
                "Another message of this conversation is being answered. Nothing was stored: send this one again in a "
                f"moment. Should its function have died, the conversation is free in {ceil(claim.busy_for_s)} s."
            )
        return self.find(arrival.device_id, claim.turn_id)

    # ---- ask

    def _ask(self, agent: Agent, grant: Grant, deadline: Deadline) -> ModelReply:
        reply = self.model.reply(self._prompt(agent, grant), deadline)
        if reply.stop_reason == "refusal":
            raise ModelRefused
        if reply.stop_reason not in _WHOLE:
            raise ModelStoppedUnexpectedly(
                f"The model stopped with {reply.stop_reason!r}, which {agent.key} cannot take up."
            )
        if not any(map(says_something, reply.content)):
            raise ModelSaidNothing
        return reply

    def _prompt(self, agent: Agent, grant: Grant) -> Prompt:
        return Prompt(
            model=self.default_model,
            system=agent.prompt,
            max_tokens=agent.max_tokens,
            thinking=agent.thinking,
            conversation=grant.history,
        )

    # ---- finish

    def _finish(self, arrival: Arrival, grant: Grant, agent: Agent, reply: ModelReply) -> Turn:
        usage = tokens(reply.usage)
        stored = turns.Reply(
            agent=agent.key,
            content=dump(reply.content),
            prefix_digest=self._prompt(agent, grant).prefix_digest(),
            stop_reason=reply.stop_reason,
            usage=dump(reply.usage),
        )
        session_usage = added(grant.session_usage, usage)
        ended = _sent_again_if_cut(
            lambda: turns.finish(self.database, grant, stored, turn_usage=usage, session_usage=session_usage)
        )
        if ended is None:
            return self._as_it_stands(arrival, grant)
        return _turn(grant, agent, "completed", ended, content=reply.content, usage=usage)

    def _fail(self, arrival: Arrival, grant: Grant, agent: Agent, failure: ModelFailed) -> Turn:
        error = {"code": failure.code, "detail": failure.detail}
        ended = _sent_again_if_cut(lambda: turns.fail(self.database, grant, agent=agent.key, error=error))
        if ended is None:
            return self._as_it_stands(arrival, grant)
        return _turn(grant, agent, "failed", ended, error=error)

    def _as_it_stands(self, arrival: Arrival, grant: Grant) -> Turn:
        """Our write matched nothing: another holder has the turn, or our own first try was committed unseen."""
        _log.warning("turn %s: epoch %d wrote nothing more", grant.turn_id, grant.epoch)
        return self.find(arrival.device_id, grant.turn_id)


def _sent_again_if_cut(write: Callable[[], Ended | None]) -> Ended | None:
    """A write whose connection died may or may not have been committed. Each of ours can be sent twice and counts once."""
    try:
        return write()
    except ConnectionDied:
        return write()


def _turn(
    grant: Grant,
    agent: Agent,
    status: str,
    ended: Ended,
    *,
    content: Blocks | None = None,
    usage: dict[str, Any] | None = None,
    error: dict[str, str] | None = None,
) -> Turn:
    return Turn(
        id=grant.turn_id,
        session_id=grant.session_id,
        seq=grant.turn_seq,
        status=status,
        agent=agent.key,
        content=content or [],
        usage=usage or tokens({}),
        error=error,
        created_at=grant.turn_created_at,
        ended_at=ended.ended_at,
    )


def _shown(stored: StoredTurn) -> Turn:
    return Turn(
        id=stored.id,
        session_id=stored.session_id,
        seq=stored.seq,
        status=stored.status,
        agent=stored.agent,
        content=json.loads(stored.content) if stored.content else [],
        usage=tokens(stored.usage or {}),
        error=stored.error,
        created_at=stored.created_at,
        ended_at=stored.ended_at,
    )
