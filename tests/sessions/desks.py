"""What the contract is tried on: a desk and its tickets."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from core.errors import NoSuchSession
from core.ids import SessionId, UserId
from core.sessions.manager import SessionManager
from core.sessions.session import Session
from tests.sessions.rigs import Rig

TTL_S = 1000
# What a read may find already passed of the time and not extend.
SLACK_S = 60


@dataclass
class Desk:
    tickets: int = 0
    seen: list[str] = field(default_factory=list)
    at: datetime | None = None


def opened(session: Session[Desk]) -> Session[Desk]:
    return session.with_state(replace(session.state, tickets=session.state.tickets + 1))


def user() -> UserId:
    return UserId(uuid4())


def manager(rig: Rig, **given: Any) -> SessionManager[Desk]:
    return SessionManager(Desk, rig.another(), **{"namespace": "desk", "default_ttl_s": TTL_S, **given})


class OnDesks:
    @pytest.fixture
    def desks(self, rig: Rig) -> SessionManager[Desk]:
        return manager(rig)


def assert_gone(desks: SessionManager[Desk], session: Session[Desk]) -> None:
    one: SessionId = session.id
    assert desks.get(one) is None
    assert not desks.exists(one)
    assert desks.get_ttl(one) is None
    assert not desks.set_ttl(one, 60)
    with pytest.raises(NoSuchSession):
        desks.update(one, opened)
