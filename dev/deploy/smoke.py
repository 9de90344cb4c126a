"""Does it answer? Health, readiness, and one turn: a device registers, says a sentence, is answered by the model, and has itself erased.

The turn is the only look at the model's key, the queue's and the database's permissions that counts; it costs a fraction of a cent.
"""

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import httpx2

from dev.deploy.stopped import Stopped

# A new gateway's name takes a while to be known everywhere, and the first function has to start.
_PATIENCE_S: Final = 60.0
_PAUSE_S: Final = 1.0
_TURN_S: Final = 120.0
_MESSAGE: Final = "Hello! This is a new deployment being tried out. Please answer in a few words."

_TO_DO: Final = {
    "database_unavailable": "see that DATABASE_URL in the secret is right, and that functions reach it (`vpc` in the stage's config)",
    "database_not_migrated": "deploy again, without MIGRATE=no",
    "database_not_configured": "put DATABASE_URL into the secret: make secret STAGE=...",
}
_LOGS: Final = "look into the function's log, /aws/lambda/{stack}-api"


@dataclass(frozen=True, slots=True)
class Smoke:
    url: str
    stack: str

    def health(self) -> str:
        begun = time.monotonic()
        self._until_ok("/health")
        ready = self._until_ok("/ready")
        return f"/health and /ready, schema {ready.get('schema')}, after {time.monotonic() - begun:.1f} s"

    def turn(self) -> str:
        """In a few words; why not, where it cannot be tried."""
        try:
            return self._tried()
        except httpx2.HTTPError as error:
            raise Stopped(
                f"A turn was tried, and {self.url} went away: {type(error).__name__}: {error}", self._logs()
            ) from error

    def _tried(self) -> str:
        device = {"X-Device-ID": str(uuid4())}
        with httpx2.Client(base_url=self.url, timeout=40, headers=device) as client:
            welcome = self._ok(client.post("/v1/devices", json={"secret": secrets.token_urlsafe(32)}))
            if welcome is None:
                return "no turn was tried: ACCESS_MODE is jwt, and only people with a token may speak"
            if welcome.get("token"):
                client.headers["Authorization"] = f"Bearer {welcome['token']}"
            try:
                return self._spoken(client)
            finally:
                self._forget(client)

    def _spoken(self, client: httpx2.Client) -> str:
        begun = time.monotonic()
        said = {"message": _MESSAGE}
        turn = self._ok(client.post("/v1/turns", json=said, headers={"Idempotency-Key": str(uuid4())}))
        while turn and turn["status"] in ("queued", "running") and time.monotonic() - begun < _TURN_S:
            turn = self._ok(client.get(f"/v1/turns/{turn['id']}", params={"wait_s": 20}))
        if not turn or turn["status"] != "completed" or not turn.get("reply"):
            error = (turn or {}).get("error") or {}
            raise Stopped(
                f"A turn was tried, and is {turn and turn['status']}: {error.get('code')}: {error.get('detail')}",
                "if it is about the model: see ANTHROPIC_API_KEY in the secret. " + self._logs(),
            )
        return f"a turn was answered in {time.monotonic() - begun:.1f} s: {turn['reply'][:60]!r}"

    def _forget(self, client: httpx2.Client) -> None:
        """What was said for a try is nobody's conversation. If this fails, it expires as others do."""
        for _ in range(3):
            try:
                if client.delete("/v1/user").status_code != 202:
                    return
            except httpx2.HTTPError:
                return

    def _until_ok(self, path: str) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE_S
        with httpx2.Client(base_url=self.url, timeout=35) as client:
            while True:
                try:
                    answer = client.get(path)
                    said = _read(answer)
                    what = f"{answer.status_code} {said.get('code', '')}: {said.get('detail') or said}"
                except httpx2.HTTPError as error:
                    said, what, answer = {}, f"{type(error).__name__}: {error}", None
                if answer is not None and answer.status_code == 200:
                    return said
                if time.monotonic() > until:
                    raise Stopped(f"{self.url}{path} does not answer as it should: {what}", self._to_do(said))
                time.sleep(_PAUSE_S)

    def _ok(self, answer: httpx2.Response) -> dict[str, Any] | None:
        """None: only people may do that."""
        said = _read(answer)
        if answer.status_code in (200, 202):
            return said
        if answer.status_code == 401 and answer.request.url.path == "/v1/devices":
            return None
        raise Stopped(
            f"{answer.request.method} {answer.request.url.path} answers {answer.status_code} {said.get('code', '')}: "
            f"{said.get('detail') or said}",
            self._to_do(said),
        )

    def _to_do(self, said: dict[str, Any]) -> str:
        return _TO_DO.get(str(said.get("code")), self._logs())

    def _logs(self) -> str:
        return _LOGS.format(stack=self.stack)


def _read(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = json.loads(answer.text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"detail": answer.text[:200]}
