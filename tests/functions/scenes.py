"""Scenes: a conversation, and everybody who may stand before it, for tests of who may do what."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any
from uuid import UUID, uuid4

from httpx2 import Response

from core.digest import digest
from tests.databases import run
from tests.doors import OTHER_KEY, Door, device_token

# What only those may read who are in the conversation.
MARKER = "the marker of what was said"
ORG, OTHER_ORG = UUID(int=1), UUID(int=2)

OWNER, EDITOR, VIEWER = "owner", "editor", "viewer"
EX_MEMBER, STRANGER, OTHER_ORGANISATION = "ex-member", "stranger", "other organisation"
LINKED_EDITOR, LINKED_VIEWER = "editor's link", "viewer's link"
REVOKED_LINK, EXPIRED_LINK = "revoked link", "expired link"
REVOKED, EXPIRED, FORGED, NOBODY = "revoked device", "expired token", "forged token", "no token"
INSIDE = (OWNER, EDITOR, VIEWER, LINKED_EDITOR, LINKED_VIEWER)
OUTSIDE = (EX_MEMBER, STRANGER, OTHER_ORGANISATION, REVOKED_LINK, EXPIRED_LINK)
BARRED = (REVOKED, EXPIRED, FORGED, NOBODY)

_ROLES = {
    REVOKED_LINK: ("viewer", "now() - interval '1 minute'", "now() + interval '1 hour'"),
    EXPIRED_LINK: ("editor", "NULL", "now() - interval '1 second'"),
    LINKED_EDITOR: ("editor", "NULL", "now() + interval '1 hour'"),
    LINKED_VIEWER: ("viewer", "NULL", "now() + interval '1 hour'"),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Of the organisation, unless it is said otherwise, with a device that is in the conversation."""

    user_id: UUID = field(default_factory=uuid4)
    device_id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True)
class Scene:
    door: Door
    url: str
    people: dict[str, Person]
    session: UUID = field(default_factory=uuid4)
    # Another one of the owner's.
    second: UUID = field(default_factory=uuid4)
    turn: UUID = field(default_factory=uuid4)
    approval: UUID = field(default_factory=uuid4)
    link: UUID = field(default_factory=uuid4)
    revision: UUID = field(default_factory=uuid4)
    # A second device of the owner's.
    spare: UUID = field(default_factory=uuid4)
    links: dict[str, str] = field(default_factory=dict)

    def named(self) -> dict[str, str]:
        """By the names that paths of the table have for them."""
        ids = {
            name: getattr(self, name) for name in ("session", "turn", "approval", "link", "revision", "spare")
        }
        return {name: str(id_) for name, id_ in ids.items()} | {"member": str(self.people[VIEWER].user_id)}

    def call(self, who: str, method: str, path: str, **more: Any) -> Response:
        person = self.people.get(who) or self.people[OWNER]
        headers = dict(more.pop("headers", {}))
        if who in self.links:
            headers["X-Share-Link"] = self.links[who]
        return self.door.call(method, path, person.device_id, _token(who, person), headers=headers, **more)

    def rows(self) -> list[Any]:
        """All that was said and settled in the conversation, its version last; not when somebody looked at it last."""
        tables = (
            "turns",
            "messages",
            "tool_calls",
            "approvals",
            "todos",
            "members",
            "share_links",
            "audit_log",
            "revisions",
        )
        parts = [f"SELECT '{t}', row_to_json(r)::text FROM {t} r WHERE session_id = %(s)s" for t in tables]
        parts.append(
            "SELECT 'row', row(user_id, org_id, active_agent, message_seq, metadata, merged_into)::text"
            " FROM conversation_states WHERE id = %(s)s"
        )
        parts.append("SELECT 'version', version::text FROM conversation_states WHERE id = %(s)s")
        return run(
            self.url, " UNION ALL ".join(parts).replace("%(s)s", f"'{self.session}'") + " ORDER BY 1, 2"
        )


def _token(who: str, person: Person) -> str | None:
    wrong: dict[str, Callable[[], str | None]] = {
        NOBODY: lambda: None,
        EXPIRED: lambda: device_token(person.device_id, exp=1),
        FORGED: lambda: device_token(person.device_id, key=OTHER_KEY),
    }
    return wrong.get(who, lambda: device_token(person.device_id))()


def set_scene(door: Door, url: str, *, waits: bool = False, rewound: bool = False) -> Scene:
    """`waits`: a turn of it waits for a person to decide; `rewound`: something was taken back, and may be put back."""
    people = {who: Person() for who in (*INSIDE, *OUTSIDE, REVOKED)}
    scene = Scene(door, url, people)
    statements = [
        *(
            f"INSERT INTO users (id, org_id) VALUES ('{p.user_id}', '{OTHER_ORG if who == OTHER_ORGANISATION else ORG}')"
            for who, p in people.items()
            if who != REVOKED
        ),
        *_conversation(scene, scene.session),
        *_conversation(scene, scene.second),
        *(_waiting(scene) if waits else ()),
        *(_rewound(scene) if rewound else ()),
        *(_connection(scene, who, person) for who, person in people.items()),
        f"INSERT INTO connections (device_id, user_id) VALUES ('{scene.spare}', '{people[OWNER].user_id}')",
        *_roles(scene),
    ]
    run(url, ";".join(statement.replace("%", "%%") for statement in statements))
    return scene


