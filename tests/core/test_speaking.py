"""Who may speak where: the claim for callers with tokens, members, links, and conversations that they name."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from core.access import Caller
from core.deadline import Deadline
from core.errors import DeviceBarred, IdempotencyKeyReused, RoleTooSmall, SessionNotFound
from core.house import House
from core.ids import DeviceId, SessionId
from core.store.claims import Arrival
from core.store.database import Database
from tests.conversations import (
    answer,
    arrival,
    conversations,
    everything,
    held,
    idle,
    in_the_way,
    wait_for_locks,
)
from tests.databases import run
from tests.guests import enter, holder, known, let_in, link, put_out, sign_out, user_of

PLACE = "SELECT session_id::text FROM connections WHERE device_id = %s"
SENT_BY = "SELECT sent_by::text FROM turns ORDER BY seq DESC LIMIT 1"


@pytest.fixture
def talk(house: House, device: UUID) -> UUID:
    session = answer(house, arrival(device)).session_id
    assert session is not None
    return session


def said(device: UUID, session: UUID | None = None, text: str = "Hello", key: str | None = None) -> Arrival:
    who = Caller(DeviceId(device), session_id=None if session is None else SessionId(session))
    return replace(arrival(device, text, key), caller=who)


def by_link(device: UUID, session: UUID, secret: str) -> Arrival:
    return replace(arrival(device), caller=holder(device, session, secret))


@pytest.mark.parametrize("how", ["signed out", "an old token", "another's", "not known"])
@pytest.mark.parametrize("names_it", [True, False])
def test_whoever_is_barred_says_nothing_and_begins_nothing(
    house: House, database_url: str, device: UUID, talk: UUID, how: str, names_it: bool
) -> None:
    who = Caller(DeviceId(device), token_version=0)
    if how == "signed out":
        sign_out(database_url, device)
        who = replace(who, token_version=1)
    if how == "an old token":
        run(database_url, "UPDATE connections SET token_version = 1")
    if how == "another's":
        who = replace(who, subject="somebody else")
    if how == "not known":
        who = replace(who, device_id=DeviceId(uuid4()))
    if names_it:
        who = who.about(SessionId(talk))
    before = everything(database_url)
    with pytest.raises(DeviceBarred):
        answer(house, replace(arrival(who.device_id), caller=who))
    assert everything(database_url) == before


def test_a_device_that_was_signed_out_is_not_heard_without_its_token_either(
    house: House, database_url: str, device: UUID, talk: UUID
) -> None:
    sign_out(database_url, device)
    before = everything(database_url)
    for arrived in (arrival(device), said(device)):
        with pytest.raises(DeviceBarred):
            answer(house, arrived)
    assert everything(database_url) == before


def test_a_token_of_the_right_version_and_person_is_heard(
    house: House, database_url: str, device: UUID, talk: UUID
) -> None:
    run(database_url, "UPDATE connections SET token_version = 2")
    run(database_url, "UPDATE users SET subject = 'me'")
    who = Caller(DeviceId(device), token_version=2, subject="me")
    assert answer(house, replace(arrival(device), caller=who)).session_id == talk


@pytest.mark.parametrize("role", ["owner", "editor"])
def test_who_may_speak_there_speaks_there_and_stays_where_they_are(
    house: House, database_url: str, talk: UUID, role: str
) -> None:
    member = let_in(database_url, talk, role)
    own = answer(house, arrival(member)).session_id
    turn = answer(house, said(member, talk, key="k"))
    assert (turn.session_id, turn.status) == (talk, "completed")
    sent_by = "SELECT sent_by::text FROM turns WHERE session_id = %s ORDER BY seq"
    assert run(database_url, sent_by, str(talk)) == [(None,), (str(user_of(database_url, member)),)]
    assert run(database_url, PLACE, str(member)) == [(str(own),)]
    again = answer(house, said(member, talk, key="k"))
    assert again.id == turn.id, "a retry finds it there"
    with pytest.raises(IdempotencyKeyReused):
        answer(house, said(member, talk, "Something else", key="k"))
    assert answer(house, arrival(member)).session_id == own


@pytest.mark.parametrize("names_it", [True, False])
def test_a_viewer_says_nothing(house: House, database_url: str, talk: UUID, names_it: bool) -> None:
    member = let_in(database_url, talk, "viewer")
    enter(database_url, talk, member)
    before = everything(database_url)
    with pytest.raises(RoleTooSmall):
        answer(house, said(member, talk if names_it else None))
    assert everything(database_url) == before


@pytest.mark.parametrize("why", ["not theirs", "not there", "past its time", "a part of another", "put out"])
def test_what_is_not_there_for_them_is_not_spoken_in_and_nothing_begins(
    house: House, database_url: str, device: UUID, talk: UUID, why: str
) -> None:
    member = let_in(database_url, talk, "editor")
    own = answer(house, arrival(member)).session_id
    asks = known(database_url) if why == "not theirs" else member
    if why == "past its time":
        idle(database_url, talk)
    if why == "a part of another":
        run(
            database_url, "UPDATE conversation_states SET merged_into = %s WHERE id = %s", str(own), str(talk)
        )
    if why == "put out":
        put_out(database_url, talk, member)
    named = uuid4() if why == "not there" else talk
    before = everything(database_url)
    with pytest.raises(SessionNotFound):
        answer(house, said(asks, named))
    assert everything(database_url) == before
    if why == "past its time":
        with pytest.raises(SessionNotFound):
            answer(house, said(device, talk))


def test_who_was_put_out_of_where_they_are_begins_anew_and_leaves_it_as_it_is(
    house: House, database_url: str, device: UUID, talk: UUID
) -> None:
    member = let_in(database_url, talk, "editor")
    enter(database_url, talk, member)
    assert answer(house, arrival(member)).session_id == talk
    put_out(database_url, talk, member)
    theirs = "SELECT s FROM conversation_states s WHERE id = %s"
    before = run(database_url, theirs, str(talk))
    turn = answer(house, arrival(member))
    assert turn.session_id != talk
    assert run(database_url, theirs, str(talk)) == before
    assert run(database_url, PLACE, str(member)) == [(str(turn.session_id),)]
    assert run(database_url, PLACE, str(device)) == [(str(talk),)]


def test_where_a_members_device_is_when_its_time_is_over_they_begin_one_of_their_own(
    house: House, database_url: str, talk: UUID
) -> None:
    member = let_in(database_url, talk, "editor")
    enter(database_url, talk, member)
    idle(database_url, talk)
    turn = answer(house, arrival(member))
    assert turn.session_id != talk
    owner = "SELECT user_id::text FROM conversation_states WHERE id = %s"
    assert run(database_url, owner, str(turn.session_id)) == [(str(user_of(database_url, member)),)]


def test_who_is_put_out_while_they_stand_in_line_says_nothing(
    house: House, database_url: str, talk: UUID
) -> None:
    member = let_in(database_url, talk, "editor")
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "UPDATE conversation_states SET version = version + 1") as also:
            speaking = pool.submit(answer, house, said(member, talk))
            wait_for_locks(database_url, 1)
            also("DELETE FROM members")
        with pytest.raises(SessionNotFound):
            speaking.result(20)
    assert run(database_url, "SELECT count(*) FROM turns") == [(1,)]


def test_whose_device_is_signed_out_while_it_begins_anew_begins_nothing(
    house: House, database_url: str, device: UUID, talk: UUID
) -> None:
    idle(database_url, talk)
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "UPDATE connections SET revoked_at = now()"):
            speaking = pool.submit(answer, house, arrival(device))
            wait_for_locks(database_url, 1)
        with pytest.raises(DeviceBarred):
            speaking.result(20)
    assert conversations(database_url) == [talk]


def test_what_waits_says_who_sent_it(house: House, database_url: str, device: UUID, talk: UUID) -> None:
    member = let_in(database_url, talk, "editor")
    held(house, arrival(device))
    waiting = house.turns.reception.accept(said(member, talk), Deadline.after(5))
    assert waiting.holding is None
    assert run(database_url, SENT_BY) == [(str(user_of(database_url, member)),)]
    house.turns.reception.accept(arrival(device), Deadline.after(5))
    assert run(database_url, SENT_BY) == [(None,)]


def test_whose_device_is_signed_out_before_it_is_put_in_line_is_not_put_there(
    house: House, database_url: str, device: UUID, talk: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(house, arrival(device))
    real = Database.row

    def once_more(self: Database, statement: object, given: object) -> object:
        row = real(self, statement, given)  # type: ignore[arg-type]  # as it was called
        if row is not None and "ahead" in row:
            run(database_url, "UPDATE connections SET revoked_at = now()")
        return row

    monkeypatch.setattr(Database, "row", once_more)
    before = run(database_url, "SELECT count(*) FROM turns")
    with pytest.raises(DeviceBarred):
        house.turns.reception.accept(arrival(device), Deadline.after(5))
    assert run(database_url, "SELECT count(*) FROM turns") == before


# ---- links


@pytest.mark.parametrize("is_known", [True, False])
def test_who_comes_by_an_editors_link_speaks_and_stays_where_they_are(
    house: House, database_url: str, talk: UUID, is_known: bool
) -> None:
    guest = known(database_url) if is_known else uuid4()
    turn = answer(house, by_link(guest, talk, link(database_url, talk, "editor")))
    assert (turn.session_id, turn.status) == (talk, "completed")
    assert run(database_url, SENT_BY) == [(str(user_of(database_url, guest)),)]
    assert run(database_url, PLACE, str(guest)) == [(None,)]


@pytest.mark.parametrize("which", ["viewer", "expired", "revoked", "of another conversation", "made up"])
@pytest.mark.parametrize("is_known", [True, False])
def test_no_other_link_lets_anybody_speak(
    house: House, database_url: str, talk: UUID, which: str, is_known: bool
) -> None:
    other = answer(house, arrival(uuid4())).session_id
    assert other is not None
    secrets = {
        "viewer": link(database_url, talk, "viewer"),
        "expired": link(database_url, talk, "editor", ttl=timedelta(seconds=-1)),
        "revoked": link(database_url, talk, "editor", is_revoked=True),
        "of another conversation": link(database_url, other, "editor"),
        "made up": f"{talk}.{'x' * 43}",
    }
    guest = known(database_url) if is_known else uuid4()
    before = everything(database_url)
    with pytest.raises(RoleTooSmall if which == "viewer" else SessionNotFound):
        answer(house, by_link(guest, talk, secrets[which]))
    assert everything(database_url) == before


def test_many_at_once_from_one_new_device_by_a_link_are_one_person(
    house: House, database_url: str, talk: UUID
) -> None:
    guest, secret = uuid4(), link(database_url, talk, "editor")
    users = run(database_url, "SELECT count(*) FROM users")[0][0]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: house.turns.answer(by_link(guest, talk, secret), 20), range(4)))
    assert run(database_url, "SELECT count(*) FROM users") == [(users + 1,)]
    assert run(
        database_url, "SELECT count(DISTINCT sent_by), count(*) FROM turns WHERE sent_by IS NOT NULL"
    ) == [(1, 4)]
