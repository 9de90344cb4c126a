"""Who plays: each person has a device, as apps do, and what they do is a call that a phone would make."""

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from uuid import uuid4

from dev.demo.calls import Calls, Json, Refused
from dev.running import is_here

_OVER = ("completed", "failed", "cancelled", "waiting")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a device keeps of itself, and what `--erase` needs to know."""

    name: str
    device: str
    secret: str


class AddressBook:
    """The devices that the demo has made at one service, in a file that nobody else reads."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def of(cls, home: Path, url: str) -> Self:
        """Whom it has made at another machine's service is not known at this one's, though the port is the same."""
        parts = urlsplit(url)
        where = [] if is_here(url) else [parts.hostname or ""]
        return cls(home / f"demo-{'-'.join([*where, str(parts.port or parts.scheme)])}.json")

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._read())

    def add(self, name: str) -> Kept:
        """On record before it is used: what was stopped in the middle can be erased as well."""
        kept = Kept(name, str(uuid4()), secrets.token_urlsafe(32))
        self._write([*self._read(), kept])
        return kept

    def remove(self, gone: Kept) -> None:
        self._write([kept for kept in self._read() if kept != gone])

    def _read(self) -> list[Kept]:
        try:
            return [Kept(**one) for one in json.loads(self._file.read_text())]
        except FileNotFoundError:
            return []

    def _write(self, all_: list[Kept]) -> None:
        if not all_:
            self._file.unlink(missing_ok=True)
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump([asdict(kept) for kept in all_], file)
        new.replace(self._file)


@dataclass(slots=True)
class Person:
    name: str
    kept: Kept
    calls: Calls

    def elsewhere(self, url: str) -> "Person":
        """The same phone, which has reached another server."""
        return Person(self.name, self.kept, Calls(url, self.calls.headers))

    def says(self, words: str, *, session_id: str | None = None) -> Json:
        """And waits for what comes of it."""
        return self.until_over(self.calls.post("/v1/turns", {"message": words, "session_id": session_id}))

    def sends(self, words: str, *, on_busy: str = "queue", key: str | None = None) -> Json:
        """And does not wait."""
        return self.calls.post("/v1/turns", {"message": words, "wait_s": 0, "on_busy": on_busy}, key=key)

    def until_over(self, turn: Json) -> Json:
        """Or until it waits for a person."""
        while turn["status"] not in _OVER:
            turn = self.calls.get(f"/v1/turns/{turn['id']}?wait_s=25")
        return turn

    def decides(self, decision: str, note: str | None = None) -> Json:
        """On the question that is open. The turn behind it, which goes on with that."""
        asked = self.asked()
        shown = {"input_digest": asked["input_digest"]} if decision == "approve" else {}
        self.calls.post(f"/v1/approvals/{asked['id']}", {"decision": decision, "note": note, **shown})
        return self.until_over(self.calls.get(f"/v1/turns/{asked['turn_id']}"))

    def asked(self) -> Json:
        """What waits for their decision: the newest."""
        asked: Json = self.calls.get("/v1/approvals")["items"][0]
        return asked

    @property
    def session(self) -> Json:
        return self.calls.get("/v1/session")

    def messages(self) -> list[Json]:
        found: list[Json] = self.calls.get("/v1/session/messages?limit=100")["items"]
        return found


def introduce(name: str, url: str, book: AddressBook) -> Person:
    return arrive(book.add(name), url)


def arrive(kept: Kept, url: str) -> Person:
    """Registers the device, which where nobody asks for a token does no harm, and is given a token where somebody does."""
    calls = Calls(url, {"X-Device-ID": kept.device})
    token = calls.post("/v1/devices", {"secret": kept.secret})["token"]
    return Person(
        kept.name, kept, Calls(url, calls.headers | ({"Authorization": f"Bearer {token}"} if token else {}))
    )


def erase(kept: Kept, url: str) -> bool:
    """Everything of theirs. False: there was nothing."""
    try:
        calls = arrive(kept, url).calls
    except Refused as refused:
        # Whoever was erased is barred; so was this one, when it was stopped in the middle.
        if refused.code == "device_barred":
            calls = Calls(url, {"X-Device-ID": kept.device})
        else:
            raise
    try:
        while not calls.ask("DELETE", "/v1/user").get("completed_at"):
            pass
    except Refused as refused:
        if refused.status in (401, 404):
            return False
        raise
    return True
