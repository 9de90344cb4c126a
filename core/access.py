"""Access: who asks, what they are in a conversation, and what that is enough for.

    viewer    reads along: the conversation, its messages, todos and turns, and streams of them
    editor    also speaks, stops, decides what editors may decide, changes lock and metadata, reads the audit, forks, rewinds
    owner     also ends, merges, exports, lets others in and puts them out

An organisation is a boundary above that: a conversation of one is reached by its own people alone, whatever they were given.
What somebody may not reach is not there for them: 404, with the same body and after the same work.
"""

from dataclasses import replace
from enum import StrEnum
from typing import Any

from core.ids import DeviceId, SessionId
from core.values import dataclass


class Role(StrEnum):
    """From the least to the most: whoever is more may do whatever those who are less may."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OWNER = "owner"

    def suffices_for(self, needed: "Role") -> bool:
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as it is known without a database, and which conversation they mean."""

    device_id: DeviceId
    # What the device's token says of itself; it is compared with the row. None: no token is asked for.
    token_version: int | None = None
    # Whom a user's token names: issuer and name. None: whoever the device belongs to.
    subject: str | None = None
    # The digest of a share link's secret.
    link: str | None = None
    # None: the one that the device is in.
    session_id: SessionId | None = None

    def about(self, session_id: SessionId | None) -> "Caller":
        return replace(self, session_id=session_id)

    def named(self) -> dict[str, Any]:
        """As statements are given it."""
        return {field: getattr(self, field) for field in Caller.__slots__}


# A device alone: whoever asks for it has been let in already, as code of the service itself is.
Who = DeviceId | Caller


def caller(who: Who) -> Caller:
    return who if isinstance(who, Caller) else Caller(who)


def named(who: Who) -> dict[str, Any]:
    return caller(who).named()
