"""What nobody wrote for a log is in none: no message, no secret, no ID of a device, a person or a conversation, whatever goes wrong."""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from core.agents.tool import ToolFailed
from core.errors import DatabaseUnavailable
from core.house import House, build_house
from core.ids import SessionId
from core.settings import Secret, Settings
from core.store.database import Database, StatementRefused
from dev.demo_model import DemoModel, Fault, Reply
from functions import invocations, metrics
from functions.app import build_app
from tests.agents import Workshop
from tests.conversations import until
from tests.databases import run
from tests.doors import SECRET, Door, opened, settings_of, user_token
from tests.functions.scenes import MARKER, OWNER, Scene, set_scene
from tests.functions.test_access_matrix import TABLE, Row
from tests.lines.on_lambda import CONTEXT, Log

# In pieces, for a traceback may tell a line of this file.
PRIVATE = "-".join(("only", "between", "us"))


class _Defect(Exception):
    """As a library's that quotes what it was given."""


@pytest.fixture
def door(settings: Settings, log: Log) -> Iterator[Door]:
    with opened(settings_of(replace(settings, admin_token=Secret("a" * 40)), "bound")) as opened_door:
        opened_door.house.turns.tell = metrics.stint
        yield opened_door


def _ids(scene: Scene) -> list[str]:
    people = [str(id_) for person in scene.people.values() for id_ in (person.user_id, person.device_id)]
    sessions = [str(scene.session), str(scene.second), str(scene.spare)]
    return [*people, *sessions, *(link.partition(".")[2] for link in scene.links.values())]


def _never(said: str, private: list[str]) -> list[str]:
    """A UUID may be written without its dashes, too."""
    return [text for text in private if text in said or text.replace("-", "") in said.replace("-", "")]


