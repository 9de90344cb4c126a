"""The active-agent lock as a library: read, set, cleared, expired at once, and noted each time."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.agents.agent import Agent
from core.agents.roster import Roster
from core.deadline import Deadline
from core.errors import DatabaseUnavailable, SessionNotFound, UnknownAgent
from core.house import House, build_house
from core.ids import DeviceId
from core.sessions.service import CleanedUp, SessionService
from core.settings import Settings
from core.store.database import Database
from tests.conversations import answer, arrival, held
from tests.databases import run

NOTHING = CleanedUp(locks=0, sessions=0, application_sessions=0)
T0 = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
ROSTER = Roster.of(
    Agent(key="manager", prompt="You route.", hands_over_to=("billing", "scheduling")),
    Agent(key="billing", prompt="You bill.", description="Invoices.", lock_ttl_s=600),
    Agent(key="scheduling", prompt="You schedule.", description="Appointments."),
)


@pytest.fixture
def house(settings: Settings) -> Any:
    # So long that no conversation ends of itself while its lock's time is moved.
    built = build_house(replace(settings, session_ttl_s=31_536_000), ROSTER)
    yield built
    built.close()


@pytest.fixture
def talking(house: House, device: UUID) -> DeviceId:
    answer(house, arrival(device))
    return DeviceId(device)


def notes(url: str) -> list[tuple[str, str, str | None, datetime | None, str | None]]:
    return [
        (actor, action, agent, until, reason)
        for actor, action, agent, until, reason in run(
            url, "SELECT actor, action, agent, until, reason FROM audit_log ORDER BY id"
        )
    ]


def test_a_lock_is_set_read_and_cleared_and_each_is_noted(
    house: House, talking: DeviceId, database_url: str
) -> None:
    service = house.sessions
    assert service.get_session_lock(talking).agent is None
    held = service.set_session_lock(talking, "billing", actor="operator", reason="asked for", now=T0)
    assert (held.agent, held.locked_at, held.expires_at) == ("billing", T0, T0 + timedelta(seconds=600))
    assert service.get_session_lock(talking, now=T0) == held
    assert service.clear_session_lock(talking, actor="operator").agent is None
    assert service.get_session_lock(talking, now=T0).agent is None
    assert notes(database_url) == [
        ("operator", "lock_set", "billing", T0 + timedelta(seconds=600), "asked for"),
        ("operator", "lock_cleared", "billing", None, None),
    ]
    ((session, user),) = run(database_url, "SELECT id, user_id FROM conversation_states")
    assert (str(held.session_id), str(held.user_id)) == (session, user)


def test_clearing_where_there_is_nothing_changes_and_notes_nothing(
    house: House, talking: DeviceId, database_url: str
) -> None:
    before = run(database_url, "SELECT * FROM conversation_states")
    house.sessions.clear_session_lock(talking)
    assert run(database_url, "SELECT * FROM conversation_states") == before
    assert notes(database_url) == []


@pytest.mark.parametrize(
    ("agent", "given_s", "users_s", "lasts_s"),
    [
        ("billing", 60, 120, 60),  # as whoever sets it says,
        ("billing", None, 120, 600),  # else the agent,
        ("scheduling", None, 120, 120),  # else the user,
        ("scheduling", None, None, 86_400),  # else the setting
    ],
)
def test_how_long_a_lock_lasts(
    house: House,
    talking: DeviceId,
    agent: str,
    given_s: int | None,
    users_s: int | None,
    lasts_s: int,
) -> None:
    house.sessions.set_user_ttl(talking, users_s)
    lock = house.sessions.set_session_lock(talking, agent, ttl_s=given_s, now=T0)
    assert (lock.ttl_s, lock.expires_at) == (lasts_s, T0 + timedelta(seconds=lasts_s))


def test_expired_means_none_at_once_and_cleaning_up_notes_it(
    house: House, talking: DeviceId, database_url: str
) -> None:
    service = house.sessions
    service.set_session_lock(talking, "billing", now=T0)
    end = T0 + timedelta(seconds=600)
    just_before = end - timedelta(milliseconds=1)
    assert service.get_session_lock(talking, now=just_before).agent == "billing"
    assert service.cleanup_expired_sessions(now=just_before) == NOTHING
    gone = service.get_session_lock(talking, now=end)
    assert (gone.agent, gone.locked_at, gone.expires_at) == (None, None, None)
    assert service.cleanup_expired_sessions(now=end) == replace(NOTHING, locks=1)
    assert service.cleanup_expired_sessions(now=end) == NOTHING
    assert run(database_url, "SELECT active_agent, locked_at FROM conversation_states") == [(None, None)]
    assert notes(database_url)[1:] == [("system", "lock_expired", "billing", end, None)]


def test_a_lock_that_was_renewed_in_the_meantime_is_not_cleaned_up(
    house: House, talking: DeviceId, database_url: str
) -> None:
    house.sessions.set_session_lock(talking, "billing", now=T0)
    house.sessions.set_session_lock(talking, "billing", now=T0 + timedelta(seconds=599))
    assert house.sessions.cleanup_expired_sessions(now=T0 + timedelta(seconds=601)) == NOTHING
    assert house.sessions.get_session_lock(talking, now=T0 + timedelta(seconds=601)).agent == "billing"


def test_several_clean_up_at_once_and_each_lock_is_noted_once(
    house: House, database_url: str, device: UUID
) -> None:
    devices = [uuid4() for _ in range(12)]
    for one in devices:
        answer(house, arrival(one))
        house.sessions.set_session_lock(DeviceId(one), "billing", now=T0)
    cleaned: list[int] = []
    late = T0 + timedelta(days=1)
    threads = [
        threading.Thread(
            target=lambda: cleaned.append(house.sessions.cleanup_expired_sessions(now=late).locks)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(cleaned) + house.sessions.cleanup_expired_sessions(now=late).locks == 12
    assert run(database_url, "SELECT count(*) FROM audit_log WHERE action = 'lock_expired'") == [(12,)]


def test_whoever_is_not_known_has_no_lock(house: House, talking: DeviceId, device: UUID) -> None:
    stranger = DeviceId(uuid4())
    attempts: list[Callable[[], object]] = [
        lambda: house.sessions.get_session_lock(stranger),
        lambda: house.sessions.set_session_lock(stranger, "billing"),
        lambda: house.sessions.clear_session_lock(stranger),
        lambda: house.sessions.set_user_ttl(stranger, 60),
    ]
    for attempt in attempts:
        with pytest.raises(SessionNotFound):
            attempt()
    with pytest.raises(
        UnknownAgent, match=r"no agent 'poetry' here\. There are: billing, manager, scheduling"
    ):
        house.sessions.set_session_lock(talking, "poetry")


def away(service: SessionService) -> SessionService:
    return replace(
        service,
        database=Database("postgresql+psycopg2://nobody@127.0.0.1:1/none", pool_size=1, connect_timeout_s=1),
    )


def test_without_the_database_there_is_an_error_and_never_an_empty_lock(
    house: House, talking: DeviceId
) -> None:
    service = away(house.sessions)
    attempts: list[Callable[[], object]] = [
        lambda: service.get_session_lock(talking),
        lambda: service.set_session_lock(talking, "billing"),
        lambda: service.clear_session_lock(talking),
        service.cleanup_expired_sessions,
    ]
    for attempt in attempts:
        with pytest.raises(DatabaseUnavailable):
            attempt()


def test_without_the_database_the_stateless_answer_says_what_it_is(house: House, talking: DeviceId) -> None:
    service = replace(away(house.sessions), stateless_without_database=True)
    lock = service.get_session_lock(talking)
    assert (lock.agent, lock.session_id, lock.is_stateless) == (None, None, True)
    assert not house.sessions.get_session_lock(talking).is_stateless
    with pytest.raises(DatabaseUnavailable):
        service.set_session_lock(talking, "billing")


def test_a_lock_set_while_a_turn_runs_holds_from_the_next_message_on(
    house: House, talking: DeviceId, device: UUID
) -> None:
    holding = held(house, arrival(device, "go"))
    house.sessions.set_session_lock(talking, "billing")
    turn = house.turns.story.go_through(holding, house.turns._inline(Deadline.after(20)))
    assert turn is not None
    assert (turn.status, turn.agent) == ("completed", "manager")
    assert answer(house, arrival(device, "and now?")).agent == "billing"
