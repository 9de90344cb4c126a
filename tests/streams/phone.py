"""A client on a bad network: it loses its connection at any byte, comes back with the last event that it has read, and puts together what
it was told.
"""

import http.client
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

Json = dict[str, Any]


class Told:
    """What a stream said, put together; a repeat or a wrong order fails at once."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.texts: dict[int, dict[int, str]] = {}
        self.agents: list[str] = []
        self.tools: dict[str, list[str]] = {}
        self.approvals: list[Json] = []
        self.turn: Json | None = None
        self.discarded = 0

    def hear(self, name: str, data: Json) -> None:
        assert self.turn is None, f"{name} after the end"
        assert self.names or name in ("turn_started", "turn_ended"), f"begins with {name}"
        self.names.append(name)
        match name:
            case "turn_started":
                assert self.names.count(name) == 1, "two starts"
            case "text_delta":
                said = self.texts.setdefault(data["message_seq"], {})
                assert data["message_seq"] == max(self.texts), "a message that was told already"
                said[data["block"]] = said.get(data["block"], "") + data["text"]
            case "text_discarded":
                self.discarded += 1
                assert self.texts.pop(data["message_seq"], None), "nothing to be discarded"
            case "agent_changed":
                assert data["previous"] == (self.agents[-1] if self.agents else None)
                self.agents.append(data["agent"])
            case "tool_started" | "tool_ended":
                assert name not in self.tools.setdefault(data["id"], []), f"{name} twice"
                self.tools[data["id"]].append(name)
            case "approval_asked":
                assert data["id"] not in [a["id"] for a in self.approvals], "asked twice"
                self.approvals.append(data)
            case "turn_ended":
                self.turn = data["turn"]


@dataclass(slots=True)
class Phone:
    # Where the next connection goes.
    ports: Iterator[int]
    chance: random.Random
    device: UUID = field(default_factory=uuid4)
    told: Told = field(default_factory=Told)
    last_id: str | None = None
    location: str = ""
    cuts: Counter[str] = field(default_factory=Counter)
    # Called with each event, after it was heard.
    then: Callable[["Phone", str, Json], None] | None = None

    def say(self, words: str, *, key: str) -> None:
        """The first connection: the message. It too may break before a byte is here."""
        while not self.location:
            self._connect("POST", "/v1/turns", key, {"message": words})
        self.listen()

    def listen(self) -> None:
        while self.told.turn is None:
            self._connect("GET", f"{self.location}/events", None, None)

    def ask(self, method: str, path: str, body: Json | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", next(self.ports), timeout=40)
        try:
            given = None if body is None else json.dumps(body).encode()
            connection.request(method, path, given, {"X-Device-ID": str(self.device)})
            answer = connection.getresponse()
            read = answer.read()
            return answer.status, json.loads(read) if read else None
        finally:
            connection.close()

    def _connect(self, method: str, path: str, key: str | None, body: Json | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", next(self.ports), timeout=40)
        headers = {"X-Device-ID": str(self.device), "Accept": "text/event-stream"}
        if key is not None:
            headers["Idempotency-Key"] = key
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            assert answer.status == 200, (answer.status, answer.read())
            self.location = answer.headers["Location"]
            self._read(answer)
        except (OSError, http.client.HTTPException):
            self.cuts["server"] += 1
        finally:
            connection.close()

    def _read(self, answer: http.client.HTTPResponse) -> None:
        """Up to so many bytes, or so many events: the rest never arrives."""
        bytes_left = self.chance.randint(1, 300) if self.chance.random() < 0.5 else None
        events_left = self.chance.choice([1, 1, 1, 2, 3]) if bytes_left is None else None
        buffer = b""
        while (events_left is None or events_left > 0) and (bytes_left is None or bytes_left > 0):
            part = answer.read1(1024 if bytes_left is None else min(bytes_left, 1024))
            if not part:
                self.cuts["server"] += self.told.turn is None
                return
            if bytes_left is not None:
                bytes_left -= len(part)
            *whole, buffer = (buffer + part).split(b"\n\n")
            for lines in whole:
                if self._hear(lines.decode()) and events_left is not None:
                    events_left -= 1
                    if not events_left:
                        break
            if self.told.turn is not None:
                return
        self.cuts["byte" if events_left is None else "event"] += 1

    def _hear(self, lines: str) -> bool:
        fields = dict(line.split(": ", 1) for line in lines.split("\n") if not line.startswith(":"))
        if "event" not in fields:
            return False
        data = json.loads(fields["data"])
        self.told.hear(fields["event"], data)
        self.last_id = fields.get("id", self.last_id)
        if self.then is not None:
            self.then(self, fields["event"], data)
        return True


def check(phone: Phone) -> None:
    """What was told is what is stored: nothing is missing, and nothing is there twice."""
    turn = phone.told.turn
    assert turn is not None
    status, page = phone.ask("GET", "/v1/session/messages?limit=100&after=0")
    assert status == 200, page
    stored = {
        message["seq"]: texts
        for message in page["items"]
        if message["turn_id"] == turn["id"] and message["role"] == "assistant"
        if (
            texts := {
                n: b["text"] for n, b in enumerate(message["content"]) if b["type"] == "text" and b["text"]
            }
        )
    }
    assert phone.told.texts == stored
    ended = {call["id"] for call in turn["tool_calls"]}
    assert {id_ for id_, told in phone.told.tools.items() if "tool_ended" in told} == ended
    assert {a["id"] for a in phone.told.approvals} == {a["id"] for a in turn["approvals"]}
