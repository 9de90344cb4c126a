"""The kinds of ID, so that a device's can never be passed where a session's belongs."""

from typing import Final, NewType
from uuid import UUID, uuid4

DeviceId = NewType("DeviceId", UUID)
UserId = NewType("UserId", UUID)
SessionId = NewType("SessionId", UUID)
TurnId = NewType("TurnId", UUID)

# Stands where a person's ID was, or would be, of whom nothing is known here. No user has it.
SOMEBODY: Final = UserId(UUID(int=1))


def new_user_id() -> UserId:
    return UserId(uuid4())


def new_session_id() -> SessionId:
    return SessionId(uuid4())


def new_turn_id() -> TurnId:
    return TurnId(uuid4())
