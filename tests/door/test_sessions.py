"""A user's sessions: listed, begun, entered."""

import threading
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.access import Caller
from core.house import House
from core.ids import DeviceId, SessionId
from core.store import user_sessions
from functions.shapes import SessionShape
from functions.shapes_sharing import ListedPage
from tests.conversations import idle, in_the_way, losing_replies, wait_for_locks
from tests.databases import run
from tests.door.people import Person, code, stranger


def listed(person: Person, **query: str) -> list[str]:
    answer = person.client.get("/v1/sessions", params=query, headers={"X-Device-ID": str(person.device)})
    assert answer.status_code == 200, answer.text
    ListedPage.model_validate(answer.json())
    return [item["id"] for item in answer.json()["items"]]


def test_a_device_that_nobody_knows_begins_a_conversation_and_is_in_it(
    door: TestClient, database_url: str
) -> None:
    new = stranger(door, database_url)
    answer = new.ask("POST", "/v1/sessions", {"metadata": {"title": "Invoices"}})
    assert answer.status_code == 201
    SessionShape.model_validate(answer.json())
    assert answer.headers["location"] == f"/v1/sessions/{answer.json()['id']}"
    assert (answer.json()["metadata"], answer.json()["role"]) == ({"title": "Invoices"}, "owner")
    assert new.ask("GET", "/v1/session").json()["id"] == answer.json()["id"] == new.current
    assert new.says("Hello").json()["session_id"] == answer.json()["id"]


def test_a_body_is_not_needed(door: TestClient, database_url: str) -> None:
    new = stranger(door, database_url)
    answer = door.post("/v1/sessions", headers={"X-Device-ID": str(new.device)})
    assert (answer.status_code, answer.json()["metadata"]) == (201, {})


