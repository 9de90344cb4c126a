"""Sign-ins: a device becomes a person's, and what was said from it anonymously becomes theirs as well.

What can go wrong, and why it cannot:

* *A conversation begins, or ends, while its user's conversations move.* They are locked, then the devices, then the user; who
  begins one refers to the user, and so comes before that lock, where it is found, or after all is done, where the user is gone
  and the claim reads anew.
* *A turn is running.* Its epoch stays as it is, so its holder goes on. What it had reserved of the guest's budget stands in the
  person's before it can be settled; for that the person's rows of those days are there before anything is locked, so that a
  statement that waits for the lock can see them.
* *Two sign in as the same new person.* A subject is one user's; the later one finds that out by the index, and tries again.
* *Somebody who knows a device's ID signs it in as theirs.* Its token says that it is theirs, and where only people have tokens, the
  secret that it was registered with; else nothing comes along.
* *The reply is lost.* Sent again it finds the device with its person, and answers the same: which conversations came along
  stands in their audit.

It is the one change here that is a transaction of several statements: each must see what the one before waited for.
"""

from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, RowMapping, TextClause, text

from core.deadline import Deadline
from core.errors import DatabaseConflict, DeviceTaken
from core.ids import DeviceId, SessionId, UserId
from core.store.alive import ALIVE
from core.store.database import Database, translated
from core.store.fence import CLOCK
from core.store.handing_over import forget, hand_over
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Wish:
    """A device that knows the version of its token, where one was asked for, and whom its person's token names."""

    device_id: DeviceId
    token_version: int | None
    subject: str
    org_id: UUID | None
    # Of the person, if neither they nor the device were here before.
    user_id: UserId
    # What the audit says of conversations that came along with this device.
    mark: str
    # Where no token says that the device is whose it claims to be, its secret does, if it has one.
    proves: bool = False
    secret_digest: str | None = None

    def named(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in Wish.__slots__}


@dataclass(frozen=True, slots=True)
class Moved:
    """A conversation whose row was changed."""

    session_id: SessionId
    version: int
    epoch: int


@dataclass(frozen=True, slots=True)
class SignedIn:
    user_id: UserId
    token_version: int
    # Of these what is cached is of the past; the last one is the one that the device is in, or was.
    changed: tuple[Moved, ...]


# ---- before anything is locked

# Rows of the days on which the guest spent, for whoever may be charged from now on. They change nothing, so they may stay if
# the sign-in does not come about.
_PREPARE: Final = text("""
WITH made AS (
INSERT INTO spending (scope, id, day)
SELECT o.scope, o.id, p.day
FROM connections c JOIN users g ON g.id = c.user_id AND g.subject IS NULL
JOIN spending p ON p.scope = 'user' AND p.id = g.id
CROSS JOIN LATERAL (
    SELECT 'user' AS scope, u.id FROM users u WHERE u.subject = :subject
    UNION ALL SELECT 'org', CAST(:org_id AS uuid) WHERE CAST(:org_id AS uuid) IS NOT NULL
) AS o
WHERE c.device_id = :device_id
ORDER BY o.scope DESC, o.id, p.day
ON CONFLICT (scope, id, day) DO NOTHING
)
SELECT
""")

# ---- one after the other, in a transaction

_DEVICE: Final = text("""
SELECT c.user_id, c.session_id, c.token_version, c.revoked_at IS NOT NULL AS is_revoked, u.subject, c.secret_digest
FROM connections c JOIN users u ON u.id = c.user_id WHERE c.device_id = :device_id
""")
_PERSON: Final = text("SELECT id FROM users WHERE subject = :subject")

# Of two who make the same one the second finds it made.
_MAKE_PERSON: Final = text("INSERT INTO users (id, subject, org_id) VALUES (:user_id, :subject, :org_id)")
_MAKE_DEVICE: Final = text("INSERT INTO connections (device_id, user_id) VALUES (:device_id, :person_id)")
_KEEP_ORG: Final = text("""
UPDATE users SET org_id = :org_id WHERE id = :person_id AND org_id IS DISTINCT FROM CAST(:org_id AS uuid)
""")

