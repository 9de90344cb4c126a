"""People for tests of the door: devices of users, who begin conversations and let each other in."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from httpx2 import Response
from starlette.testclient import TestClient

from tests.databases import run


@dataclass(frozen=True, slots=True)
class Person:
    """A device, and the user that it belongs to."""

    client: TestClient
    url: str
    device: UUID

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.request(
            method, path, json=body, headers={"X-Device-ID": str(self.device), **given}
        )

    def begin(self, **metadata: Any) -> str:
        answer = self.ask("POST", "/v1/sessions", {"metadata": metadata})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def says(self, text: str, session_id: str | None = None) -> Response:
        named = {} if session_id is None else {"session_id": session_id}
        return self.ask("POST", "/v1/turns", {"message": text, **named})

    @property
    def user_id(self) -> str:
        ((user_id,),) = run(
            self.url, "SELECT user_id FROM connections WHERE device_id = %s", str(self.device)
        )
        return str(user_id)

    @property
    def current(self) -> str | None:
        ((id_,),) = run(self.url, "SELECT session_id FROM connections WHERE device_id = %s", str(self.device))
        return id_ and str(id_)

    def let_in(self, other: "Person", session_id: str, role: str) -> None:
        answer = self.ask("PUT", f"/v1/sessions/{session_id}/members/{other.user_id}", {"role": role})
        assert answer.status_code == 200, answer.text

    def link(self, session_id: str, role: str = "viewer") -> dict[str, Any]:
        answer = self.ask("POST", f"/v1/sessions/{session_id}/links", {"role": role})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


def stranger(client: TestClient, url: str) -> Person:
    """Of whom nothing is known."""
    return Person(client, url, uuid4())


def person(client: TestClient, url: str) -> Person:
    """With a user, and in a conversation of their own."""
    known = stranger(client, url)
    known.begin()
    return known


def code(answer: Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json().get("code"))