def test_the_same_key_gives_the_same_conversation(ada: Person, database_url: str) -> None:
    answers = [ada.ask("POST", "/v1/sessions", {}, Idempotency_Key="k") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert run(database_url, "SELECT count(*) FROM conversation_states") == [(2,)]
    assert (
        ada.ask("POST", "/v1/sessions", {}, Idempotency_Key="other").json()["id"] != answers[0].json()["id"]
    )


def test_a_key_whose_conversation_is_gone_is_told_so_at_once(ada: Person, database_url: str) -> None:
    begun = ada.ask("POST", "/v1/sessions", {}, Idempotency_Key="k").json()["id"]
    idle(database_url, UUID(begun))
    assert code(ada.ask("POST", "/v1/sessions", {}, Idempotency_Key="k")) == (422, "idempotency_key_reused")
    assert ada.ask("POST", "/v1/sessions", {}, Idempotency_Key="another").status_code == 201


@pytest.mark.parametrize("form", ["{0.hex}", "{{{0}}}", "urn:uuid:{0}"])
def test_a_path_names_its_conversation_however_the_id_is_written(ada: Person, form: str) -> None:
    named = ada.current
    ada.begin()
    path = f"/v1/sessions/{form.format(UUID(named))}"
    assert f'"id":"{named}"' in ada.ask("GET", f"{path}/export").text
    assert code(ada.ask("GET", "/v1/sessions/nothing/export")) == (422, "invalid_request")


def test_of_many_beginnings_at_once_with_one_key_there_is_one(door: TestClient, database_url: str) -> None:
    new = stranger(door, database_url)
    answers: list[str] = []

    def begin() -> None:
        answers.append(new.ask("POST", "/v1/sessions", {}, Idempotency_Key="k").json()["id"])

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len(set(answers)) == 1
    assert run(database_url, "SELECT count(*) FROM conversation_states") == [(1,)]
    assert run(database_url, "SELECT count(*) FROM users") == [(1,)]


def test_a_beginning_whose_reply_was_lost_is_one(
    ada: Person, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = losing_replies(monkeypatch, user_sessions._BEGIN)
    begun = ada.begin()
    assert lost
    assert ada.current == begun
    assert run(database_url, "SELECT count(*) FROM conversation_states") == [(2,)]


def test_those_that_are_ones_own_and_those_that_were_shared_are_listed_the_newest_first(
    ada: Person, bob: Person
) -> None:
    first = ada.current
    shared = bob.begin()
    second = ada.begin()
    bob.let_in(ada, shared, "viewer")
    assert listed(ada) == [second, shared, first]
    roles = [item["role"] for item in ada.ask("GET", "/v1/sessions").json()["items"]]
    assert roles == ["owner", "viewer", "owner"]


def test_pages_tell_each_conversation_once_though_others_are_begun_and_ended_meanwhile(ada: Person) -> None:
    everything = [str(ada.current), *(ada.begin(n=number) for number in range(7))][::-1]
    told, cursor = [], None
    for number in range(20):
        page = ada.client.get(
            "/v1/sessions",
            params={"limit": 2, **({"cursor": cursor} if cursor else {})},
            headers={"X-Device-ID": str(ada.device)},
        ).json()
        told += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        ada.begin(late=number)
        if number == 1:
            assert ada.ask("DELETE", f"/v1/sessions/{everything[1]}").status_code == 204
    assert told == everything


def test_pages_are_whole_though_two_were_begun_in_the_same_moment(ada: Person, database_url: str) -> None:
    everything = {str(ada.current), *(ada.begin() for _ in range(4))}
    run(database_url, "UPDATE conversation_states SET created_at = now()")
    told: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = ada.client.get("/v1/sessions", params=query, headers={"X-Device-ID": str(ada.device)}).json()
        told += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert sorted(told) == sorted(everything)


@pytest.mark.parametrize("cursor", ["x", "AAAA", "MjAyNi0wMS0wMQ", "MjAyNi0wMS0wMSB4", "w6TDtsO8"])
def test_a_cursor_that_is_none_is_refused(ada: Person, cursor: str) -> None:
    assert code(ada.ask("GET", f"/v1/sessions?cursor={cursor}")) == (400, "cursor_malformed")


def test_what_is_past_its_time_is_not_listed(ada: Person, database_url: str) -> None:
    ada.begin()
    idle(database_url)
    assert listed(ada) == []


def test_a_device_that_nobody_knows_has_no_conversations(door: TestClient, database_url: str) -> None:
    assert listed(stranger(door, database_url)) == []


def test_the_conversations_of_an_organisation_are_not_listed_to_others(
    ada: Person, bob: Person, database_url: str
) -> None:
    shared = str(bob.current)
    bob.let_in(ada, shared, "editor")
    run(database_url, "UPDATE conversation_states SET org_id = %s WHERE id = %s", str(uuid4()), shared)
    assert shared not in listed(ada)


def test_a_device_enters_what_it_has_a_role_in(ada: Person, bob: Person) -> None:
    before, shared = ada.current, str(bob.current)
    bob.let_in(ada, shared, "editor")
    entered = ada.ask("PUT", "/v1/session", {"session_id": shared})
    assert (entered.status_code, entered.json()["id"], entered.json()["role"]) == (200, shared, "editor")
    assert ada.current == shared
    assert ada.ask("GET", "/v1/session").json()["id"] == shared
    back = ada.ask("PUT", "/v1/session", {"session_id": before})
    assert (back.status_code, ada.current) == (200, before)


def test_a_device_does_not_enter_what_is_not_there_for_it(
    ada: Person, bob: Person, database_url: str
) -> None:
    before = ada.current
    link = bob.link(str(bob.current), "editor")["link"]
    for answer in (
        ada.ask("PUT", "/v1/session", {"session_id": str(uuid4())}),
        ada.ask("PUT", "/v1/session", {"session_id": str(bob.current)}),
        ada.ask("PUT", "/v1/session", {"session_id": str(bob.current)}, X_Share_Link=link),
    ):
        assert code(answer) == (404, "session_not_found")
    gone = ada.begin()
    ada.ask("PUT", "/v1/session", {"session_id": before})
    idle(database_url, SessionId(UUID(gone)))
    assert code(ada.ask("PUT", "/v1/session", {"session_id": gone})) == (404, "session_not_found")
    assert ada.current == before


@pytest.mark.parametrize("body", [{}, {"session_id": 7}, {"session_id": "x"}, {"session_id": None}, []])
def test_what_names_no_conversation_is_refused(ada: Person, body: object) -> None:
    assert code(ada.ask("PUT", "/v1/session", body)) == (422, "invalid_request")


def test_a_conversation_that_ends_at_that_moment_is_not_entered(
    ada: Person, house: House, database_url: str
) -> None:
    target = str(ada.current)
    before = ada.begin()
    caller = Caller(DeviceId(ada.device), session_id=SessionId(UUID(target)))
    found: list[object] = []
    with in_the_way(database_url, f"DELETE FROM conversation_states WHERE id = '{target}'"):
        entering = threading.Thread(target=lambda: found.append(user_sessions.enter(house.database, caller)))
        entering.start()
        wait_for_locks(database_url, 1)
    entering.join()
    assert found == [True], "it looks again"
    assert user_sessions.enter(house.database, caller) is False
    assert ada.current == before


def test_two_that_move_one_device_come_one_after_the_other(
    ada: Person, house: House, database_url: str
) -> None:
    first = str(ada.current)
    second = ada.begin()
    ada.begin()
    answers: list[int] = []

    def enter(session_id: str) -> None:
        answers.append(ada.ask("PUT", "/v1/session", {"session_id": session_id}).status_code)

    threads = [threading.Thread(target=enter, args=(id_,)) for id_ in [first, second] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert ada.current in {first, second}


def test_a_named_conversation_is_shown_locked_read_and_ended_by_its_name(ada: Person) -> None:
    named = f"/v1/sessions/{ada.current}"
    ada.says("Hello")
    ada.begin()
    assert ada.ask("GET", named).json()["state"]["sequence"] == 2
    assert len(ada.ask("GET", f"{named}/messages").json()["items"]) == 2
    assert ada.ask("GET", f"{named}/todos").json() == {"items": []}
    locked = ada.ask("PUT", f"{named}/lock", {"agent": "billing"})
    assert (locked.status_code, locked.json()["active_agent"]) == (200, "billing")
    assert ada.ask("GET", "/v1/session").json()["active_agent"] is None
    assert [note["action"] for note in ada.ask("GET", f"{named}/audit").json()["items"]] == ["lock_set"]
    assert ada.ask("DELETE", named).status_code == 204
    assert code(ada.ask("GET", named)) == (404, "session_not_found")
    assert ada.ask("GET", "/v1/session").status_code == 200


@pytest.mark.parametrize("part", ["", "/messages", "/todos", "/audit", "/members", "/links"])
def test_a_name_that_is_no_id_is_no_path(ada: Person, part: str) -> None:
    assert code(ada.ask("GET", f"/v1/sessions/x{part}")) == (404, "not_found")


@pytest.mark.parametrize("part", ["", "/messages", "/todos", "/audit", "/members", "/links"])
def test_what_is_not_yours_is_not_there(ada: Person, bob: Person, part: str) -> None:
    theirs = ada.ask("GET", f"/v1/sessions/{bob.current}{part}")
    nobodys = ada.ask("GET", f"/v1/sessions/{uuid4()}{part}")
    bodies = [{**answer.json(), "request_id": ""} for answer in (theirs, nobodys)]
    assert bodies[0] == bodies[1]
    assert code(theirs) == (404, "session_not_found")