# Locks in the order of everybody else: conversations, the devices in them, the user that both refer to.
_LOCK_SESSIONS: Final = text(
    "SELECT id FROM conversation_states WHERE user_id = :guest_id ORDER BY id FOR UPDATE"
)
_LOCK_DEVICES: Final = text("""
SELECT device_id, session_id, token_version, revoked_at IS NOT NULL AS is_revoked
FROM connections WHERE user_id = :guest_id ORDER BY device_id FOR UPDATE
""")
_LOCK_GUEST: Final = text("SELECT id FROM users WHERE id = :guest_id AND subject IS NULL FOR UPDATE")
_SESSIONS: Final = text("SELECT id FROM conversation_states WHERE user_id = :guest_id ORDER BY id")
_UNPREPARED: Final = text("""
SELECT true FROM spending p WHERE p.scope = 'user' AND p.id = :guest_id AND (
    NOT EXISTS (SELECT FROM spending o WHERE o.scope = 'user' AND o.id = :person_id AND o.day = p.day)
    OR CAST(:org_id AS uuid) IS NOT NULL
        AND NOT EXISTS (SELECT FROM spending o WHERE o.scope = 'org' AND o.id = :org_id AND o.day = p.day))
LIMIT 1
""")

# A guest who was nobody yet is the person from now on: nothing of theirs has to move.
_BECOME: Final = text("""
UPDATE users SET subject = :subject, org_id = :org_id WHERE id = :guest_id AND subject IS NULL RETURNING id
""")

_OWN: Final = text("""
UPDATE conversation_states SET user_id = :person_id, org_id = COALESCE(org_id, CAST(:org_id AS uuid)), version = version + 1
WHERE id = ANY(CAST(:ids AS uuid[])) RETURNING id, version, lease_epoch
""")
_NOTE: Final = text("""
INSERT INTO audit_log (session_id, actor, user_id, action, reason)
SELECT id, 'user', :person_id, 'signed_in', :mark FROM unnest(CAST(:ids AS uuid[])) AS moved(id)
""")
# What turns in progress were given counts for the organisation too, which did not have them before.
_RESERVED_FOR_ORG: Final = text("""
INSERT INTO spending AS p (scope, id, day, reserved_micros, reserved_tokens)
SELECT 'org', CAST(:org_id AS uuid), CAST(t.created_at AT TIME ZONE 'UTC' AS date), sum(t.reserved_micros), sum(t.reserved_tokens)
FROM turns t JOIN conversation_states s ON s.id = t.session_id AND s.org_id IS NULL
WHERE t.session_id = ANY(CAST(:ids AS uuid[])) AND t.ended_at IS NULL AND CAST(:org_id AS uuid) IS NOT NULL
  AND (t.reserved_micros > 0 OR t.reserved_tokens > 0)
GROUP BY 3 ORDER BY 3
ON CONFLICT (scope, id, day) DO UPDATE
SET reserved_micros = p.reserved_micros + EXCLUDED.reserved_micros, reserved_tokens = p.reserved_tokens + EXCLUDED.reserved_tokens
""")

_HAND_DEVICES: Final = text("""
UPDATE connections SET user_id = :person_id, token_version = token_version + CASE WHEN device_id = :device_id THEN 1 ELSE 0 END
WHERE user_id = :guest_id
""")

# A device of another person leaves the conversation that it was in, which counts its version up, and is the new person's.
_LEAVE: Final = text("""
UPDATE conversation_states SET version = version + 1 WHERE id = :left_id RETURNING id, version, lease_epoch
""")
_CHANGE_HANDS: Final = text("""
UPDATE connections SET user_id = :person_id, session_id = NULL, token_version = token_version + 1
WHERE device_id = :device_id AND user_id = :was_id AND session_id IS NOT DISTINCT FROM CAST(:left_id AS uuid)
  AND token_version = :version AND revoked_at IS NULL
RETURNING token_version
""")

# ---- afterwards

# What came along with a device and is still there, oldest first, read from one snapshot.
_CAME_ALONG: Final = text(f"""
WITH {CLOCK}
SELECT s.id FROM users u CROSS JOIN clock JOIN conversation_states s ON s.user_id = u.id AND {ALIVE}
WHERE u.id = :user_id AND EXISTS (SELECT FROM audit_log a
    WHERE a.session_id = s.id AND a.action = 'signed_in' AND a.reason = :mark)
ORDER BY s.created_at, s.id
""")


def sign_in(database: Database, wish: Wish, deadline: Deadline) -> SignedIn | None:
    """All or nothing. None: the device may not speak. A DatabaseConflict: somebody was at it at the same moment; try again."""
    database.by(deadline).row(_PREPARE, wish.named())
    with translated(), database.connection(deadline) as connection:
        return _signed_in(connection, wish)


def came_along(database: Database, user_id: UserId, mark: str) -> list[SessionId]:
    rows = database.rows(_CAME_ALONG, {"user_id": user_id, "mark": mark, "now": None})
    return [SessionId(row["id"]) for row in rows]


