"""Others in a conversation, for tests: people who were let in, links, and devices that were signed out."""

from datetime import timedelta
from uuid import UUID, uuid4

from core.access import Caller
from core.digest import digest
from core.ids import DeviceId, SessionId
from tests.databases import run

NEVER = timedelta(days=365)


def known(url: str, device: UUID | None = None, *, org: UUID | None = None) -> UUID:
    """A device that has begun nothing yet, with a user of its own."""
    device = device or uuid4()
    user = uuid4()
    run(url, "INSERT INTO users (id, org_id) VALUES (%s, %s)", str(user), org and str(org))
    run(url, "INSERT INTO connections (device_id, user_id) VALUES (%s, %s)", str(device), str(user))
    return device


def user_of(url: str, device: UUID) -> UUID:
    ((user,),) = run(url, "SELECT user_id FROM connections WHERE device_id = %s", str(device))
    return UUID(str(user))


def let_in(url: str, session: UUID, role: str, device: UUID | None = None) -> UUID:
    """A device whose user has this role in the conversation."""
    device = device or known(url)
    run(
        url,
        "INSERT INTO members (session_id, user_id, role) VALUES (%s, %s, %s)",
        str(session),
        str(user_of(url, device)),
        role,
    )
    return device


def put_out(url: str, session: UUID, device: UUID) -> None:
    """As whoever may do it does it."""
    run(url, "UPDATE conversation_states SET version = version + 1 WHERE id = %s", str(session))
    run(
        url,
        "DELETE FROM members WHERE session_id = %s AND user_id = %s",
        str(session),
        str(user_of(url, device)),
    )


def sign_out(url: str, device: UUID) -> None:
    run(
        url,
        "UPDATE conversation_states s SET version = version + 1 FROM connections c "
        "WHERE c.device_id = %s AND s.id = c.session_id",
        str(device),
    )
    run(
        url,
        "UPDATE connections SET revoked_at = now(), token_version = token_version + 1 WHERE device_id = %s",
        str(device),
    )


def enter(url: str, session: UUID, device: UUID) -> None:
    run(url, "UPDATE connections SET session_id = %s WHERE device_id = %s", str(session), str(device))


def link(url: str, session: UUID, role: str, *, ttl: timedelta = NEVER, is_revoked: bool = False) -> str:
    """What its holder sends."""
    secret = f"{session}.{'x' * 11}{uuid4().hex}"
    run(
        url,
        "INSERT INTO share_links (session_id, id, digest, role, expires_at, revoked_at) "
        "VALUES (%s, %s, %s, %s, now() + %s, CASE WHEN %s THEN now() END)",
        str(session),
        str(uuid4()),
        digest(secret),
        role,
        ttl,
        is_revoked,
    )
    return secret


def holder(device: UUID, session: UUID, secret: str) -> Caller:
    """Whoever has a link, as they ask."""
    return Caller(DeviceId(device), link=digest(secret), session_id=SessionId(session))