def _conversation(scene: Scene, session: UUID) -> list[str]:
    turn = scene.turn if session == scene.session else uuid4()
    content = json.dumps([{"type": "text", "text": MARKER}])
    return [
        "INSERT INTO conversation_states (id, user_id, org_id, message_seq, turn_seq, version, lease_epoch) VALUES "
        f"('{session}', '{scene.people[OWNER].user_id}', '{ORG}', 2, 1, 3, 1)",
        "INSERT INTO turns (session_id, id, seq, body_digest, status, agent, first_seq, last_seq, usage, ended_at) VALUES "
        f"('{session}', '{turn}', 1, 'x', 'completed', 'manager', 1, 2, '{{}}', now())",
        "INSERT INTO messages (session_id, seq, turn_id, role, agent, content, stop_reason) VALUES "
        f"('{session}', 1, '{turn}', 'user', NULL, '{content}', NULL), "
        f"('{session}', 2, '{turn}', 'assistant', 'manager', '{content}', 'end_turn')",
        f"INSERT INTO todos (session_id, position, content, status) VALUES ('{session}', 1, '{MARKER}', 'pending')",
        f"INSERT INTO audit_log (session_id, actor, action, reason) VALUES ('{session}', 'user', 'lock_set', '{MARKER}')",
    ]


def _rewound(scene: Scene) -> list[str]:
    return [
        "INSERT INTO revisions (session_id, id, kind, first_seq, last_seq, undo_until) VALUES "
        f"('{scene.session}', '{scene.revision}', 'rewind', 3, 3, now() + interval '1 hour')"
    ]


def _waiting(scene: Scene) -> list[str]:
    turn, session, arguments = uuid4(), scene.session, {"what": MARKER}
    asked = json.dumps([{"type": "tool_use", "id": "call_1", "name": "burn", "input": arguments}])
    said = json.dumps([{"type": "text", "text": "burn it"}])
    return [
        f"UPDATE conversation_states SET message_seq = 4, turn_seq = 2 WHERE id = '{session}'",
        "INSERT INTO turns (session_id, id, seq, body_digest, status, agent, first_seq, last_seq) VALUES "
        f"('{session}', '{turn}', 2, 'y', 'waiting', 'manager', 3, 4)",
        "INSERT INTO messages (session_id, seq, turn_id, role, agent, content, stop_reason) VALUES "
        f"('{session}', 3, '{turn}', 'user', NULL, '{said}', NULL), "
        f"('{session}', 4, '{turn}', 'assistant', 'manager', '{asked}', 'tool_use')",
        "INSERT INTO tool_calls (session_id, id, turn_id, message_seq, name, effect, status, input_digest) VALUES "
        f"('{session}', 'call_1', '{turn}', 4, 'burn', 'once', 'asked', 'z')",
        "INSERT INTO approvals (session_id, id, turn_id, tool_call_id, input_digest, status, expires_at) VALUES "
        f"('{session}', '{scene.approval}', '{turn}', 'call_1', 'z', 'pending', now() + interval '1 hour')",
    ]


def _connection(scene: Scene, who: str, person: Person) -> str:
    user = scene.people[OWNER].user_id if who == REVOKED else person.user_id
    # Those who were put out are the worst that could be: nobody took their device out of the conversation. Whoever has a
    # link comes from nowhere.
    session = "NULL" if who in _ROLES else f"'{scene.session}'"
    revoked = "now()" if who == REVOKED else "NULL"
    return (
        "INSERT INTO connections (device_id, user_id, session_id, revoked_at) VALUES "
        f"('{person.device_id}', '{user}', {session}, {revoked})"
    )


def _roles(scene: Scene) -> list[str]:
    members = ((EDITOR, "editor"), (VIEWER, "viewer"), (OTHER_ORGANISATION, "editor"))
    made = [
        f"INSERT INTO members (session_id, user_id, role) VALUES ('{scene.session}', '{scene.people[who].user_id}', '{role}')"
        for who, role in members
    ]
    for who, (role, revoked, expires) in _ROLES.items():
        scene.links[who] = f"{scene.session}.{token_urlsafe(32)}"
        id_ = scene.link if who == LINKED_VIEWER else uuid4()
        made.append(
            "INSERT INTO share_links (session_id, id, digest, role, revoked_at, expires_at) VALUES "
            f"('{scene.session}', '{id_}', '{digest(scene.links[who])}', '{role}', {revoked}, {expires})"
        )
    return made
