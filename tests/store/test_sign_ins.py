"""A device signs in: what was said from it anonymously becomes the person's, all of it or nothing, whatever goes on meanwhile."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from core.devices import SignedInDevice
from core.errors import DatabaseConflict, DeviceBarred
from core.house import House, build_house
from core.ids import DeviceId, SessionId
from core.settings import Settings
from core.store import handing_over
from core.tokens import Person
from dev.demo_model import DemoModel, Fault
from tests.conversations import answer, arrival, everything, held, in_the_way, wait_for_locks
from tests.databases import run

ADA = Person("https://people.example.com/|ada")
BOB = Person("https://people.example.com/|bob")


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(replace(settings, budget_user_micros=10**9, budget_org_micros=10**9))
    yield built
    built.close()


def sign_in(house: House, device: UUID, person: Person = ADA, version: int | None = None) -> SignedInDevice:
    return house.devices.sign_in(DeviceId(device), version, person)


def talk(house: House, device: UUID) -> UUID:
    turn = answer(house, arrival(device))
    assert turn.status == "completed"
    assert turn.session_id is not None
    return turn.session_id


def user_of(url: str, device: UUID) -> str:
    ((user,),) = run(url, "SELECT user_id::text FROM connections WHERE device_id = %s", str(device))
    return str(user)


def owners(url: str) -> dict[UUID, str]:
    rows = run(url, "SELECT id::text, user_id::text FROM conversation_states")
    return {UUID(session): user for session, user in rows}


def spending(url: str) -> list[Any]:
    return run(
        url,
        "SELECT scope, id::text, spent_micros::int, reserved_micros::int FROM spending "
        "WHERE spent_micros <> 0 OR reserved_micros <> 0 OR spent_tokens <> 0 OR reserved_tokens <> 0 ORDER BY scope DESC, id",
    )


def spent(url: str) -> int:
    ((micros,),) = run(url, "SELECT sum((usage ->> 'cost_micros')::int)::int FROM conversation_states")
    return int(micros)


# ---- the ways it goes


def test_a_guest_who_was_nobody_yet_becomes_the_person_and_nothing_moves(
    house: House, database_url: str, device: UUID
) -> None:
    session = talk(house, device)
    guest = user_of(database_url, device)
    signed = sign_in(house, device, replace(ADA, org_id=UUID(int=7)))
    assert str(signed.welcome.user_id) == guest == user_of(database_url, device)
    assert signed.sessions == (session,)
    assert run(database_url, "SELECT subject, org_id::text FROM users") == [(ADA.subject, str(UUID(int=7)))]
    assert run(database_url, "SELECT org_id::text FROM conversation_states") == [(str(UUID(int=7)),)]
    assert run(database_url, "SELECT token_version FROM connections") == [(1,)]
    assert talk(house, device) == session, "and goes on"


def test_what_a_guest_said_joins_what_the_person_has(house: House, database_url: str) -> None:
    phone, laptop = uuid4(), uuid4()
    mine = talk(house, phone)
    ada = str(sign_in(house, phone).welcome.user_id)
    anonymous = talk(house, laptop)
    guest = user_of(database_url, laptop)
    run(database_url, "UPDATE users SET session_ttl = 77 WHERE id = %s", guest)
    signed = sign_in(house, laptop)
    assert (str(signed.welcome.user_id), signed.sessions) == (ada, (anonymous,))
    assert owners(database_url) == {mine: ada, anonymous: ada}
    assert run(database_url, "SELECT id::text, session_ttl FROM users") == [(ada, 77)], "the guest is gone"
    assert spending(database_url) == [("user", ada, spent(database_url), 0)]
    assert talk(house, laptop) == anonymous


def test_sent_again_it_answers_the_same_and_changes_nothing(house: House, database_url: str) -> None:
    phone, laptop = uuid4(), uuid4()
    talk(house, phone)
    sign_in(house, phone)
    talk(house, laptop)
    first = sign_in(house, laptop, version=0)
    before = everything(database_url)
    again = sign_in(house, laptop, version=0)
    assert again == first, "the token from before the sign-in still does for this"
    assert everything(database_url) == before
    run(database_url, "UPDATE connections SET token_version = 2 WHERE device_id = %s", str(laptop))
    with pytest.raises(DeviceBarred):
        sign_in(house, laptop, version=0)
    with pytest.raises(DeviceBarred):
        sign_in(house, laptop, BOB, version=1)


def test_a_token_from_before_lets_nobody_else_have_the_device(
    house: House, database_url: str, device: UUID
) -> None:
    talk(house, device)
    sign_in(house, device, version=0)
    before = everything(database_url)
    with pytest.raises(DeviceBarred):
        sign_in(house, device, BOB, version=0)
    assert everything(database_url) == before


def test_a_device_of_another_person_changes_hands_and_brings_nothing(
    house: House, database_url: str, device: UUID
) -> None:
    session = talk(house, device)
    ada = str(sign_in(house, device).welcome.user_id)
    ((version, epoch),) = run(database_url, "SELECT version, lease_epoch FROM conversation_states")
    signed = sign_in(house, device, BOB)
    bob = str(signed.welcome.user_id)
    assert signed.sessions == ()
    assert bob != ada
    assert owners(database_url) == {session: ada}
    after = run(database_url, "SELECT version, lease_epoch FROM conversation_states")
    assert after == [(version + 1, epoch)], "nobody who was let in before writes after"
    assert run(database_url, "SELECT user_id::text, session_id, token_version FROM connections") == [
        (bob, None, 2)
    ]
    assert talk(house, device) != session


def test_a_device_that_was_signed_out_cannot_sign_in(house: House, database_url: str, device: UUID) -> None:
    talk(house, device)
    run(database_url, "UPDATE connections SET revoked_at = now()")
    before = everything(database_url)
    with pytest.raises(DeviceBarred):
        sign_in(house, device)
    assert everything(database_url) == before


def test_a_new_device_needs_no_talk_to_sign_in_but_a_token_where_one_is_asked_for(
    house: House, database_url: str
) -> None:
    with pytest.raises(DeviceBarred):
        sign_in(house, uuid4(), version=0)
    assert run(database_url, "SELECT count(*) FROM users") == [(0,)]
    one, other = (sign_in(house, uuid4()).welcome.user_id for _ in range(2))
    assert one == other


def test_all_that_a_guest_has_comes_along(house: House, database_url: str) -> None:
    phone, laptop, friend = uuid4(), uuid4(), uuid4()
    talk(house, phone)
    ada = str(sign_in(house, phone).welcome.user_id)
    talk(house, laptop)
    guest = user_of(database_url, laptop)
    shared = [talk(house, uuid4()) for _ in range(3)]
    friends = talk(house, friend)
    member = "INSERT INTO members (session_id, user_id, role) VALUES (%s, %s, %s)"
    for session, guests, adas in zip(
        shared, ("editor", "viewer", "owner"), ("viewer", "owner", None), strict=True
    ):
        run(database_url, member, str(session), guest, guests)
        if adas is not None:
            run(database_url, member, str(session), ada, adas)
    mine = str(next(s for s, owner in owners(database_url).items() if owner == ada))
    anonymous = str(next(s for s, owner in owners(database_url).items() if owner == guest))
    run(database_url, member, mine, guest, "editor")
    run(database_url, member, anonymous, ada, "viewer")
    run(database_url, "UPDATE turns SET sent_by = %s WHERE session_id IN (%s, %s)", guest, str(friends), mine)
    run(database_url, "UPDATE turns SET sent_by = %s WHERE session_id = %s", ada, anonymous)
    kept = (
        "INSERT INTO application_sessions (session_id, namespace, user_id, slot, epoch, version, body, idle_ttl)"
        " VALUES (gen_random_uuid(), 'cart', %s, %s, 1, 1, '{}', 60)"
    )
    for user, slot in ((ada, 1), (guest, 1), (guest, 2)):
        run(database_url, kept, user, slot)
    sign_in(house, laptop)
    roles = run(database_url, "SELECT session_id::text, role FROM members WHERE user_id = %s ORDER BY 1", ada)
    assert roles == sorted(zip(map(str, shared), ("editor", "owner", "owner"), strict=True))
    assert run(database_url, "SELECT count(*) FROM members") == [(3,)], "an owner is no member"
    assert run(database_url, "SELECT sent_by::text FROM turns WHERE session_id = %s", str(friends)) == [
        (ada,)
    ]
    own = "SELECT DISTINCT sent_by FROM turns WHERE session_id IN (%s, %s)"
    assert run(database_url, own, mine, anonymous) == [(None,)]
    slots = run(database_url, "SELECT user_id::text, slot FROM application_sessions ORDER BY slot")
    assert slots == [(ada, 1), (ada, 2), (ada, None)]
    text_of_all = run(database_url, "SELECT row_to_json(t)::text FROM turns t")
    assert guest not in str(text_of_all) + str(everything(database_url))


def test_a_guest_on_whom_something_of_an_application_hangs_is_left_in_place(
    house: House, database_url: str
) -> None:
    phone, laptop = uuid4(), uuid4()
    sign_in(house, phone)
    session = talk(house, laptop)
    guest = user_of(database_url, laptop)
    run(
        database_url,
        "INSERT INTO clinic_outbox (patient_id, recipient, content) VALUES (%s, 'patient', 'x')",
        guest,
    )
    assert sign_in(house, laptop).sessions == (session,)
    assert run(database_url, "SELECT count(*) FROM clinic_outbox") == [(1,)]
    assert run(database_url, "SELECT count(*) FROM users WHERE id = %s", guest) == [(1,)]


@pytest.mark.parametrize("nth", range(len(handing_over._STATEMENTS)))
def test_what_fails_in_the_middle_changes_nothing(
    house: House, database_url: str, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    phone, laptop = uuid4(), uuid4()
    talk(house, phone)
    sign_in(house, phone)
    talk(house, laptop)
    with house.database._engine.connect():
        before = [row for row in everything(database_url) if "spending" not in row]
    broken = [*handing_over._STATEMENTS]
    broken[nth] = text("SELECT 1 / 0")
    monkeypatch.setattr(handing_over, "_STATEMENTS", tuple(broken))
    with suppress(Exception):
        sign_in(house, laptop)
        pytest.fail("it was to fail")
    assert [row for row in everything(database_url) if "spending" not in row] == before


# ---- what goes on meanwhile


def test_a_turn_that_runs_meanwhile_is_finished_and_charged_to_the_person(
    house: House, model: DemoModel, database_url: str
) -> None:
    phone, laptop = uuid4(), uuid4()
    sign_in(house, phone, replace(ADA, org_id=UUID(int=7)))
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(answer, house, arrival(laptop))
        assert model.requests.wait_for(1)
        ((_, guest, _, reserved),) = spending(database_url)
        assert guest == user_of(database_url, laptop)
        assert reserved > 0
        ada = str(sign_in(house, laptop, replace(ADA, org_id=UUID(int=7))).welcome.user_id)
        assert spending(database_url) == [("user", ada, 0, reserved), ("org", str(UUID(int=7)), 0, reserved)]
        gate.set()
        assert running.result(20).status == "completed"
    micros = spent(database_url)
    assert spending(database_url) == [("user", ada, micros, 0), ("org", str(UUID(int=7)), micros, 0)]


def test_an_end_that_waits_for_the_sign_in_is_charged_to_the_person_too(
    house: House, model: DemoModel, database_url: str
) -> None:
    """It waits for the conversation's row with a view of the other tables from before."""
    phone, laptop = uuid4(), uuid4()
    ada = str(sign_in(house, phone).welcome.user_id)
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(answer, house, arrival(laptop))
        assert model.requests.wait_for(1)
        guest = user_of(database_url, laptop)
        with in_the_way(database_url, f"SELECT FROM users WHERE id = '{guest}' FOR KEY SHARE"):
            signing = pool.submit(sign_in, house, laptop)
            wait_for_locks(database_url, 1)
            gate.set()
            wait_for_locks(database_url, 2)
        assert str(signing.result(20).welcome.user_id) == ada
        assert running.result(20).status == "completed"
    assert spending(database_url) == [("user", ada, spent(database_url), 0)]