def _quoting(scene: Scene) -> list[Exception]:
    """What a statement may end in: away, refused, or a defect; each with what was sent in its text, or in that of its cause."""
    quoted = f"{MARKER} {' '.join(_ids(scene))}"
    away = DatabaseUnavailable()
    away.__cause__ = _Defect("connection refused")
    refused = StatementRefused("SQLSTATE 22P02")
    refused.__context__ = _Defect(quoted)
    return [away, refused, _Defect(quoted), KeyError(quoted)]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_no_call_leaves_anything_private_in_the_log(
    row: Row,
    door: Door,
    log: Log,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    scene = set_scene(door, database_url, waits=row.waits, rewound=row.rewound)
    asked: list[Response] = []

    def ask() -> None:
        body = {} if row.body is None else row.body(scene)
        with invocations.invocation(CONTEXT):
            asked.append(scene.call(OWNER, row.method, row.path.format(**scene.named()), **body))

    body_was_made = row.body
    for error in _quoting(scene):
        with monkeypatch.context() as broken:
            if body_was_made is not None:
                made = body_was_made(scene)
                row = replace(row, body=_made(made))
            for name in ("row", "rows"):
                broken.setattr(Database, name, _raising(error))
            ask()
    row = replace(row, body=body_was_made)
    ask()
    said = log.text + "".join(capfd.readouterr())
    assert _never(said, [MARKER, SECRET, *_ids(scene)]) == []
    needs_rows = row.path not in ("/health",) and not row.path.startswith("/v1/admin")
    if needs_rows:
        assert [answer.status_code for answer in asked[:4]] == [503, 500, 500, 500]
        defects = [line for line in log.lines if line["level"] == "ERROR"]
        assert [line["errorType"] for line in defects] == ["StatementRefused", "_Defect", "KeyError"]
        assert all(line["request_id"] and line["stackTrace"] for line in defects)
        assert len(log.of("Defects")) == 3
        assert len(log.of("ServerErrors")) == 4


def _made(body: dict[str, Any]) -> Callable[[Scene], dict[str, Any]]:
    return lambda _: body


def _raising(error: Exception) -> Callable[..., Any]:
    def raises(*_: Any, **__: Any) -> Any:
        raise error

    return raises


# ---- a talk


@pytest.fixture
def talk(settings: Settings, shop: Workshop, log: Log) -> Iterator[tuple[TestClient, House]]:
    house = build_house(settings, shop.roster(), metrics.stint)
    workers = house.start_workers(threads=1, sweep_every_s=0.5)
    with TestClient(build_app(house, one_at_a_time=False), headers={"X-Device-ID": str(DEVICE)}) as client:
        yield client, house
    workers.stop()
    house.close()


DEVICE = UUID("3f2b8c1e-5a4d-4c7b-9e1f-2a6d8b0c4e57")


def _says(client: TestClient, text: str = PRIVATE, **more: Any) -> dict[str, Any]:
    with invocations.invocation(CONTEXT):
        turn: dict[str, Any] = client.post("/v1/turns", json={"message": text, **more}).json()
    return turn


def _nothing_private(log: Log, url: str, capfd: pytest.CaptureFixture[str], *more: str) -> str:
    ids = [str(id_) for (id_,) in run(url, "SELECT id FROM conversation_states UNION SELECT id FROM users")]
    said = log.text + "".join(capfd.readouterr())
    assert _never(said, [PRIVATE, str(DEVICE), *ids, *more]) == []
    return said


def _in_the_database(context: Any, _: Any) -> str:
    from sqlalchemy import text

    with context.connection() as connection:
        connection.execute(text("SELECT CAST(:said AS integer)"), {"said": PRIVATE})
    return "never"


def _raises(kind: type[BaseException]) -> Callable[..., str]:
    def run_it(*_: Any) -> str:
        raise kind(f"{PRIVATE} {DEVICE}")

    return run_it


@pytest.mark.parametrize("name", ["peek", "post"])
@pytest.mark.parametrize(
    "does",
    [
        _in_the_database,
        _raises(KeyError),
        _raises(ToolFailed),
        _raises(SystemExit),
        lambda *_: PRIVATE,
        lambda *_: object(),
    ],
    ids=["database", "KeyError", "ToolFailed", "SystemExit", "says it", "not sendable"],
)
def test_a_tool_says_nothing_private(
    talk: tuple[TestClient, House],
    shop: Workshop,
    model: DemoModel,
    log: Log,
    database_url: str,
    capfd: pytest.CaptureFixture[str],
    name: str,
    does: Callable[..., str],
) -> None:
    shop.does[name] = does
    model.replies.add(Reply([{"type": "tool_use", "name": name, "input": {"said": PRIVATE}}]), Reply(PRIVATE))
    turn = _says(talk[0])
    assert (turn["status"], turn["reply"]) == ("completed", PRIVATE)
    _nothing_private(log, database_url, capfd)
    assert log.of("TurnTime")[-1]["turn"] == turn["id"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(400, message=f"messages.0: '{PRIVATE}' is not what it should be"),
        Fault.status(400, message=f"Unable to download https://example.com/{PRIVATE}"),
        Fault.status(400, message=f'prompt is too long: "{PRIVATE}"'),
        Fault.status(401, message=f"`{PRIVATE}` is no key"),
        Fault.error_event(2, type="invalid_request_error", message=f"“{PRIVATE}” went wrong"),
        Fault.cut(2),
        Fault.status(529),
    ],
    ids=str,
)
def test_a_model_that_fails_says_nothing_private(
    talk: tuple[TestClient, House],
    model: DemoModel,
    log: Log,
    database_url: str,
    capfd: pytest.CaptureFixture[str],
    fault: Fault,
) -> None:
    model.faults.add(fault, fault)
    _says(talk[0])
    _nothing_private(log, database_url, capfd)
    assert any(line["logger"] == "core.model.claude" for line in log.lines) or fault.kind == "cut"


