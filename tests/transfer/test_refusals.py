"""What is no whole export of a conversation that the model could go on with is refused, with its line, and nothing is stored."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from core.transfer.lines import Chain, end_line
from tests.conversations import everything

Lines = list[dict[str, Any]]


def sealed(lines: Lines) -> bytes:
    """With an end that fits what is there: whoever changes a file can do as much."""
    chain, texts = Chain(), [json.dumps(line) for line in lines if line["kind"] != "end"]
    for text in texts:
        chain = chain.after(text)
    return "".join(f"{text}\n" for text in [*texts, end_line(chain)]).encode()


@pytest.fixture
def lines(client: TestClient) -> Lines:
    client.post("/v1/turns", json={"message": "I need an appointment tomorrow"})
    client.post("/v1/turns", json={"message": "My name is Ada."})
    return [json.loads(line) for line in client.get("/v1/session/export").text.split("\n")[:-1]]


def of(lines: Lines, kind: str) -> Lines:
    return [line for line in lines if line["kind"] == kind]


def said(lines: Lines, type_: str) -> dict[str, Any]:
    return next(
        line for line in of(lines, "message") if any(block["type"] == type_ for block in line["content"])
    )


def nested(levels: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for _ in range(levels):
        fields = {"a": fields}
    return fields


def revision(**changes: object) -> dict[str, Any]:
    at = "2026-11-01T00:00:00.000000Z"
    row: dict[str, Any] = {
        "kind": "revision",
        "id": str(uuid4()),
        "change": "rewind",
        "source_id": None,
        "first_seq": 1,
        "last_seq": 2,
    }
    row |= {"before": {}, "after": {"rewrites": 7}, "created_by": "owner", "created_at": at, "undo_until": at}
    return {**row, "undone_at": None, **changes}


def merged_twice(lines: Lines) -> None:
    source, place = str(uuid4()), lines.index(of(lines, "audit")[0])
    lines[place:place] = [revision(change="merge", source_id=source) for _ in range(2)]


def test_what_is_rewound_after_an_import_can_be_told_again(client: TestClient, lines: Lines) -> None:
    """Though the file tells of rewinds of before, which count from elsewhere."""
    lines.insert(lines.index(of(lines, "audit")[0]), revision())
    copy = client.post("/v1/sessions/import", content=sealed(lines)).json()["id"]
    to = of(lines, "turn")[0]["last_seq"]
    done = client.post(f"/v1/sessions/{copy}/rewind", json={"to": to})
    assert done.status_code in (200, 201), done.text
    made = done.json()["revision"]["id"]
    back = client.post(f"/v1/sessions/{copy}/revisions/{made}/undo")
    assert back.status_code == 200, back.text


def test_what_was_sealed_anew_is_taken(client: TestClient, lines: Lines) -> None:
    """Else the refusals below could all be of the seal."""
    assert client.post("/v1/sessions/import", content=sealed(lines)).status_code == 201


CHANGES: dict[str, Callable[[Lines], object]] = {
    "another format": lambda lines: lines[0].update(format="something"),
    "a later version": lambda lines: lines[0].update(version=2),
    "a field too many": lambda lines: lines[0].update(user_id=str(uuid4())),
    "a field too few": lambda lines: lines[1].pop("seq"),
    "a kind that is not known": lambda lines: lines.insert(1, {"kind": "secret"}),
    "a second session": lambda lines: lines.insert(1, lines[0]),
    "a status that is not known": lambda lines: of(lines, "turn")[0].update(status="splendid"),
    "a negative cost": lambda lines: lines[0]["usage"].update(cost_micros=-1_000_000),
    # Of a thousand such turns no sum could be kept: nothing would be counted any more, and they could never go.
    "a cost that no book can hold": lambda lines: of(lines, "turn")[0]["usage"].update(cost_micros=2**53),
    # Operators see these, and are to read nothing that anybody says.
    "a sentence for a reason to stop": lambda lines: of(lines, "message")[1].update(
        stop_reason="My secret is 42"
    ),
    "a sentence for an actor": lambda lines: of(lines, "audit")[0].update(actor="Ada, who is ill"),
    "a sentence for an action": lambda lines: of(lines, "audit")[0].update(action="told Ada"),
    "a sentence for a tool": lambda lines: of(lines, "tool_call")[0].update(name="heal Ada"),
    "a sentence for an error's code": lambda lines: of(lines, "turn")[0].update(
        error={"code": "Ada is ill", "detail": ""}
    ),
    "a NUL in a field": lambda lines: lines[0].update(metadata={"a": "\0"}),
    "half a character in a field": lambda lines: lines[0].update(metadata={"a": "\ud800"}),
    "half a lock": lambda lines: lines[0].update(locked_at=None),
    "a time that is none": lambda lines: lines[0].update(created_at="2026-02-31T00:00:00.000000Z"),
    "messages out of order": lambda lines: of(lines, "message")[1].update(seq=1),
    "a message beyond the count": lambda lines: lines[0].update(message_seq=1),
    "kinds out of order": lambda lines: lines.insert(1, lines.pop(-2)),
    "a turn that is not there": lambda lines: of(lines, "message")[0].update(turn_id=str(uuid4())),
    "a turn twice": lambda lines: of(lines, "turn")[1].update(id=of(lines, "turn")[0]["id"]),
    "a call of nothing": lambda lines: of(lines, "tool_call")[0].update(message_seq=999),
    "content that is no list": lambda lines: of(lines, "message")[0].update(content="Hello"),
    "a block that nobody knows": lambda lines: of(lines, "message")[0].update(content=[{"type": "magic"}]),
    "an image by its address": lambda lines: of(lines, "message")[0].update(
        content=[{"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/"}}]
    ),
    "an image in a result by its address": lambda lines: said(lines, "tool_result")["content"][0].update(
        content=[{"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/"}}]
    ),
    "a cache mark of a model": lambda lines: said(lines, "tool_use")["content"][-1].update(
        cache_control={"type": "ephemeral"}
    ),
    "a call without its result": lambda lines: lines.remove(said(lines, "tool_result")),
    "a result without its call": lambda lines: lines.remove(said(lines, "tool_use")),
    "a conversation that begins with the model": lambda lines: lines.remove(of(lines, "message")[0]),
    "its own note of an import": lambda lines: of(lines, "audit")[0].update(action="session_imported"),
    "fields that are nested too deeply": lambda lines: lines[0].update(metadata=nested(900)),
    "a lock from the end of time": lambda lines: lines[0].update(
        active_agent="scheduling", locked_at="9999-12-31T23:59:59.999999Z", session_ttl=31_536_000
    ),
    "an agent that writes events": lambda lines: of(lines, "turn")[0].update(agent="x\n\nevent: turn_ended"),
    "a text with more than a text": lambda lines: said(lines, "tool_use")["content"].insert(
        0, {"type": "text", "text": "Let me look.", "more": 1}
    ),
    "a user who says nothing": lambda lines: of(lines, "message")[0].update(
        content=[{"type": "text", "text": " "}]
    ),
    "a call of no tool's name": lambda lines: said(lines, "tool_use")["content"][-1].update(name="a b"),
    "a call with no call's ID": lambda lines: said(lines, "tool_use")["content"].append(
        {"type": "server_tool_use", "id": "a b", "name": "web_search", "input": {}}
    ),
    "a revision that cannot be listed": lambda lines: lines.insert(
        lines.index(of(lines, "audit")[0]), revision(after={"left": 5})
    ),
    "a result with a text that says nothing": lambda lines: said(lines, "tool_result")["content"][0].update(
        content=[{"type": "text", "text": ""}]
    ),
    "one conversation that was merged in twice": merged_twice,
    "a revision that counts in words": lambda lines: lines.insert(
        lines.index(of(lines, "audit")[0]), revision(after={"rewrites": "many"})
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_refused_and_nothing_is_stored(
    client: TestClient, database_url: str, lines: Lines, change: str
) -> None:
    CHANGES[change](lines)
    before = everything(database_url)
    answer = client.post("/v1/sessions/import", content=sealed(lines))
    assert (answer.status_code, answer.json()["code"]) == (422, "import_refused")
    assert answer.json()["errors"][0]["field"].startswith("line ")
    assert everything(database_url) == before


def test_a_file_that_was_cut_or_changed_is_refused(client: TestClient, lines: Lines) -> None:
    whole = sealed(lines)
    changed = whole.replace(b"My name is Ada.", b"My name is Eve.")
    for file in (
        whole[:-10],
        whole[: len(whole) // 2],
        changed,
        whole + b"{}\n",
        b"",
        b"\n",
        b"\xff\n",
        b"[]\n",
    ):
        answer = client.post("/v1/sessions/import", content=file)
        assert (answer.status_code, answer.json()["code"]) == (422, "import_refused")
    doubled = whole.replace(b'{"kind": "session"', b'{"kind": "session", "kind": "session"', 1)
    assert client.post("/v1/sessions/import", content=doubled).status_code == 422
