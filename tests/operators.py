"""An operator, for tests: what they show, what they look at, what they do."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from httpx2 import Response
from starlette.testclient import TestClient

from functions.shapes_seen import DoneShape, SeenSessionShape

TOKEN = "operators-" + "x" * 32
SHOWN = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True, slots=True)
class Operator:
    client: TestClient

    def call(self, method: str, path: str, **more: Any) -> Response:
        return self.client.request(method, f"/v1/admin/{path}", headers=SHOWN, **more)

    def see(self, session: str | UUID, **query: Any) -> dict[str, Any]:
        answer = self.call("GET", f"sessions/{session}", params=query)
        assert answer.status_code == 200, answer.text
        SeenSessionShape.model_validate_json(answer.text)
        seen: dict[str, Any] = answer.json()
        return seen

    def clear(self, session: str | UUID) -> dict[str, Any]:
        return self._done("DELETE", f"sessions/{session}/lock")

    def cancel(self, session: str | UUID, turn: str | UUID | None = None) -> dict[str, Any]:
        body = {} if turn is None else {"json": {"turn_id": str(turn)}}
        return self._done("POST", f"sessions/{session}/cancel", **body)

    def recover(self, session: str | UUID) -> dict[str, Any]:
        return self._done("POST", f"sessions/{session}/recover")

    def end(self, session: str | UUID) -> Response:
        return self.call("DELETE", f"sessions/{session}")

    def _done(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer = self.call(method, path, **more)
        assert answer.status_code == 200, answer.text
        DoneShape.model_validate_json(answer.text)
        done: dict[str, Any] = answer.json()
        return done


def noted(seen: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    """Of each line of the audit: who did what, in which turn."""
    return [(line["actor"], line["action"], line["turn_id"]) for line in seen["audit"]]