def test_what_is_refused_at_the_door_says_nothing_private(
    talk: tuple[TestClient, House], log: Log, database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    client, _ = talk
    with invocations.invocation(CONTEXT):
        for path in (
            f"/v1/{PRIVATE}",
            f"/v1/session?{PRIVATE}=1",
            f"/v1/turns/{PRIVATE}",
            f"/v1/sessions/{DEVICE}",
        ):
            for method in ("GET", "POST", "PUT", "DELETE", PRIVATE.upper()):
                client.request(method, path, json={PRIVATE: PRIVATE})
        for body in (
            PRIVATE,
            f'{{"message": {PRIVATE}',
            f'{{"{PRIVATE}": 1}}',
            f'{{"message": 1, "agent": "{PRIVATE}"}}',
        ):
            client.post("/v1/turns", content=body, headers={"Content-Type": "application/json"})
        for name in (
            "X-Device-ID",
            "Authorization",
            "Idempotency-Key",
            "X-Share-Link",
            "Last-Event-ID",
            "If-Match",
        ):
            client.post("/v1/turns", json={"message": "Hello"}, headers={name: f"Bearer {PRIVATE}"})
    _nothing_private(log, database_url, capfd)


def test_a_worker_that_fails_says_nothing_private(
    talk: tuple[TestClient, House],
    log: Log,
    database_url: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, house = talk
    turn = _says(client)
    monkeypatch.setattr(type(house.turns.reception), "take", _raises(KeyError))
    house.turns._wake(SessionId(UUID(turn["session_id"])))
    until(lambda: any(line["level"] == "ERROR" for line in log.lines))
    said = _nothing_private(log, database_url, capfd)
    assert "KeyError" in said


def test_a_stream_that_fails_says_nothing_private(
    talk: tuple[TestClient, House],
    log: Log,
    database_url: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, house = talk
    real, fails = type(house.turns.asking).prompt, iter([_raises(KeyError)])
    monkeypatch.setattr(type(house.turns.asking), "prompt", lambda *given: next(fails, real)(*given))
    with invocations.invocation(CONTEXT):
        client.post(
            "/v1/turns", json={"message": PRIVATE, "wait_s": 0}, headers={"Accept": "text/event-stream"}
        )
    said = _nothing_private(log, database_url, capfd)
    assert "KeyError" in said
    assert log.of("Defects")


def test_someone_who_signs_in_is_not_named(
    settings: Settings, database_url: str, log: Log, capfd: pytest.CaptureFixture[str]
) -> None:
    with opened(settings_of(settings, "bound")) as door, invocations.invocation(CONTEXT):
        token = door.register(DEVICE, SECRET)["token"]
        token = door.link(DEVICE, token, user_token(PRIVATE)).json()["token"]
        door.say(DEVICE, token)
        door.call("GET", "/v1/session", DEVICE, f"{token}x")
    _nothing_private(log, database_url, capfd, token, SECRET)


def test_what_the_event_loop_says_of_an_error_is_its_kind(
    log: Log, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a task that nobody waits for, and of a call that fails: it shows the error whole, and what was called with."""

    async def nobody_waits_for() -> None:
        asyncio.ensure_future(_async(_raises(KeyError)))  # noqa: RUF006 - that is what is tried
        asyncio.get_running_loop().call_soon(_raises(KeyError), PRIVATE)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(nobody_waits_for())
    gc.collect()
    said = log.text + "".join(capfd.readouterr())
    assert _never(said, [PRIVATE, str(DEVICE)]) == []
    told = [line for line in log.lines if line["logger"] == "asyncio"]
    assert {line["message"].split()[0] for line in told} == {"Task", "Exception"}
    assert {line["errorType"] for line in told} == {"KeyError"}


async def _async(does: Callable[..., str]) -> str:
    return does()


def test_what_is_raised_where_nobody_is_told_is_told_by_its_kind(
    log: Log, capfd: pytest.CaptureFixture[str]
) -> None:
    def unread() -> Iterator[int]:
        try:
            yield 1
        finally:
            _raises(KeyError)()

    begun = unread()
    next(begun)
    del begun
    gc.collect()
    said = log.text + "".join(capfd.readouterr())
    assert _never(said, [PRIVATE, str(DEVICE)]) == []
    (line,) = log.lines
    assert line["errorType"] == "KeyError"


def test_a_word_that_is_private_would_be_seen(log: Log) -> None:
    logging.getLogger("core.turn").error("%s", DEVICE.hex)
    threading.Thread(target=lambda: logging.getLogger("core").warning(PRIVATE)).start()
    until(lambda: len(log.lines) == 2)
    assert _never(log.text, [PRIVATE, str(DEVICE), "not this"]) == [PRIVATE, str(DEVICE)]
