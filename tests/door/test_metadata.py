"""Metadata and the lock, where two people edit at once."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.editing import MOST_BYTES, checked, merged
from core.errors import InvalidRequest
from core.house import House
from functions.shapes import SessionShape
from tests.conversations import row_held, wait_for_locks
from tests.databases import run
from tests.door.people import Person, code

PATH = "/v1/session"


def edit(person: Person, part: Any, path: str = PATH, **headers: str) -> Any:
    return person.ask("PATCH", path, {"metadata": part}, **headers)


def test_what_a_part_names_is_set_and_what_it_names_as_null_is_taken_away(ada: Person) -> None:
    edit(ada, {"title": "Invoices", "tags": {"a": 1, "b": 2}})
    answer = edit(ada, {"title": None, "tags": {"b": None, "c": [None, 3]}})
    assert answer.status_code == 200
    SessionShape.model_validate(answer.json())
    assert answer.json()["metadata"] == {"tags": {"a": 1, "c": [None, 3]}}
    assert ada.ask("GET", PATH).json()["metadata"] == answer.json()["metadata"]
    assert ada.ask("GET", PATH).headers["etag"] == answer.headers["etag"]


def test_a_true_takes_the_place_of_a_one(ada: Person) -> None:
    edit(ada, {"a": 1, "b": 0, "c": [1]})
    assert json.dumps(edit(ada, {"a": True, "b": False, "c": [True]}).json()["metadata"]) == json.dumps(
        {"a": True, "b": False, "c": [True]}
    )


# The examples of RFC 7386 whose both sides are objects.
@pytest.mark.parametrize(
    ("whole", "part", "after"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_parts_are_merged_as_the_standard_has_it(whole: Any, part: Any, after: Any) -> None:
    assert merged(whole, part) == after


@pytest.mark.parametrize(
    "part",
    [
        None,
        "x",
        [],
        {"a": "\0"},
        {"a\0": 1},
        {"k" * 101: 1},
        {"a": "x" * MOST_BYTES},
        {"a": 2**60},
        json.loads('{"a":' * 40 + "1" + "}" * 40),
    ],
)
def test_what_cannot_be_metadata_is_refused(ada: Person, part: Any) -> None:
    assert code(edit(ada, part)) == (422, "invalid_request")
    assert ada.ask("GET", PATH).json()["metadata"] == {}


@pytest.mark.parametrize(
    "body", [b'{"metadata": {"a": "\\ud800"}}', b'{"metadata": {"a": 1e999}}', b'{"metadata": {}, "x": 1}']
)
def test_what_json_can_say_and_postgres_cannot_keep_is_refused(ada: Person, body: bytes) -> None:
    answer = ada.client.patch(PATH, content=body, headers={"X-Device-ID": str(ada.device)})
    assert code(answer) == (422, "invalid_request")


def test_metadata_does_not_grow_past_its_size_by_parts(ada: Person) -> None:
    half = "x" * (MOST_BYTES // 2)
    assert edit(ada, {"a": half}).status_code == 200
    assert code(edit(ada, {"b": half})) == (422, "invalid_request")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=5), _JSON, max_size=4))
def test_whatever_is_let_through_is_merged_and_can_be_sent_again(given_: dict[str, Any]) -> None:
    try:
        part = checked(given_)
    except InvalidRequest:
        return
    once = merged({}, part)
    assert merged(once, part) == once


def test_an_edit_of_what_was_edited_since_is_refused(ada: Person) -> None:
    seen = ada.ask("GET", PATH).headers["etag"]
    assert edit(ada, {"n": 1}, If_Match=seen).status_code == 200
    assert code(edit(ada, {"n": 2}, If_Match=seen)) == (412, "not_as_seen")
    assert edit(ada, {"n": 3}, If_Match=f'"other", {ada.ask("GET", PATH).headers["etag"]}').status_code == 200
    assert edit(ada, {"n": 4}, If_Match="*").status_code == 200
    weak = f"W/{ada.ask('GET', PATH).headers['etag']}"
    assert code(edit(ada, {"n": 5}, If_Match=weak)) == (412, "not_as_seen")
    assert code(edit(ada, {"n": 5}, If_Match="abc")) == (400, "if_match_malformed")
    assert ada.ask("GET", PATH).json()["metadata"] == {"n": 4}


def test_a_turn_does_not_change_what_was_seen(ada: Person) -> None:
    seen = ada.ask("GET", PATH).headers["etag"]
    ada.says("Hello")
    assert edit(ada, {"n": 1}, If_Match=seen).status_code == 200


def test_of_many_who_saw_the_same_one_edits(ada: Person, database_url: str) -> None:
    seen = ada.ask("GET", PATH).headers["etag"]
    statuses: list[int] = []

    def one(number: int) -> None:
        statuses.append(edit(ada, {"n": number}, If_Match=seen).status_code)

    with row_held(database_url):
        threads = [threading.Thread(target=one, args=(number,)) for number in range(1, 5)]
        for thread in threads:
            thread.start()
        wait_for_locks(database_url, 4)
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 412, 412, 412]


def test_parts_that_are_sent_at_once_are_all_there(ada: Person) -> None:
    threads = [threading.Thread(target=edit, args=(ada, {f"k{n}": n})) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ada.ask("GET", PATH).json()["metadata"] == {f"k{n}": n for n in range(8)}


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_lock_is_changed_only_as_it_was_seen(ada: Person, method: str) -> None:
    body = {"agent": "scheduling"} if method == "PUT" else None
    path = f"{PATH}/lock"
    seen = ada.ask("GET", PATH).headers["etag"]
    ada.ask("PUT", path, {"agent": "billing"})
    assert code(ada.ask(method, path, body, If_Match=seen)) == (412, "not_as_seen")
    assert ada.ask("GET", PATH).json()["active_agent"] == "billing"
    now = ada.ask("GET", PATH).headers["etag"]
    answer = ada.ask(method, path, body, If_Match=now)
    assert answer.status_code == 200
    assert answer.headers["etag"] != now


def test_editing_takes_an_editor(ada: Person, bob: Person, database_url: str) -> None:
    named = f"/v1/sessions/{ada.current}"
    assert code(edit(bob, {"a": 1}, named)) == (404, "session_not_found")
    ada.let_in(bob, str(ada.current), "viewer")
    assert code(edit(bob, {"a": 1}, named)) == (403, "role_too_small")
    ada.let_in(bob, str(ada.current), "editor")
    assert edit(bob, {"a": 1}, named).status_code == 200
    who = run(database_url, "SELECT user_id::text FROM audit_log WHERE action = 'metadata_changed'")
    assert who == [(bob.user_id,)]


def test_whoever_is_put_out_while_they_edit_edits_nothing(
    ada: Person, bob: Person, house: House, database_url: str, person: Callable[[], Person]
) -> None:
    """What they read was read as an editor; it would be written after they were put out."""
    named = f"/v1/sessions/{ada.current}"
    ada.let_in(bob, str(ada.current), "editor")
    answers: list[Any] = []
    with row_held(database_url):
        out = threading.Thread(target=ada.ask, args=("DELETE", f"{named}/members/{bob.user_id}"))
        out.start()
        wait_for_locks(database_url, 1)
        editing = threading.Thread(target=lambda: answers.append(edit(bob, {"a": 1}, named)))
        editing.start()
        wait_for_locks(database_url, 2)
    out.join()
    editing.join()
    after = ada.ask("GET", named).json()["metadata"]
    if answers[0].status_code == 200:
        # Postgres let the edit through first: then putting out came after it.
        assert after == {"a": 1}
    else:
        assert (code(answers[0]), after) == ((404, "session_not_found"), {})
    assert code(edit(bob, {"b": 1}, named)) == (404, "session_not_found")
