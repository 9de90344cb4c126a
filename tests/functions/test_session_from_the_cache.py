"""`GET /v1/session` from the cache: two functions that share a Redis, and a client that may or may not say what it knows."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.access import Caller
from core.cache.allowance import Allowance
from core.cache.entry import Entry
from core.errors import DeviceBarred
from core.house import House, build_house
from core.ids import DeviceId
from core.sessions.current import Told
from core.sessions.manager import SessionManager
from core.settings import Settings, read_settings
from core.store import endings, sessions
from core.store.revision import SCHEMA_REVISION
from core.store.sessions import StoredSession
from dev.demo_model import DemoModel
from dev.redis import EmbeddedRedis, Fault, RedisFront
from functions.app import build_app
from tests.conversations import losing_replies
from tests.databases import run
from tests.guests import enter, let_in, put_out, sign_out, user_of
from tests.wire import WireCounter


@dataclass(slots=True)
class Function:
    house: House
    client: TestClient

    def look(self, device: UUID, version: str | None = None) -> Any:
        headers = {"X-Device-ID": str(device), **({"X-Session-Version": version} if version else {})}
        return self.client.get("/v1/session", headers=headers)

    def say(self, device: UUID, words: str = "Hello") -> Any:
        answer = self.client.post("/v1/turns", headers={"X-Device-ID": str(device)}, json={"message": words})
        assert answer.status_code in (200, 202), answer.text
        return answer

    def entry(self, device: UUID) -> Entry | None:
        id_ = run_id(self.house, device)
        return self.house.keeping.shelf.look(f"session:{id_}", Allowance(1))


def run_id(house: House, device: UUID) -> UUID:
    found = sessions.find(house.database, DeviceId(device))
    assert found is not None
    return found.id


def notes(function: Function) -> SessionManager[dict[str, str]]:
    return function.house.session_manager(dict, namespace="notes")


@pytest.fixture
def environ(database_url: str, model: DemoModel, front: RedisFront) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "DATABASE_POOL_SIZE": "4",
        "ACCESS_MODE": "open",
        "ANTHROPIC_API_KEY": "demo",
        "ANTHROPIC_BASE_URL": model.url,
        "UPSTASH_REDIS_REST_URL": front.url,
        "UPSTASH_REDIS_REST_TOKEN": front.token,
        "CACHE_BUDGET_MS": "2000",
    }


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def begin(environ: dict[str, str], running: ExitStack) -> Function:
    function = begun_just_now(environ, running)
    guard = function.house.keeping.guard
    while guard is not None and guard.state == "warming":
        pass
    return function


def begun_just_now(environ: dict[str, str], running: ExitStack) -> Function:
    house = build_house(read_settings(environ))
    running.callback(house.close)
    return Function(house, running.enter_context(TestClient(build_app(house, one_at_a_time=False))))


@pytest.fixture
def one(environ: dict[str, str], running: ExitStack) -> Function:
    return begin(environ, running)


@pytest.fixture
def other(environ: dict[str, str], running: ExitStack) -> Function:
    return begin(environ, running)


def test_a_hit_asks_postgres_nothing(
    environ: dict[str, str], running: ExitStack, database_url: str, front: RedisFront, device: UUID
) -> None:
    with WireCounter(database_url) as wire:
        function = begin({**environ, "DATABASE_URL": wire.url}, running)
        function.say(device)
        first = function.look(device)
        wire.count.clear()
        trips = []
        for _ in range(3):
            asked = front.requests.total
            assert function.look(device).content == first.content
            trips.append(front.requests.total - asked)
        # What the turn left for a thread to do may arrive beside the first of them.
        assert (wire.count.round_trips, min(trips)) == (0, 1)


def test_a_function_that_has_never_seen_the_device_answers_from_the_cache(
    one: Function, environ: dict[str, str], running: ExitStack, database_url: str, device: UUID
) -> None:
    one.say(device)
    told = one.look(device)
    with WireCounter(database_url) as wire:
        cold = begin({**environ, "DATABASE_URL": wire.url}, running)
        assert cold.look(device).content == told.content
        assert wire.count.connections == 0


def test_a_turn_of_one_function_is_seen_by_the_other(one: Function, other: Function, device: UUID) -> None:
    one.say(device)
    before = other.look(device).json()
    one.say(device)
    after = other.look(device).json()
    assert after["state"]["sequence"] == before["state"]["sequence"] + 2


def test_no_answer_leaves_before_its_mark_is_there(
    one: Function, other: Function, front: RedisFront, device: UUID
) -> None:
    one.say(device)
    before = other.look(device).json()
    front.faults.add(Fault.late(0.3, matching="EVAL"))
    one.say(device)
    assert other.look(device).json()["state"]["sequence"] == before["state"]["sequence"] + 2


def test_a_lock_of_one_function_is_seen_by_the_other(one: Function, other: Function, device: UUID) -> None:
    one.say(device)
    other.look(device)
    headers = {"X-Device-ID": str(device)}
    one.client.put("/v1/session/lock", headers=headers, json={"agent": "billing"})
    assert other.look(device).json()["active_agent"] == "billing"
    one.house.sessions.clear_session_lock(DeviceId(device))
    assert other.look(device).json()["active_agent"] is None


def test_an_end_is_seen_by_the_other(one: Function, other: Function, device: UUID) -> None:
    one.say(device)
    other.look(device)
    one.client.delete("/v1/session", headers={"X-Device-ID": str(device)})
    assert other.look(device).status_code == 404


def test_a_turn_of_a_function_that_has_just_begun_is_seen_by_the_other(
    one: Function, environ: dict[str, str], running: ExitStack, front: RedisFront, device: UUID
) -> None:
    one.say(device)
    before = one.look(device).json()
    one.house.current.told._told.clear()
    front.faults.add(Fault.late(0.3, matching="PING"))
    begun_just_now(environ, running).say(device)
    assert one.look(device).json()["state"]["sequence"] == before["state"]["sequence"] + 2


def test_an_end_by_a_function_that_has_just_begun_is_seen_by_the_other(
    one: Function, environ: dict[str, str], running: ExitStack, front: RedisFront, device: UUID
) -> None:
    one.say(device)
    one.look(device)
    front.faults.add(Fault.late(0.3, matching="PING"))
    young = begun_just_now(environ, running)
    young.client.delete("/v1/session", headers={"X-Device-ID": str(device)})
    assert one.look(device).status_code == 404


def test_an_end_by_the_manager_of_an_application_session_is_seen_by_the_other(
    one: Function, other: Function, device: UUID
) -> None:
    one.say(device)
    other.look(device)
    mine, theirs = notes(one), notes(other)
    made = mine.create(run_id(one.house, device))  # type: ignore[arg-type]  # a plain UUID
    assert theirs.get(made.id) is not None
    assert mine.delete(made.id)
    assert other.look(device).status_code == 404
    assert theirs.get(made.id) is None


def test_what_belongs_to_an_ended_conversation_is_gone_from_the_cache(
    one: Function, other: Function, device: UUID
) -> None:
    one.say(device)
    mine, theirs = notes(one), notes(other)
    made = mine.create(run_id(one.house, device))  # type: ignore[arg-type]  # a plain UUID
    assert theirs.get(made.id) is not None
    one.client.delete("/v1/session", headers={"X-Device-ID": str(device)})
    assert theirs.get(made.id) is None
    assert mine.get(made.id) is None


# ---- when marks are lost


def test_whoever_was_told_is_not_told_less_by_the_same_function(
    one: Function, front: RedisFront, device: UUID
) -> None:
    one.say(device)
    before = one.look(device).json()
    front.faults.always(Fault.cut(matching="EVAL"))
    one.say(device)
    assert one.look(device).json()["state"]["sequence"] == before["state"]["sequence"] + 2


def test_whoever_says_what_it_was_told_is_not_told_less_by_any(
    one: Function, other: Function, front: RedisFront, device: UUID
) -> None:
    one.say(device)
    before = other.look(device).json()
    front.faults.always(Fault.cut(matching="EVAL"))
    version = one.say(device).headers["X-Session-Version"]
    assert other.look(device, version).json()["state"]["sequence"] == before["state"]["sequence"] + 2


def test_after_an_end_nobody_who_knows_of_it_is_shown_what_was(
    one: Function, other: Function, front: RedisFront, device: UUID
) -> None:
    one.say(device)
    other.look(device)
    front.faults.always(Fault.cut(matching="EVAL"))
    ended = one.client.delete("/v1/session", headers={"X-Device-ID": str(device)})
    assert one.look(device).status_code == 404
    assert other.look(device, ended.headers["X-Session-Version"]).status_code == 404


def test_who_was_moved_since_is_not_led_back_by_what_the_client_knows(
    one: Function, front: RedisFront, device: UUID
) -> None:
    one.say(device)
    version = one.look(device).headers["X-Session-Version"]
    front.faults.always(Fault.cut(matching="EVAL"))
    one.client.delete("/v1/session", headers={"X-Device-ID": str(device)})
    begun = one.say(device).json()["session_id"]
    assert one.look(device, version).json()["id"] == begun


def test_an_end_whose_reply_was_lost_is_one_for_all(
    one: Function, other: Function, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.say(device)
    one.look(device)
    other.look(device)
    lost = losing_replies(monkeypatch, endings._END)
    ended = one.client.delete("/v1/session", headers={"X-Device-ID": str(device)})
    assert (ended.status_code, len(lost)) == (204, 1)
    assert one.look(device).status_code == 404
    assert other.look(device).status_code == 404


def test_a_version_of_another_conversation_leads_to_postgres(one: Function, device: UUID) -> None:
    one.say(device)
    told = one.look(device)
    assert one.look(device, f"{uuid4()}.1").content == told.content


@pytest.mark.parametrize(
    "given", ["1", "x.1", f"{UUID(int=1)}", f"{UUID(int=1)}.-1", f"{UUID(int=1)}.{'9' * 30}"]
)
def test_a_version_that_was_never_given_out_is_refused(one: Function, device: UUID, given: str) -> None:
    answer = one.look(device, given)
    assert (answer.status_code, answer.json()["code"]) == (400, "session_version_malformed")


# ---- what may lie on the shelf


def test_a_conversation_in_a_turn_is_not_put_there(one: Function, device: UUID) -> None:
    """It changes with each step."""
    one.say(device)
    turn = one.say(device, "Please pay invoice 1 of 120")
    assert turn.json()["status"] == "waiting"
    assert one.look(device).json()["state"]["active_step"] == "waiting"
    assert one.entry(device) is None


def test_an_entry_is_good_until_a_look_would_extend_the_conversation(one: Function, device: UUID) -> None:
    one.say(device)
    told, entry = one.look(device).json(), one.entry(device)
    assert entry is not None
    assert entry.good_until - datetime.fromisoformat(told["last_active_at"]) < timedelta(seconds=60.001)


def test_an_entry_is_not_good_beyond_the_lock(one: Function, device: UUID) -> None:
    one.say(device)
    headers = {"X-Device-ID": str(device)}
    one.client.put("/v1/session/lock", headers=headers, json={"agent": "billing", "ttl_s": 20})
    told, entry = one.look(device).json(), one.entry(device)
    assert entry is not None
    assert entry.good_until <= datetime.fromisoformat(told["lock_expires_at"]) + timedelta(milliseconds=1)


def test_an_entry_past_its_time_leads_to_postgres_which_extends_the_conversation(
    one: Function, database_url: str, device: UUID
) -> None:
    one.say(device)
    run(database_url, "UPDATE conversation_states SET last_active_at = now() - interval '2 minutes'")
    for _ in range(2):
        told = datetime.fromisoformat(one.look(device).json()["last_active_at"])
        ((kept,),) = run(database_url, "SELECT last_active_at FROM conversation_states")
        assert abs(told - kept) < timedelta(milliseconds=1)
    ((is_extended,),) = run(
        database_url, "SELECT last_active_at > now() - interval '1 minute' FROM conversation_states"
    )
    assert is_extended


def test_a_device_that_is_not_in_it_is_not_shown_it(
    one: Function, device: UUID, redis: EmbeddedRedis
) -> None:
    """Whatever the hint says of where it is."""
    stranger = uuid4()
    one.say(device)
    one.say(stranger)
    mine = one.look(device).json()["id"]
    redis.ask("SET", f"device:{hashlib.sha256(stranger.bytes).hexdigest()[:32]}", mine)
    one.house.current.told._told.clear()
    assert one.look(stranger).json()["id"] != mine


def test_a_reader_that_was_slow_does_not_bring_the_past_back(
    one: Function, other: Function, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.say(device)
    found = sessions.look

    def slowly(*given: Any, **more: Any) -> StoredSession | None:
        read = found(*given, **more)
        monkeypatch.setattr(sessions, "look", found)
        one.say(device)
        return read

    monkeypatch.setattr(sessions, "look", slowly)
    late = other.look(device).json()["state"]["sequence"]
    other.house.current.told._told.clear()
    assert other.look(device).json()["state"]["sequence"] == late + 2


def test_no_device_id_and_no_text_lies_in_the_cache(one: Function, front: RedisFront, device: UUID) -> None:
    one.say(device, "my secret is a walrus")
    one.look(device)
    sent = json.dumps([request.commands for request in front.requests])
    assert "session:" in sent
    assert str(device) not in sent
    assert "walrus" not in sent


def test_ready_says_where_sessions_are_kept(one: Function, settings: Settings, running: ExitStack) -> None:
    del settings
    assert one.client.get("/ready").json() == {
        "status": "ready",
        "schema": SCHEMA_REVISION,
        "sessions": "shelf over postgres",
        "cache": "upstash, closed",
    }
    nothing = begin({"ACCESS_MODE": "open"}, running).client.get("/ready")
    assert nothing.status_code == 503
    assert "memory" in nothing.json()["detail"]


def test_figures_tell_how_many_conversations_begin_and_end(one: Function, device: UUID) -> None:
    one.say(device)
    one.say(device)
    one.client.delete("/v1/session", headers={"X-Device-ID": str(device)})
    one.say(device)
    said = one.house.figures.snapshot()
    assert (said["conversations.begun"], said["conversations.ended"]) == (2, 1)
    assert said["memory.bytes"] > 0


# ---- who may be answered from it


def _shown(device: UUID, **shown: Any) -> Caller:
    return Caller(DeviceId(device), **shown)


def test_only_whoever_shows_what_its_device_showed_is_answered_from_the_cache(
    environ: dict[str, str], running: ExitStack, database_url: str, device: UUID
) -> None:
    with WireCounter(database_url) as wire:
        function = begin({**environ, "DATABASE_URL": wire.url}, running)
        function.say(device)
        run(database_url, "UPDATE connections SET token_version = 4")
        run(database_url, "UPDATE users SET subject = 'me'")
        function.look(device)

        def from_the_cache(who: Caller) -> bool:
            wire.count.clear()
            with suppress(DeviceBarred):
                function.house.current.look(who)
            return not wire.count.statements

        id_ = run_id(function.house, device)
        assert from_the_cache(_shown(device))
        assert from_the_cache(_shown(device, token_version=4))
        assert from_the_cache(_shown(device, token_version=4, subject="me"))
        assert not from_the_cache(_shown(device, token_version=3))
        assert not from_the_cache(_shown(device, subject="you"))
        assert not from_the_cache(_shown(device, session_id=id_))
        assert not from_the_cache(_shown(device, session_id=id_, link="x"))


def test_a_device_that_was_signed_out_is_not_answered_from_the_cache(
    one: Function, other: Function, database_url: str, device: UUID
) -> None:
    one.say(device)
    told = one.look(device)
    assert other.look(device).content == told.content
    found = sessions.find(one.house.database, DeviceId(device))
    assert found is not None
    sign_out(database_url, device)
    # As whoever signs it out does it.
    one.house.current.changed(DeviceId(device), Told(found.id, found.version + 1), found.lease_epoch)
    for function in (one, other):
        assert function.look(device).json()["code"] == "device_barred"


def test_what_a_member_sees_of_it_is_not_put_there(
    one: Function, other: Function, database_url: str, device: UUID
) -> None:
    one.say(device)
    id_ = run_id(one.house, device)
    member = let_in(database_url, id_, "viewer")
    enter(database_url, id_, member)
    assert one.look(member).json()["role"] == "viewer"
    assert one.entry(device) is None
    one.look(device)
    assert one.entry(device) is not None
    assert other.look(member).json()["role"] == "viewer", "the owner's entry is not for a member"
    put_out(database_url, id_, member)
    assert other.look(member).status_code == 404


def test_no_users_name_lies_in_the_cache(
    one: Function, front: RedisFront, database_url: str, device: UUID
) -> None:
    one.say(device)
    run(database_url, "UPDATE users SET subject = 'https://issuer.example|mallory'")
    one.look(device)
    sent = json.dumps([request.commands for request in front.requests])
    assert "session:" in sent
    assert "mallory" not in sent
    assert str(user_of(database_url, device)) not in sent


def test_after_a_merge_and_after_its_undoing_nobody_is_shown_what_was_before(
    environ: dict[str, str], running: ExitStack, database_url: str
) -> None:
    here, there = begin(environ, running), begin(environ, running)
    phone, desk = uuid4(), uuid4()
    home = there.say(phone).json()["session_id"]
    run(
        database_url,
        "INSERT INTO connections (device_id, user_id) SELECT %s, user_id FROM connections",
        str(desk),
    )
    away = there.say(desk).json()["session_id"]
    seen = [there.look(device) for device in (phone, desk)]
    assert [there.entry(device) is not None for device in (phone, desk)] == [True, True]
    headers = {"X-Device-ID": str(phone), "If-Match": "*"}
    merged = here.client.post(f"/v1/sessions/{home}/merge", json={"from": away}, headers=headers).json()
    assert [there.look(device).json()["id"] for device in (phone, desk)] == [home, home]
    assert there.look(phone).json()["usage"] != seen[0].json()["usage"]
    path = f"/v1/sessions/{home}/revisions/{merged['revision']['id']}/undo"
    assert here.client.post(path, headers=headers).status_code == 200
    assert there.look(phone).json()["usage"] == seen[0].json()["usage"]
    entered = here.client.put("/v1/session", json={"session_id": away}, headers={"X-Device-ID": str(desk)})
    assert entered.status_code == 200, entered.text
    assert [there.look(desk, entered.headers["x-session-version"]).json()["id"] for _ in range(2)] == [
        away,
        away,
    ]