def test_a_conversation_that_begins_meanwhile_comes_along(house: House, database_url: str) -> None:
    phone, laptop = uuid4(), uuid4()
    ada = str(sign_in(house, phone).welcome.user_id)
    first = talk(house, laptop)
    guest = user_of(database_url, laptop)
    second = uuid4()
    begun = f"INSERT INTO conversation_states (id, user_id) VALUES ('{second}', '{guest}')"
    with ThreadPoolExecutor(1) as pool, in_the_way(database_url, begun):
        signing = pool.submit(sign_in, house, laptop)
        wait_for_locks(database_url, 1)
    assert set(signing.result(20).sessions) == {first, second}
    assert owners(database_url) == {first: ada, second: ada}


def test_whoever_speaks_while_they_sign_in_is_answered_and_loses_nothing(
    house: House, database_url: str
) -> None:
    phone = uuid4()
    ada = str(sign_in(house, phone).welcome.user_id)
    for _ in range(8):
        device = uuid4()
        answer(house, arrival(device))
        house.sessions.end_session(DeviceId(device))
        with ThreadPoolExecutor(4) as pool:
            turns = [pool.submit(answer, house, arrival(device, key=f"k{n}")) for n in range(3)]
            signing = pool.submit(sign_in, house, device)
            assert {turn.result(30).status for turn in turns} <= {"completed", "queued", "running"}
            signing.result(30)
        said = run(
            database_url,
            "SELECT count(DISTINCT t.idempotency_key) FROM turns t JOIN conversation_states s ON s.id = t.session_id"
            " JOIN connections c ON c.session_id = s.id WHERE c.device_id = %s",
            str(device),
        )
        assert said == [(3,)]
    assert set(owners(database_url).values()) == {ada}
    assert run(database_url, "SELECT count(*) FROM users") == [(1,)]


