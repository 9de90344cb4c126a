"""Who may do what: every call of the API, by everybody who may stand before it. A row a call, and each cell is tried.

What is refused must also have changed nothing, and must tell nothing of what was said.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from core.settings import Settings, read_settings
from dev.demo_model import DemoModel
from dev.postgres import EmbeddedPostgres
from tests.databases import new_database, run
from tests.doors import ISSUER, OTHER_KEY, SECRET, Door, opened, problem, settings_of, user_token
from tests.functions.scenes import (
    BARRED,
    EDITOR,
    EX_MEMBER,
    EXPIRED,
    EXPIRED_LINK,
    FORGED,
    LINKED_EDITOR,
    LINKED_VIEWER,
    MARKER,
    NOBODY,
    ORG,
    OTHER_ORGANISATION,
    OUTSIDE,
    OWNER,
    REVOKED,
    REVOKED_LINK,
    STRANGER,
    VIEWER,
    Scene,
    set_scene,
)

# The columns of the table, in their order. Those whose token is no good are told so at every call: it is not written out.
COLUMNS = (
    OWNER,
    EDITOR,
    VIEWER,
    LINKED_EDITOR,
    LINKED_VIEWER,
    EX_MEMBER,
    STRANGER,
    OTHER_ORGANISATION,
    REVOKED_LINK,
    EXPIRED_LINK,
)
UNTRUSTED = {
    REVOKED: (401, "device_barred"),
    EXPIRED: (401, "token_expired"),
    FORGED: (401, "token_invalid"),
    NOBODY: (401, "token_missing"),
}
LET_IN: dict[str, tuple[int, str | None]] = dict.fromkeys(BARRED, (200, None))
NO_ADMIN: dict[str, tuple[int, str | None]] = dict.fromkeys(BARRED, (401, "not_admin"))
SESSION, TURN, APPROVAL = "session_not_found", "turn_not_found", "approval_not_found"
Body = Callable[[Scene], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Row:
    method: str
    path: str
    # A status for each column.
    cells: str
    # The code of a 404; that of a 403 is always the same.
    missing: str = SESSION
    body: Body | None = None
    # Where those without a good token are told something else.
    untrusted: Mapping[str, tuple[int, str | None]] = field(default_factory=dict)
    waits: bool = False
    rewound: bool = False

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def expected(self, who: str) -> tuple[int, str | None]:
        if who in UNTRUSTED:
            return self.untrusted.get(who, UNTRUSTED[who])
        status = int(self.cells.split()[COLUMNS.index(who)])
        return status, {401: "not_admin", 403: "role_too_small", 404: self.missing}.get(status)


def json_of(**fields: Any) -> Body:
    return lambda _: {"json": fields}


MESSAGE = json_of(message="Hello")
LOCK = json_of(agent="manager")
DENY = json_of(decision="deny")


def sign_in(scene: Scene) -> dict[str, Any]:
    return {"json": {"user_token": user_token(scene.session.hex)}}


def merge(scene: Scene) -> dict[str, Any]:
    return {"json": {"from": str(scene.second), "preview": True}}


def a_file(scene: Scene) -> dict[str, Any]:
    """As the owner took it with them."""
    content = scene.call(OWNER, "GET", f"/v1/sessions/{scene.session}/export").content
    return {"content": content, "headers": {"Content-Type": "application/x-ndjson"}}


def enter(scene: Scene) -> dict[str, Any]:
    return {"json": {"session_id": str(scene.session)}}


def join(scene: Scene) -> dict[str, Any]:
    return {"json": {"link": scene.links[LINKED_VIEWER]}}


#                                       own edit view  link-e link-v  ex  str org  rev exp
READS, EDITS, OWNS = (
    "200 200 200  200 200  404 404 404  404 404",
    "200 200 403  200 403  404 404 404  404 404",
    "200 403 403  403 403  404 404 404  404 404",
)
SELF = "200 200 200  200 200  200 200 200  200 200"
SELF_CREATES = SELF.replace("200", "201")

# fmt: off
TABLE = (
    #   call                                                own edit view link-e link-v ex  str org  rev exp
    # ---- turns. Who is in a conversation that is not theirs any more begins anew.
    Row("POST",   "/v1/turns",                             "200 200 403  200 403  200 200 200  404 404", body=MESSAGE),
    Row("GET",    "/v1/turns/{turn}",                      READS, TURN),
    Row("POST",   "/v1/turns/{turn}/cancel",               EDITS, TURN),
    Row("GET",    "/v1/turns/{turn}/events",               READS, TURN),
    # ---- the conversation that one is in. Where there is none to end, that is done; one that a link names is not there.
    Row("GET",    "/v1/session",                           READS),
    Row("PUT",    "/v1/session",                           "200 200 200  404 404  404 404 404  404 404", body=enter),
    Row("PATCH",  "/v1/session",                           EDITS, body=json_of(metadata={"a": 1})),
    Row("DELETE", "/v1/session",                           "204 403 403  403 403  204 204 204  404 404"),
    Row("GET",    "/v1/session/messages",                  READS),
    Row("GET",    "/v1/session/todos",                     READS),
    Row("GET",    "/v1/session/audit",                     EDITS),
    Row("PUT",    "/v1/session/lock",                      EDITS, body=LOCK),
    Row("DELETE", "/v1/session/lock",                      EDITS),
    Row("GET",    "/v1/session/export",                    OWNS),
    # ---- a conversation by its ID
    Row("GET",    "/v1/sessions",                          SELF),
    Row("POST",   "/v1/sessions",                          SELF_CREATES, body=json_of()),
    Row("GET",    "/v1/sessions/{session}",                READS),
    Row("PATCH",  "/v1/sessions/{session}",                EDITS, body=json_of(metadata={"a": 1})),
    Row("DELETE", "/v1/sessions/{session}",                "204 403 403  403 403  404 404 404  404 404"),
    Row("GET",    "/v1/sessions/{session}/messages",       READS),
    Row("GET",    "/v1/sessions/{session}/todos",          READS),
    Row("GET",    "/v1/sessions/{session}/audit",          EDITS),
    Row("PUT",    "/v1/sessions/{session}/lock",           EDITS, body=LOCK),
    Row("DELETE", "/v1/sessions/{session}/lock",           EDITS),
    Row("GET",    "/v1/sessions/{session}/export",         OWNS),
    Row("POST",   "/v1/sessions/import",                   SELF_CREATES, body=a_file),
    # ---- branches
    Row("POST",   "/v1/sessions/{session}/fork",           EDITS.replace("200", "201"), body=json_of()),
    Row("POST",   "/v1/sessions/{session}/rewind",         EDITS, body=json_of(to=0)),
    Row("POST",   "/v1/sessions/{session}/merge",          OWNS, body=merge),
    Row("GET",    "/v1/sessions/{session}/revisions",      READS, rewound=True),
    Row("POST",   "/v1/sessions/{session}/revisions/{revision}/undo", EDITS, rewound=True),
    # ---- who is let in. A viewer may leave; nobody else is theirs to put out.
    Row("GET",    "/v1/sessions/{session}/members",        READS),
    Row("PUT",    "/v1/sessions/{session}/members/{member}", OWNS, body=json_of(role="editor")),
    Row("DELETE", "/v1/sessions/{session}/members/{member}", "204 403 204  403 403  404 404 404  404 404"),
    Row("GET",    "/v1/sessions/{session}/links",          OWNS),
    Row("POST",   "/v1/sessions/{session}/links",          OWNS.replace("200", "201"), body=json_of(role="viewer")),
    Row("DELETE", "/v1/sessions/{session}/links/{link}",   OWNS.replace("200", "204")),
    Row("POST",   "/v1/links/join",                        "200 200 200  200 200  200 200 404  200 200", body=join),
    # ---- what waits for a person
    Row("GET",    "/v1/approvals",                         SELF, waits=True),
    Row("POST",   "/v1/approvals/{approval}",              OWNS, APPROVAL, DENY, waits=True),
    # ---- devices and people: everybody's own
    Row("POST",   "/v1/devices",                           SELF, body=json_of(secret=SECRET), untrusted={**LET_IN, REVOKED: UNTRUSTED[REVOKED]}),
    Row("POST",   "/v1/devices/link",                      SELF, body=sign_in),
    Row("GET",    "/v1/devices",                           SELF),
    Row("DELETE", "/v1/devices/{spare}",                   "204 404 404  404 404  404 404 404  404 404", "device_not_found"),
    Row("DELETE", "/v1/user",                              SELF),
    # ---- operators: a device's token is not theirs
    Row("GET",    "/v1/admin/overview",                    SELF.replace("200", "401"), untrusted=NO_ADMIN),
    Row("GET",    "/v1/admin/series",                      SELF.replace("200", "401"), untrusted=NO_ADMIN),
    Row("GET",    "/v1/admin/sessions/{session}",          SELF.replace("200", "401"), untrusted=NO_ADMIN),
    Row("DELETE", "/v1/admin/sessions/{session}",          SELF.replace("200", "401"), untrusted=NO_ADMIN),
    Row("DELETE", "/v1/admin/sessions/{session}/lock",     SELF.replace("200", "401"), untrusted=NO_ADMIN),
    Row("POST",   "/v1/admin/sessions/{session}/cancel",   SELF.replace("200", "401"), untrusted=NO_ADMIN),
    Row("POST",   "/v1/admin/sessions/{session}/recover",  SELF.replace("200", "401"), untrusted=NO_ADMIN),
    Row("GET",    "/v1/admin/search",                      SELF.replace("200", "401"), untrusted=NO_ADMIN),
    # ---- nobody's
    Row("GET",    "/health",                               SELF, untrusted=LET_IN),
    Row("GET",    "/ready",                                SELF, untrusted=LET_IN),
)
# fmt: on

# Whoever was out is in by this.
LETS_IN = {"POST /v1/links/join"}
# What names them goes with them: a membership, also one that opens nothing to their organisation.
GOES_WITH_THEM = {"DELETE /v1/user"}
# Whoever owns one whose time is over may end it: that it was theirs is nothing new to them.
ENDS = {"DELETE /v1/session", "DELETE /v1/sessions/{session}"}


@pytest.fixture(scope="module")
def matrix_url(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    with new_database(postgres, template) as url:
        yield url


@pytest.fixture(scope="module")
def matrix_settings(matrix_url: str) -> Iterator[Settings]:
    with DemoModel() as model:
        environ = {
            "DATABASE_URL": matrix_url,
            "DATABASE_POOL_SIZE": "8",
            "ANTHROPIC_API_KEY": "demo",
            "ANTHROPIC_BASE_URL": model.url,
            "RATE_DEVICE_PER_MINUTE": "0",
            "RATE_ADDRESS_PER_MINUTE": "0",
            "ADMIN_TOKEN": "a" * 40,
        }
        yield read_settings(environ)


@pytest.fixture(scope="module")
def door(matrix_settings: Settings) -> Iterator[Door]:
    with opened(settings_of(matrix_settings, "bound")) as opened_door:
        yield opened_door


def shape(call: str) -> str:
    """Whatever a path's parts are called."""
    return re.sub(r"\{[^}]*\}", "{}", call)


