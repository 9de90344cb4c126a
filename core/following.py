"""Following: how a turn stands for somebody who reads along, from the rows and from what is being said at this moment."""

import json

from core.access import Caller
from core.content import Blocks
from core.ids import TurnId
from core.partials import Partial, Partials
from core.position import Position
from core.store import following
from core.store.database import Database
from core.store.following import Followed, FollowedMessage
from core.telling import Message, Standing
from core.tries import past_dead_connections
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    followed: Followed
    standing: Standing
    # It is being said in this process, which tells of it by itself.
    is_here: bool

    @property
    def is_open_and_free(self) -> bool:
        """It could go on, and nobody works on it."""
        return self.followed.is_free and not self.followed.has_ended and self.followed.status != "waiting"


@dataclass(frozen=True, slots=True)
class Following:
    database: Database
    partials: Partials

    def look(self, caller: Caller, turn_id: TurnId, position: Position) -> Look | None:
        """The caller names the conversation. None: the turn is not there for them, or not any more."""
        followed = past_dead_connections(lambda: following.look(self.database, caller, turn_id, position.seq))
        if followed is None:
            return None
        here = self._here(followed)
        return _look(followed, here or self._elsewhere(followed), is_here=here is not None)

    def again(self, look: Look) -> Look | None:
        """The same with what was said since in this process. None: something else has changed, so one has to look."""
        here = self._here(look.followed)
        return None if here is None else _look(look.followed, here, is_here=True)

    def follow(self, look: Look) -> None:
        """From now on what is said is carried to where this reader can find it."""
        followed = look.followed
        if not followed.is_followed and not followed.has_ended:
            past_dead_connections(
                lambda: following.follow(self.database, followed.session_id, followed.turn_id)
            )

    def _here(self, followed: Followed) -> Partial | None:
        here = self.partials.heard(followed.session_id)
        return here if here is not None and _fits(followed, here) else None

    def _elsewhere(self, followed: Followed) -> Partial | None:
        if followed.status != "running" or followed.is_free or not followed.is_followed:
            return None
        said = self.partials.look(followed.session_id, followed.partial)
        return max((p for p in said if _fits(followed, p)), key=lambda p: p.count, default=None)


def _fits(followed: Followed, partial: Partial) -> bool:
    """It is said by whoever holds the conversation, and is the message that comes next. All else is of the past."""
    return (
        not followed.has_ended
        and not followed.is_cut
        and (partial.epoch, partial.turn_id, partial.seq)
        == (followed.epoch, followed.turn_id, followed.message_seq + 1)
    )


def _look(followed: Followed, partial: Partial | None, *, is_here: bool) -> Look:
    messages = [_stored(followed, message) for message in followed.messages]
    if partial is not None:
        messages.append(Message(partial.seq, partial.agent, partial.blocks, is_stored=False))
    standing = Standing(
        followed.turn_id,
        followed.session_id,
        followed.seq,
        followed.status,
        followed.has_begun,
        followed.has_ended,
        followed.last_seq,
        tuple(messages),
        followed.is_cut,
    )
    return Look(followed, standing, is_here)


def _stored(followed: Followed, message: FollowedMessage) -> Message:
    content: Blocks = json.loads(message.content)
    calls = tuple(call for call in followed.calls if call.message_seq == message.seq)
    ids = {call.id for call in calls}
    return Message(
        message.seq,
        message.agent,
        tuple((place, block["text"]) for place, block in enumerate(content) if block.get("type") == "text"),
        is_stored=True,
        calls=calls,
        approvals=tuple(approval for approval in followed.approvals if approval.tool_call_id in ids),
    )