def _signed_in(connection: Connection, wish: Wish) -> SignedIn | None:
    device = _one(connection, _DEVICE, wish.named())
    person = _one(connection, _PERSON, wish.named())
    if device is None:
        return None if wish.token_version is not None else _new_device(connection, wish, person)
    is_theirs = device["subject"] == wish.subject
    if device["is_revoked"] or not _is_current(wish.token_version, device["token_version"], is_theirs):
        return None
    if is_theirs:
        _keep_org(connection, wish, device["user_id"])
        return SignedIn(device["user_id"], device["token_version"], ())
    if device["subject"] is not None:
        return _changes_hands(connection, wish, device, person)
    if wish.proves and device["secret_digest"] not in (None, wish.secret_digest):
        raise DeviceTaken
    return _brings_its_guest(connection, wish, device, person)


def _is_current(named: int | None, version: int, is_theirs: bool) -> bool:
    """A sign-in counts the version up. Who did not hear of it sends it again with the token from before."""
    return named is None or named == version or (is_theirs and named == version - 1)


def _new_device(connection: Connection, wish: Wish, person: RowMapping | None) -> SignedIn:
    person_id = _person_id(connection, wish, person)
    connection.execute(_MAKE_DEVICE, {**wish.named(), "person_id": person_id})
    return SignedIn(person_id, 0, ())


def _person_id(connection: Connection, wish: Wish, person: RowMapping | None) -> UserId:
    if person is None:
        connection.execute(_MAKE_PERSON, wish.named())
        return wish.user_id
    _keep_org(connection, wish, person["id"])
    return UserId(person["id"])


def _keep_org(connection: Connection, wish: Wish, person_id: UUID) -> None:
    connection.execute(_KEEP_ORG, {**wish.named(), "person_id": person_id})


def _changes_hands(
    connection: Connection, wish: Wish, device: RowMapping, person: RowMapping | None
) -> SignedIn:
    left = _one(connection, _LEAVE, {"left_id": device["session_id"]})
    person_id = _person_id(connection, wish, person)
    given = {
        "device_id": wish.device_id,
        "person_id": person_id,
        "was_id": device["user_id"],
        "left_id": device["session_id"],
        "version": device["token_version"],
    }
    changed = _one(connection, _CHANGE_HANDS, given)
    if changed is None:
        raise DatabaseConflict
    return SignedIn(person_id, changed["token_version"], () if left is None else (_moved(left),))


def _brings_its_guest(
    connection: Connection, wish: Wish, device: RowMapping, person: RowMapping | None
) -> SignedIn:
    guest_id = UserId(device["user_id"])
    given = {**wish.named(), "guest_id": guest_id, "person_id": guest_id if person is None else person["id"]}
    given["ids"] = [row["id"] for row in _all(connection, _LOCK_SESSIONS, given)]
    own = next((d for d in _all(connection, _LOCK_DEVICES, given) if d["device_id"] == wish.device_id), None)
    if own is None or own["is_revoked"] or own["token_version"] != device["token_version"]:
        raise DatabaseConflict
    if person is None:
        if _one(connection, _BECOME, given) is None:
            raise DatabaseConflict
    else:
        _lock_out(connection, given)
        _keep_org(connection, wish, person["id"])
    if _one(connection, _UNPREPARED, given) is not None:
        raise DatabaseConflict
    # The reservations first: they are of conversations that have no organisation yet.
    connection.execute(_RESERVED_FOR_ORG, given)
    moved = [_moved(row) for row in _all(connection, _OWN, given)]
    connection.execute(_NOTE, given)
    if person is not None:
        hand_over(connection, given)
    connection.execute(_HAND_DEVICES, given)
    if person is not None:
        forget(connection, given)
    moved.sort(key=lambda one: (one.session_id == own["session_id"], one.session_id))
    return SignedIn(UserId(given["person_id"]), own["token_version"] + 1, tuple(moved))


def _lock_out(connection: Connection, given: dict[str, Any]) -> None:
    """Nothing began between the locks; and from now on nothing begins that refers to the guest."""
    if _one(connection, _LOCK_GUEST, given) is None:
        raise DatabaseConflict
    if [row["id"] for row in _all(connection, _SESSIONS, given)] != given["ids"]:
        raise DatabaseConflict


def _moved(row: RowMapping) -> Moved:
    return Moved(SessionId(row["id"]), row["version"], row["lease_epoch"])


def _one(connection: Connection, statement: TextClause, given: dict[str, Any]) -> RowMapping | None:
    return connection.execute(statement, given).mappings().first()


def _all(connection: Connection, statement: TextClause, given: dict[str, Any]) -> list[RowMapping]:
    return list(connection.execute(statement, given).mappings())