def told(answer: Response) -> tuple[int, str | None]:
    return problem(answer) if answer.status_code >= 400 else (answer.status_code, None)


def test_every_call_of_the_api_is_in_the_table(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    calls = {shape(f"{method.upper()} {path}") for path, methods in paths.items() for method in methods}
    known = {shape(row.name) for row in TABLE}
    assert len(known) == len(TABLE)
    assert calls - known == set(), "these calls have no row"
    assert known - calls == set(), "these rows have no call"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_each_may_do_what_the_table_says_and_nothing_else(row: Row, door: Door, matrix_url: str) -> None:
    wrong = []
    for who in (*COLUMNS, *BARRED):
        scene = set_scene(door, matrix_url, waits=row.waits, rewound=row.rewound)
        before = scene.rows()
        body = {} if row.body is None else row.body(scene)
        answer = scene.call(who, row.method, row.path.format(**scene.named()), **body)
        if told(answer) != row.expected(who):
            wrong.append(f"{who}: {told(answer)}, and not {row.expected(who)}")
        refused = answer.status_code >= 400
        is_out = who in (*OUTSIDE, *BARRED) and row.name not in LETS_IN
        # Who is let do something of their own may leave this conversation for it, which counts its version up.
        after = scene.rows()
        stays = is_out and row.name not in GOES_WITH_THEM
        if (refused and after != before) or (stays and after[:-1] != before[:-1]):
            wrong.append(f"{who}: something was changed")
        if refused or is_out:
            secrets = (MARKER, str(scene.second))
            wrong += [f"{who}: is told {secret}" for secret in secrets if secret in answer.text]
    assert not wrong, "\n".join(wrong)


READ_PATHS = [row for row in TABLE if row.expected(STRANGER)[0] == 404]


@pytest.mark.parametrize("row", READ_PATHS, ids=lambda row: row.name)
def test_what_is_not_there_not_yours_or_dead_is_the_same_to_whoever_asks(
    row: Row, door: Door, matrix_url: str
) -> None:
    """The same number, the same body but for the request's ID, and the same headers but for that."""

    def body_of(who: str, scene: Scene, named: dict[str, str]) -> Any:
        body = {} if row.body is None else row.body(scene)
        answer = scene.call(who, row.method, row.path.format(**named), **body)
        headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
        headers.pop("content-length", None)
        return answer.status_code, {**answer.json(), "request_id": None}, headers

    scene = set_scene(door, matrix_url, waits=row.waits, rewound=row.rewound)
    not_yours = body_of(STRANGER, scene, scene.named())
    not_there = body_of(STRANGER, scene, {name: str(uuid4()) for name in scene.named()})
    assert not_yours == not_there
    if "session" in row.path and row.name not in ENDS:
        dead = set_scene(door, matrix_url, waits=False)
        run(
            matrix_url,
            "UPDATE conversation_states SET last_active_at = now() - interval '1 day' WHERE id = %s",
            str(dead.session),
        )
        assert body_of(OWNER, dead, dead.named()) == not_yours


# ---- where people are named


@pytest.fixture(scope="module")
def peoples(matrix_settings: Settings) -> Iterator[Door]:
    with opened(settings_of(matrix_settings, "jwt")) as opened_door:
        yield opened_door


@pytest.mark.parametrize(
    ("method", "path", "mine", "strangers"),
    [
        ("GET", "/v1/session", (200, None), (404, SESSION)),
        ("GET", "/v1/session/messages", (200, None), (404, SESSION)),
        ("GET", "/v1/turns/{turn}", (200, None), (404, TURN)),
        ("POST", "/v1/turns/{turn}/cancel", (200, None), (404, TURN)),
        ("PUT", "/v1/session/lock", (200, None), (404, SESSION)),
        ("GET", "/v1/devices", (200, None), (200, None)),
        ("DELETE", "/v1/session", (204, None), (204, None)),
    ],
)
def test_where_people_are_named_each_reaches_their_own(
    peoples: Door,
    matrix_url: str,
    method: str,
    path: str,
    mine: tuple[int, str | None],
    strangers: tuple[int, str | None],
) -> None:
    name = uuid4().hex
    scene = set_scene(peoples, matrix_url)
    owner, stranger = scene.people[OWNER], uuid4()
    run(matrix_url, "UPDATE users SET subject = %s WHERE id = %s", f"{ISSUER}|{name}", str(owner.user_id))
    body = {"json": {"agent": "manager"}} if method == "PUT" else {}

    def told_to(device: Any, token: str | None) -> tuple[int, str | None]:
        return told(peoples.call(method, path.format(**scene.named()), device, token, **body))

    before = scene.rows()
    # Their organisation is what their token says, so the owner's names it.
    org = str(ORG)
    assert told_to(stranger, user_token(uuid4().hex, org_id=org)) == strangers
    assert told_to(owner.device_id, user_token(uuid4().hex, org_id=org)) == (401, "device_barred")
    assert told_to(owner.device_id, user_token(name, org_id=org, exp=1)) == (401, "token_expired")
    assert told_to(owner.device_id, user_token(name, org_id=org, key=OTHER_KEY)) == (401, "token_invalid")
    assert told_to(owner.device_id, None) == (401, "token_missing")
    assert scene.rows() == before
    assert told_to(owner.device_id, user_token(name, org_id=org)) == mine
