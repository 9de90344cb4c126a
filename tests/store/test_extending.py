"""Whoever uses a conversation extends its time; whoever only reads of it, or ends a turn, mostly writes nothing for that."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from core.holding import Holding
from core.house import House, build_house
from core.ids import DeviceId, SessionId, TurnId
from core.settings import Settings
from core.store import (
    admissions,
    approvals,
    claims,
    ends,
    locks,
    outcomes,
    sessions,
)
from core.store.admissions import Admission
from core.store.claims import Outcome
from core.store.ends import Closing
from core.store.fence import Reply as StoredReply
from core.store.locks import LockTtl
from core.store.used import Used
from dev.demo_model import DemoModel
from tests.agents import Workshop
from tests.conversations import (
    answer,
    arrival,
    decide,
    held,
    join,
    outcome_asked,
    waiting,
)
from tests.databases import run

TTL = LockTtl(None, None, 60)
LAST = "SELECT last_active_at FROM conversation_states"
REPLY = StoredReply("manager", '[{"type":"text","text":"Hi"}]', "p", "end_turn", "{}", Used("{}", "{}"))


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()


def _version(url: str) -> tuple[SessionId, int]:
    ((session, version),) = run(url, "SELECT id, version FROM conversation_states")
    return SessionId(session), version


def _used_by_a_claim(house: House, url: str, model: DemoModel, device: UUID) -> None:
    arrived = arrival(device)
    given = {"lease_ttl_s": 30, "lock_ttl_s": 60, "idle_ttl_s": 60}
    assert claims.claim(house.database, arrived, **given).outcome is Outcome.GRANTED  # type: ignore[arg-type]


def _used_by_a_message(house: House, url: str, model: DemoModel, device: UUID) -> None:
    assert admissions.admit(
        house.database, *_version(url), arrival(device), Admission(), steers=False, replaced={}
    )


def _used_by_a_stop(house: House, url: str, model: DemoModel, device: UUID) -> None:
    _used_by_a_message(house, url, model, device)
    ((turn,),) = run(url, "SELECT id FROM turns WHERE ended_at IS NULL")
    _set_back(url)
    assert admissions.stop(house.database, *_version(url), TurnId(turn), error={})


def _used_by_a_decision(house: House, url: str, model: DemoModel, device: UUID) -> None:
    asked = waiting(house, model, device)
    _set_back(url)
    assert decide(house.database, asked, "denied")


def _used_by_an_outcome(house: House, url: str, model: DemoModel, device: UUID) -> None:
    outcome_asked(house, url, model, device)
    _set_back(url)
    (asked,) = approvals.pending(house.database, DeviceId(device))
    given = {"happened": True, "content": "[]", "by": uuid4()}
    assert outcomes.settle(house.database, *_version(url), asked.id, **given)  # type: ignore[arg-type]


def _used_by_a_lock(house: House, url: str, model: DemoModel, device: UUID) -> None:
    assert locks.set_lock(house.database, DeviceId(device), "manager", TTL, actor="me", reason=None)


def _used_by_no_lock(house: House, url: str, model: DemoModel, device: UUID) -> None:
    _used_by_a_lock(house, url, model, device)
    _set_back(url)
    assert locks.clear_lock(house.database, DeviceId(device), actor="me", reason=None)


def _used_by_a_look(house: House, url: str, model: DemoModel, device: UUID) -> None:
    found = sessions.look(house.database, DeviceId(device))
    assert found is not None
    assert found.last_active_at == found.read_at


def _working(house: House, url: str, device: UUID) -> Holding:
    holding = held(house, arrival(device))
    _set_back(url)
    return holding


def _used_by_an_answer(house: House, url: str, model: DemoModel, device: UUID) -> None:
    assert ends.finish(house.database, _working(house, url, device).hold, REPLY)


def _used_by_an_end(house: House, url: str, model: DemoModel, device: UUID) -> None:
    hold = _working(house, url, device).hold
    assert ends.close(house.database, hold, Closing("failed"), used=Used("{}", "{}"), outcome_ttl_s=60)


USES = [
    _used_by_a_claim,
    _used_by_a_message,
    _used_by_a_stop,
    _used_by_a_decision,
    _used_by_an_outcome,
    _used_by_a_lock,
    _used_by_no_lock,
    _used_by_a_look,
    _used_by_an_answer,
    _used_by_an_end,
]


def _set_back(url: str, s: float = 61) -> None:
    """By more than the slack."""
    run(url, "UPDATE conversation_states SET last_active_at = now() - make_interval(secs => %s)", s)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__.removeprefix("_used_by_"))
def test_whoever_uses_it_extends_its_time(
    house: House, model: DemoModel, database_url: str, device: UUID, use: Callable[..., None]
) -> None:
    answer(house, arrival(device))
    _set_back(database_url)
    use(house, database_url, model, device)
    ((last,),) = run(database_url, LAST)
    assert datetime.now(UTC) - last < timedelta(seconds=30)


@pytest.mark.parametrize(("ttl_s", "slack_s"), [(1_800, 60), (100, 10)])
def test_looks_and_ends_write_it_only_when_the_slack_has_passed(
    house: House, database_url: str, device: UUID, ttl_s: int, slack_s: int
) -> None:
    answer(house, arrival(device))
    run(database_url, "UPDATE conversation_states SET idle_ttl = %s", ttl_s)
    row = "SELECT xmin::text, last_active_at FROM conversation_states"
    for before_s, extended in ((slack_s - 5, False), (slack_s + 1, True)):
        _set_back(database_url, before_s)
        before = run(database_url, row)
        found = sessions.look(house.database, DeviceId(device))
        assert found is not None
        assert (run(database_url, row) == before) is not extended
        assert found.expires_at == run(database_url, LAST)[0][0] + timedelta(seconds=ttl_s)
        hold = held(house, arrival(device)).hold
        _set_back(database_url, before_s)
        before = run(database_url, LAST)
        assert ends.finish(house.database, hold, REPLY)
        assert (run(database_url, LAST) == before) is not extended


def test_a_plain_turn_writes_it_once(house: House, database_url: str, device: UUID) -> None:
    """At its beginning: with the same value at its end no index has to be written."""
    turn = answer(house, arrival(device))
    assert run(database_url, LAST) == [(turn.created_at,)]


def test_time_that_decides_is_no_use(house: House, model: DemoModel, database_url: str, device: UUID) -> None:
    asked = waiting(house, model, device)
    _set_back(database_url)
    before = run(database_url, LAST)
    assert decide(house.database, asked, "expired", now=datetime.now(UTC) + timedelta(days=1))
    assert run(database_url, LAST) == before


def test_a_look_tells_what_a_cache_has_to_know(house: House, database_url: str, device: UUID) -> None:
    answer(house, arrival(device))
    others = sorted(join(database_url, uuid4()) for _ in range(25))
    resting = sessions.look(house.database, DeviceId(device))
    assert resting is not None
    row = run(database_url, "SELECT lease_epoch, version, idle_ttl, last_active_at FROM conversation_states")
    assert [(resting.lease_epoch, resting.version, resting.idle_ttl, resting.last_active_at)] == row
    assert [present.device_id for present in resting.present] == [device, *others[:19]]
    assert not resting.has_open_turn
    assert resting.read_at >= resting.last_active_at
    holding = held(house, arrival(device))
    busy = sessions.look(house.database, DeviceId(device))
    assert busy is not None
    assert (busy.has_open_turn, busy.busy, busy.lease_epoch) == (True, True, holding.hold.epoch)
