"""Members and links: who is let in, who is put out, and what is written on their behalf after."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.access import Caller
from core.house import House
from core.ids import DeviceId, SessionId, UserId
from core.store import members, visitors
from core.store.links import MOST as MOST_LINKS
from core.store.members import MOST as MOST_MEMBERS
from functions.shapes_sharing import LinksShape, MembersShape, NewLinkShape
from tests.conversations import row_held, wait_for_locks
from tests.databases import run
from tests.door.people import Person, code, stranger


@pytest.fixture
def named(ada: Person) -> str:
    return f"/v1/sessions/{ada.current}"


def roles(person: Person, named: str) -> dict[str, str]:
    answer = person.ask("GET", f"{named}/members")
    assert answer.status_code == 200, answer.text
    MembersShape.model_validate(answer.json())
    return {item["user_id"]: item["role"] for item in answer.json()["items"]}


def test_somebody_is_let_in_changed_and_put_out(ada: Person, bob: Person, named: str) -> None:
    ada.let_in(bob, named[-36:], "viewer")
    assert bob.ask("GET", named).json()["role"] == "viewer"
    assert code(bob.says("Hello", named[-36:])) == (403, "role_too_small")
    ada.let_in(bob, named[-36:], "editor")
    assert bob.says("Hello", named[-36:]).status_code == 200
    assert roles(bob, named) == {ada.user_id: "owner", bob.user_id: "editor"}
    assert ada.ask("DELETE", f"{named}/members/{bob.user_id}").status_code == 204
    assert code(bob.ask("GET", named)) == (404, "session_not_found")
    assert code(bob.says("Hello", named[-36:])) == (404, "session_not_found")
    actions = [note["action"] for note in ada.ask("GET", f"{named}/audit").json()["items"]]
    assert actions == ["member_added", "member_changed", "member_removed"]


def test_their_devices_leave_it_and_begin_anew(ada: Person, bob: Person, named: str) -> None:
    ada.let_in(bob, named[-36:], "editor")
    assert bob.ask("PUT", "/v1/session", {"session_id": named[-36:]}).status_code == 200
    assert bob.ask("GET", "/v1/session").json()["id"] == named[-36:]
    ada.ask("DELETE", f"{named}/members/{bob.user_id}")
    assert bob.current is None
    assert code(bob.ask("GET", "/v1/session")) == (404, "session_not_found")
    assert bob.says("Hello").json()["session_id"] != named[-36:]


def test_whoever_is_in_it_may_leave(ada: Person, bob: Person, named: str) -> None:
    ada.let_in(bob, named[-36:], "viewer")
    assert bob.ask("DELETE", f"{named}/members/{bob.user_id}").status_code == 204
    assert roles(ada, named) == {ada.user_id: "owner"}


def test_letting_in_and_putting_out_take_an_owner(
    ada: Person, bob: Person, person: Callable[[], Person], named: str
) -> None:
    third = person()
    ada.let_in(third, named[-36:], "viewer")
    ada.let_in(bob, named[-36:], "editor")
    place = f"{named}/members/{third.user_id}"
    assert code(bob.ask("PUT", place, {"role": "editor"})) == (403, "role_too_small")
    assert code(bob.ask("DELETE", place)) == (403, "role_too_small")
    assert code(bob.ask("POST", f"{named}/links", {"role": "viewer"})) == (403, "role_too_small")
    assert code(bob.ask("GET", f"{named}/links")) == (403, "role_too_small")
    ada.let_in(bob, named[-36:], "owner")
    assert bob.ask("DELETE", place).status_code == 204


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_nobody_changes_the_owner(ada: Person, bob: Person, named: str, method: str) -> None:
    body = {"role": "viewer"} if method == "PUT" else None
    ada.let_in(bob, named[-36:], "owner")
    for one in (ada, bob):
        assert code(one.ask(method, f"{named}/members/{ada.user_id}", body)) == (409, "owner_stays")
    assert roles(ada, named)[ada.user_id] == "owner"


def test_who_is_not_there_or_of_another_organisation_cannot_be_let_in(
    ada: Person, bob: Person, named: str, database_url: str
) -> None:
    nobody = ada.ask("PUT", f"{named}/members/{uuid4()}", {"role": "viewer"})
    org = str(uuid4())
    run(database_url, "UPDATE users SET org_id = %s WHERE id = %s", org, ada.user_id)
    run(database_url, "UPDATE conversation_states SET org_id = %s WHERE id = %s", org, named[-36:])
    other = ada.ask("PUT", f"{named}/members/{bob.user_id}", {"role": "viewer"})
    assert code(nobody) == code(other) == (404, "user_not_found")
    assert {**nobody.json(), "request_id": ""} == {**other.json(), "request_id": ""}
    run(database_url, "UPDATE users SET org_id = %s WHERE id = %s", org, bob.user_id)
    assert ada.ask("PUT", f"{named}/members/{bob.user_id}", {"role": "viewer"}).status_code == 200


def test_the_list_is_changed_only_as_it_was_seen(
    ada: Person, bob: Person, person: Callable[[], Person], named: str
) -> None:
    seen = ada.ask("GET", f"{named}/members").headers["etag"]
    ada.let_in(bob, named[-36:], "editor")
    place = f"{named}/members/{person().user_id}"
    assert code(ada.ask("PUT", place, {"role": "viewer"}, If_Match=seen)) == (412, "not_as_seen")
    assert code(ada.ask("DELETE", f"{named}/members/{bob.user_id}", If_Match=seen)) == (412, "not_as_seen")
    now = ada.ask("GET", f"{named}/members").headers["etag"]
    assert ada.ask("PUT", place, {"role": "viewer"}, If_Match=now).status_code == 200


def test_the_same_again_changes_and_notes_nothing(ada: Person, bob: Person, named: str) -> None:
    for _ in range(3):
        ada.let_in(bob, named[-36:], "editor")
    for _ in range(3):
        assert ada.ask("DELETE", f"{named}/members/{bob.user_id}").status_code == 204
    assert len(ada.ask("GET", f"{named}/audit").json()["items"]) == 2


def test_there_are_no_more_members_than_there_may_be_though_two_are_added_at_once(
    ada: Person, bob: Person, person: Callable[[], Person], named: str, database_url: str
) -> None:
    third = person()
    run(
        database_url,
        "WITH new AS (INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, %s) RETURNING id) "
        "INSERT INTO members (session_id, user_id, role) SELECT %s, id, 'viewer' FROM new",
        MOST_MEMBERS - 1,
        named[-36:],
    )
    answers: list[Any] = []

    def add(who: str) -> None:
        answers.append(ada.ask("PUT", f"{named}/members/{who}", {"role": "viewer"}))

    with row_held(database_url):
        threads = [threading.Thread(target=add, args=(one.user_id,)) for one in (bob, third)]
        for thread in threads:
            thread.start()
        wait_for_locks(database_url, 2)
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert {answer.json().get("code") for answer in answers} == {None, "too_many_members"}


def test_a_device_that_enters_while_its_user_is_put_out_is_not_in_it(
    ada: Person, bob: Person, named: str, house: House
) -> None:
    """What is put out was read before the device entered: it is not written, and looked at again."""
    ada.let_in(bob, named[-36:], "editor")
    visit = visitors.find(
        house.database, Caller(DeviceId(ada.device), session_id=SessionId(UUID(named[-36:])))
    )
    assert visit is not None
    assert bob.ask("PUT", "/v1/session", {"session_id": named[-36:]}).status_code == 200
    assert members.put_out(house.database, visit, UserId(UUID(bob.user_id))) is True
    assert bob.current == named[-36:]


def test_a_link_is_told_once_and_kept_as_a_digest(ada: Person, named: str, database_url: str) -> None:
    made = ada.link(named[-36:], "editor")
    NewLinkShape.model_validate(made)
    listed = ada.ask("GET", f"{named}/links")
    LinksShape.model_validate(listed.json())
    secret = made["link"].partition(".")[2]
    assert len(secret) == 43
    assert secret not in listed.text
    ((row,),) = run(database_url, "SELECT l::text FROM share_links l")
    assert secret not in row
    ((ttl,),) = run(database_url, "SELECT expires_at - created_at FROM share_links")
    assert ttl == timedelta(days=7)


def test_by_a_link_one_reads_and_with_an_editors_one_speaks(ada: Person, bob: Person, named: str) -> None:
    viewer, editor = (ada.link(named[-36:], role)["link"] for role in ("viewer", "editor"))
    assert bob.ask("GET", named, X_Share_Link=viewer).json()["role"] == "viewer"
    assert code(bob.ask("PATCH", named, {"metadata": {"a": 1}}, X_Share_Link=viewer)) == (
        403,
        "role_too_small",
    )
    assert bob.ask("PATCH", named, {"metadata": {"a": 1}}, X_Share_Link=editor).status_code == 200
    assert code(bob.ask("GET", named)) == (404, "session_not_found")


@pytest.mark.parametrize("how", ["revoked", "expired", "wrong"])
def test_a_link_that_is_good_no_more_is_as_none(
    ada: Person, bob: Person, named: str, database_url: str, how: str
) -> None:
    made = ada.link(named[-36:], "editor")
    link = made["link"]
    if how == "revoked":
        for _ in range(2):
            assert ada.ask("DELETE", f"{named}/links/{made['id']}").status_code == 204
    elif how == "expired":
        run(database_url, "UPDATE share_links SET expires_at = now()")
    else:
        link = link[:-4] + ("AAAA" if link[-4:] != "AAAA" else "BBBB")
    assert code(bob.ask("GET", named, X_Share_Link=link)) == (404, "session_not_found")
    assert code(bob.ask("POST", "/v1/links/join", {"link": link})) == (404, "session_not_found")
    listed = ada.ask("GET", f"{named}/links").json()["items"]
    assert len(listed) == (how == "wrong")


def test_who_reads_by_a_link_when_it_is_taken_back_writes_nothing_after(
    ada: Person, bob: Person, named: str, database_url: str
) -> None:
    made = ada.link(named[-36:], "editor")
    answers: list[Any] = []
    with row_held(database_url):
        revoking = threading.Thread(target=ada.ask, args=("DELETE", f"{named}/links/{made['id']}"))
        revoking.start()
        wait_for_locks(database_url, 1)
        editing = threading.Thread(
            target=lambda: answers.append(
                bob.ask("PATCH", named, {"metadata": {"a": 1}}, X_Share_Link=made["link"])
            )
        )
        editing.start()
        wait_for_locks(database_url, 2)
    revoking.join()
    editing.join()
    kept = ada.ask("GET", named).json()["metadata"]
    assert kept == ({"a": 1} if answers[0].status_code == 200 else {})
    notes = [note["action"] for note in ada.ask("GET", f"{named}/audit").json()["items"]]
    assert notes in (["link_made", "metadata_changed", "link_revoked"], ["link_made", "link_revoked"])


def test_whoever_joins_is_a_member_and_may_enter(
    ada: Person, door: TestClient, named: str, database_url: str
) -> None:
    new = stranger(door, database_url)
    link = ada.link(named[-36:], "editor")["link"]
    joined = new.ask("POST", "/v1/links/join", {"link": link})
    assert (joined.status_code, joined.json()["id"], joined.json()["role"]) == (200, named[-36:], "editor")
    assert new.current is None
    assert new.ask("PUT", "/v1/session", {"session_id": named[-36:]}).status_code == 200
    assert roles(ada, named) == {ada.user_id: "owner", new.user_id: "editor"}


def test_nobody_becomes_less_by_joining(ada: Person, bob: Person, named: str) -> None:
    ada.let_in(bob, named[-36:], "editor")
    link = ada.link(named[-36:], "viewer")["link"]
    assert bob.ask("POST", "/v1/links/join", {"link": link}).json()["role"] == "editor"
    assert ada.ask("POST", "/v1/links/join", {"link": link}).json()["role"] == "owner"
    more = ada.link(named[-36:], "editor")["link"]
    ada.let_in(bob, named[-36:], "viewer")
    assert bob.ask("POST", "/v1/links/join", {"link": more}).json()["role"] == "editor"


def test_who_has_joined_stays_when_the_link_is_taken_back(ada: Person, bob: Person, named: str) -> None:
    made = ada.link(named[-36:])
    bob.ask("POST", "/v1/links/join", {"link": made["link"]})
    ada.ask("DELETE", f"{named}/links/{made['id']}")
    assert bob.ask("GET", named).status_code == 200


def test_there_are_no_more_links_than_there_may_be(ada: Person, named: str, database_url: str) -> None:
    run(
        database_url,
        "INSERT INTO share_links (session_id, id, digest, role, expires_at) "
        "SELECT %s, gen_random_uuid(), n::text, 'viewer', now() + interval '1 day' FROM generate_series(1, %s) n",
        named[-36:],
        MOST_LINKS,
    )
    assert code(ada.ask("POST", f"{named}/links", {"role": "viewer"})) == (409, "too_many_links")
    run(database_url, "UPDATE share_links SET revoked_at = now() WHERE digest = '1'")
    assert ada.ask("POST", f"{named}/links", {"role": "viewer"}).status_code == 201
    assert run(database_url, "SELECT count(*) FROM share_links") == [(MOST_LINKS,)]


def test_a_link_that_is_none_of_the_conversation_is_not_there(ada: Person, bob: Person, named: str) -> None:
    made = bob.link(str(bob.current))
    assert code(ada.ask("DELETE", f"{named}/links/{made['id']}")) == (404, "link_not_found")
    assert bob.ask("GET", f"/v1/sessions/{bob.current}/links").json()["items"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("links", {}, "role"),
        ("links", {"role": "owner"}, "role"),
        ("links", {"role": "viewer", "ttl_s": 59}, "ttl_s"),
        ("links", {"role": "viewer", "ttl_s": 31_536_001}, "ttl_s"),
        ("links", {"role": "viewer", "ttl_s": True}, "ttl_s"),
        ("links", {"role": "viewer", "more": 1}, "more"),
        ("join", {"link": "x"}, "link"),
        ("join", {"link": None}, "link"),
        ("member", {"role": "king"}, "role"),
        ("member", {"role": None}, "role"),
        ("member", {"role": ["owner"]}, "role"),
    ],
)
def test_what_is_no_role_or_link_is_refused(
    ada: Person, named: str, path: str, body: Any, field: str
) -> None:
    where = {
        "links": ("POST", f"{named}/links"),
        "join": ("POST", "/v1/links/join"),
        "member": ("PUT", f"{named}/members/{uuid4()}"),
    }
    answer = ada.ask(*where[path], body)
    assert code(answer) == (422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
