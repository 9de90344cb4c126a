"""Forks, rewinds, merges and their undoing, by HTTP: who may, what is answered, and what a lost reply comes to."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.house import House, build_house
from core.settings import Settings
from dev.demo_model import DemoModel, Reply
from tests.agents import Workshop, call
from tests.conversations import everything, refusals, sent
from tests.databases import run


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster(thinking=True))
    yield built
    built.close()
    assert refusals(model) == []


def say(client: TestClient, text: str = "Hello", **headers: str) -> dict[str, Any]:
    turn: dict[str, Any] = client.post("/v1/turns", json={"message": text}, headers=headers).json()
    assert turn["status"] == "completed", turn
    return turn


def second(client: TestClient, url: str) -> dict[str, str]:
    """Another device of the same user, in no conversation yet."""
    device = uuid4()
    run(
        url,
        "INSERT INTO connections (device_id, user_id) SELECT %s, user_id FROM connections LIMIT 1",
        str(device),
    )
    return {"X-Device-ID": str(device)}


def is_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    problem: dict[str, Any] = response.json()
    assert problem["code"] == code
    return problem


def post(client: TestClient, session: str, what: str, body: Any = None, **headers: str) -> Any:
    sent_as = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/v1/sessions/{session}/{what}", json={} if body is None else body, headers=sent_as)


def texts(client: TestClient, url: str, session: str) -> list[tuple[int, str, bool]]:
    rows = run(url, "SELECT seq, content, left_out FROM messages WHERE session_id = %s ORDER BY seq", session)
    return [(seq, json.loads(content)[-1].get("text", "-"), out) for seq, content, out in rows]


# ---- forks


def test_a_fork_begins_with_what_was_said_and_goes_its_own_way(
    client: TestClient, model: DemoModel, database_url: str
) -> None:
    model.replies.add(Reply(call("peek")))
    source = say(client, "one")["session_id"]
    say(client, "two")
    forked = post(client, source, "fork", {"at": 4, "metadata": {"title": "B"}})
    assert forked.status_code == 201, forked.text
    made = forked.json()
    assert forked.headers["location"] == f"/v1/sessions/{made['id']}"
    assert made["metadata"] == {"title": "B"}
    assert made["usage"]["input_tokens"] == 0
    assert client.get("/v1/session").json()["id"] == source, "the device stays where it is"
    other = second(client, database_url)
    run(
        database_url,
        "UPDATE connections SET session_id = %s WHERE device_id = %s",
        made["id"],
        other["X-Device-ID"],
    )
    say(client, "three", **other)
    assert [text for _, (*_, text) in sent(model)][-1] == "three"
    assert len(sent(model)) == 5, "and is told of nothing behind the place where it was forked"
    said = client.get("/v1/session/messages", headers=other).json()["items"]
    assert [item["origin"] for item in said] == [{"session_id": source, "seq": n} for n in range(1, 5)] + [
        None
    ] * 2
    assert [item["seq"] for item in said] == [1, 2, 3, 4, 5, 6]


def test_a_fork_is_made_once_under_its_key(client: TestClient, database_url: str) -> None:
    source = say(client)["session_id"]
    first = post(client, source, "fork", Idempotency_Key="k")
    again = post(client, source, "fork", Idempotency_Key="k")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    is_problem(post(client, source, "fork", {"at": 2}, Idempotency_Key="k"), 422, "idempotency_key_reused")
    assert post(client, source, "fork", Idempotency_Key="l").json()["id"] != first.json()["id"]
    assert post(client, source, "fork").status_code == 201
    assert len(run(database_url, "SELECT 1 FROM conversation_states")) == 4


def test_where_no_turn_ends_nothing_is_forked_or_rewound(
    client: TestClient, model: DemoModel, database_url: str
) -> None:
    say(client)
    model.replies.add(Reply(call("peek")))
    source = say(client)["session_id"]
    before = everything(database_url)
    for what, field in (("fork", "at"), ("rewind", "to")):
        problem = is_problem(post(client, source, what, {field: 4}), 422, "invalid_request")
        assert problem["errors"] == [
            {
                "field": field,
                "problem": "must be the number of the last message of a turn that has ended; the nearest are 2 and 6",
            }
        ]
        is_problem(post(client, source, what, {field: 7}), 422, "invalid_request")
    assert everything(database_url) == before


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("fork", {"at": 0}),
        ("fork", {"at": "2"}),
        ("fork", {"metadata": []}),
        ("fork", {"metadata": {"a": "\0"}}),
        ("fork", {"metadata": {"a": "\ud800"}}),
        ("fork", {"metadata": {"a" * 101: 1}}),
        ("fork", {"to": 1}),
        ("rewind", {}),
        ("rewind", {"to": -1}),
        ("rewind", {"to": True}),
        ("merge", {}),
        ("merge", {"from": "x"}),
        ("merge", {"from": str(UUID(int=1)), "preview": 1}),
        ("merge", {"from": str(UUID(int=1)), "keep": {"lock": "both"}}),
        ("merge", {"from": str(UUID(int=1)), "keep": {"lock": []}}),
        ("merge", {"from": str(UUID(int=1)), "keep": []}),
    ],
)
def test_what_is_of_no_such_shape_is_refused(client: TestClient, what: str, body: Any) -> None:
    source = say(client)["session_id"]
    sent_body = json.dumps(body)
    response = client.post(f"/v1/sessions/{source}/{what}", content=sent_body)
    is_problem(response, 422, "invalid_request")


# ---- rewinds


def test_what_is_rewound_is_told_no_more_and_can_be_told_again(
    client: TestClient, model: DemoModel, database_url: str
) -> None:
    source = say(client, "one")["session_id"]
    say(client, "two")
    done = post(client, source, "rewind", {"to": 2})
    assert done.status_code == 200, done.text
    revision = done.json()["revision"]
    assert (revision["kind"], revision["first_seq"], revision["last_seq"]) == ("rewind", 3, 4)
    assert [out for *_, out in texts(client, database_url, source)] == [False, False, True, True]
    assert post(client, source, "rewind", {"to": 2}).json()["revision"] == revision, (
        "sent again it is the same"
    )
    undo = f"/v1/sessions/{source}/revisions/{revision['id']}/undo"
    undone = client.post(undo)
    assert undone.status_code == 200, undone.text
    assert undone.json()["revision"]["undone_at"] is not None
    assert client.post(undo).json() == undone.json()
    assert [out for *_, out in texts(client, database_url, source)] == [False] * 4
    say(client, "three")
    assert [text[0] for _, text in sent(model)][::2] == ["one", "two", "three"]
    assert [item["id"] for item in client.get(f"/v1/sessions/{source}/revisions").json()["items"]] == [
        revision["id"]
    ]
    audit = [note["action"] for note in client.get("/v1/session/audit").json()["items"]]
    assert audit == ["rewound", "rewind_undone"]


def test_a_rewind_stays_once_something_was_said_after_it(client: TestClient, model: DemoModel) -> None:
    source = say(client, "one")["session_id"]
    say(client, "two")
    revision = post(client, source, "rewind", {"to": 0}).json()["revision"]
    is_problem(post(client, source, "rewind", {"to": 2}), 409, "nothing_to_rewind")
    say(client, "three")
    assert sent(model) == [("user", ["three"])]
    problem = is_problem(
        client.post(f"/v1/sessions/{source}/revisions/{revision['id']}/undo"), 409, "too_late_to_undo"
    )
    assert "messages were said since" in problem["detail"]
    is_problem(client.post(f"/v1/sessions/{source}/revisions/{uuid4()}/undo"), 404, "revision_not_found")


def test_after_its_time_nothing_is_undone(client: TestClient, database_url: str) -> None:
    source = say(client)["session_id"]
    revision = post(client, source, "rewind", {"to": 0}).json()["revision"]
    run(database_url, "UPDATE revisions SET undo_until = now()")
    before = everything(database_url)
    is_problem(client.post(f"/v1/sessions/{source}/revisions/{revision['id']}/undo"), 410, "undo_over")
    assert everything(database_url) == before


def test_nothing_is_rewound_or_merged_under_a_turn_that_waits(
    client: TestClient, model: DemoModel, database_url: str
) -> None:
    source = say(client)["session_id"]
    other = second(client, database_url)
    theirs = say(client, **other)["session_id"]
    model.replies.add(Reply(call("burn")))
    assert client.post("/v1/turns", json={"message": "burn it"}).json()["status"] == "waiting"
    before = everything(database_url)
    is_problem(post(client, source, "rewind", {"to": 2}), 409, "session_busy")
    for target, of, who in ((source, theirs, "conversation"), (theirs, source, "`from`")):
        problem = is_problem(post(client, target, "merge", {"from": of}, If_Match="*"), 409, "session_busy")
        assert who in problem["detail"]
    assert everything(database_url) == before
    forked = post(client, source, "fork").json()
    assert len(texts(client, database_url, forked["id"])) == 2, "what has ended can be forked"


# ---- merges


def test_the_talk_of_an_anonymous_device_becomes_a_part_of_the_accounts(
    client: TestClient, model: DemoModel, database_url: str
) -> None:
    account = {"X-Device-ID": str(uuid4())}
    home = say(client, "I am Ada.", **account)["session_id"]
    away = say(client, "Where are you?")["session_id"]
    device = client.headers["x-device-id"]
    # The device signs in.
    run(
        database_url,
        "UPDATE connections SET user_id = (SELECT user_id FROM conversation_states WHERE id = %s)",
        home,
    )
    run(
        database_url,
        "UPDATE conversation_states SET user_id = (SELECT user_id FROM conversation_states WHERE id = %s)",
        home,
    )
    shown = post(client, home, "merge", {"from": away, "preview": True})
    assert shown.status_code == 200, shown.text
    preview = shown.json()
    assert (preview["messages"], preview["turns"], preview["conflicts"]) == (2, 1, [])
    assert shown.headers["etag"] == preview["etag"]
    is_problem(post(client, home, "merge", {"from": away}), 428, "if_match_missing")
    merged = post(client, home, "merge", {"from": away}, If_Match=preview["etag"])
    assert merged.status_code == 200, merged.text
    revision = merged.json()["revision"]
    assert merged.json()["session"]["id"] == home
    assert post(client, home, "merge", {"from": away}, If_Match=preview["etag"]).json() == merged.json()
    is_problem(client.get(f"/v1/sessions/{away}/revisions"), 404, "session_not_found")
    assert client.get("/v1/session").json()["id"] == home, "the device went along"
    say(client, "And now?")
    assert [text[0] for _, text in sent(model)][::2] == ["I am Ada.", "Where are you?", "And now?"]
    items = client.get("/v1/session/messages").json()["items"]
    assert [item["origin"] and item["origin"]["session_id"] for item in items] == [None] * 2 + [away] * 2 + [
        None
    ] * 2
    undone = client.post(f"/v1/sessions/{home}/revisions/{revision['id']}/undo")
    assert undone.status_code == 200, undone.text
    assert client.post(f"/v1/sessions/{home}/revisions/{revision['id']}/undo").json() == undone.json()
    say(client, "Still there?")
    assert [text[0] for _, text in sent(model)][::2] == ["I am Ada.", "And now?", "Still there?"]
    run(database_url, "UPDATE connections SET session_id = %s WHERE device_id = %s", away, device)
    say(client, "And I?")
    assert [text[0] for _, text in sent(model)][::2] == ["Where are you?", "And I?"]


def test_a_merge_of_what_has_changed_since_it_was_shown_is_refused(
    client: TestClient, database_url: str
) -> None:
    home = say(client)["session_id"]
    other = second(client, database_url)
    away = say(client, **other)["session_id"]
    etag = post(client, home, "merge", {"from": away, "preview": True}).json()["etag"]
    say(client, "more", **other)
    before = everything(database_url)
    is_problem(post(client, home, "merge", {"from": away}, If_Match=etag), 412, "not_as_seen")
    is_problem(post(client, home, "merge", {"from": home}, If_Match="*"), 422, "invalid_request")
    is_problem(post(client, home, "merge", {"from": str(uuid4())}, If_Match="*"), 404, "session_not_found")
    assert everything(database_url) == before


def test_nobody_merges_what_is_anothers(client: TestClient, database_url: str) -> None:
    stranger = {"X-Device-ID": str(uuid4())}
    home, theirs = say(client)["session_id"], say(client, **stranger)["session_id"]
    before = everything(database_url)
    for target, of in ((home, theirs), (theirs, home)):
        is_problem(post(client, target, "merge", {"from": of}, If_Match="*"), 404, "session_not_found")
        is_problem(post(client, target, "merge", {"from": of, "preview": True}), 404, "session_not_found")
    run(
        database_url,
        "INSERT INTO members (session_id, user_id, role) SELECT %s, user_id, 'owner' FROM conversation_states WHERE id = %s",
        theirs,
        home,
    )
    for target, of in ((home, theirs), (theirs, home)):
        is_problem(post(client, target, "merge", {"from": of}, If_Match="*"), 403, "role_too_small")
    assert everything(database_url) == before


@pytest.mark.parametrize(("role", "may"), [("viewer", False), ("editor", True)])
def test_editors_fork_and_rewind_and_viewers_look_on(
    client: TestClient, database_url: str, role: str, may: bool
) -> None:
    guest = {"X-Device-ID": str(uuid4())}
    say(client, "one")
    source = say(client, "two")["session_id"]
    say(client, **guest)
    owner = client.headers["x-device-id"]
    run(
        database_url,
        "INSERT INTO members (session_id, user_id, role) SELECT %s, user_id, %s FROM connections WHERE device_id = %s",
        source,
        role,
        guest["X-Device-ID"],
    )
    path = f"/v1/sessions/{source}"
    responses = [
        client.post(f"{path}/fork", json={}, headers=guest),
        client.post(f"{path}/rewind", json={"to": 2}, headers=guest),
    ]
    assert [response.status_code for response in responses] == ([201, 200] if may else [403, 403])
    assert client.get(f"{path}/revisions", headers=guest).status_code == 200
    is_problem(client.post(f"{path}/merge", json={"from": source}, headers=guest), 403, "role_too_small")
    merge = client.post(f"{path}/merge", json={"from": str(uuid4())}, headers={**guest, "If-Match": "*"})
    is_problem(merge, 403, "role_too_small")
    if may:
        ((owned_by, sent_by),) = run(
            database_url,
            "SELECT DISTINCT s.user_id, t.sent_by FROM conversation_states s JOIN turns t ON t.session_id = s.id WHERE s.id = %s",
            responses[0].json()["id"],
        )
        users = dict(run(database_url, "SELECT device_id::text, user_id FROM connections"))
        assert (owned_by, sent_by) == (users[guest["X-Device-ID"]], users[owner])