def test_many_devices_that_sign_in_as_one_new_person_at_once_make_one_user(
    house: House, database_url: str
) -> None:
    devices = [uuid4() for _ in range(8)]
    sessions = {talk(house, device) for device in devices}
    with ThreadPoolExecutor(8) as pool:
        signed = list(pool.map(lambda device: sign_in(house, device), devices))
    assert len({one.welcome.user_id for one in signed}) == 1
    assert {session for one in signed for session in one.sessions} == sessions
    assert set(owners(database_url)) == sessions
    assert len(set(owners(database_url).values())) == 1


def test_the_holder_of_a_turn_keeps_its_hold(house: House, database_url: str, device: UUID) -> None:
    sign_in(house, uuid4())
    holding = held(house, arrival(device))
    sign_in(house, device)
    ((epoch,),) = run(database_url, "SELECT lease_epoch FROM conversation_states")
    assert epoch == holding.hold.epoch
    assert SessionId(holding.hold.session_id) in owners(database_url)


def test_whoever_refers_to_a_guest_that_is_just_gone_is_to_look_again(
    house: House, database_url: str, device: UUID
) -> None:
    """Not a defect of ours: it was there when they looked."""
    session = talk(house, uuid4())
    talk(house, device)
    guest = user_of(database_url, device)
    let_in = text(
        "INSERT INTO members (session_id, user_id, role) VALUES (:session, :user, 'viewer') RETURNING 1"
    )
    gone = f"DELETE FROM users WHERE id = '{guest}'"
    with ThreadPoolExecutor(1) as pool, in_the_way(database_url, gone):
        waiting = pool.submit(house.database.row, let_in, {"session": session, "user": guest})
        wait_for_locks(database_url, 1)
    with pytest.raises(DatabaseConflict):
        waiting.result()
