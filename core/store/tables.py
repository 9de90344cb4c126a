"""The tables: their one definition. The migrations make them, and a test compares the two.

Every row carries its session's id first in its key, so that the schema can be sharded by session. Times are the
database's. `conversation_states` is updated twice a turn, so it leaves room on its pages for updates in place, and the
columns that change at a turn's end stay out of its indexes.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

# The newest revision under alembic/versions. /ready compares the database with it; a test compares it with the files.
SCHEMA_REVISION = "0001"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_NOW = text("now()")
_TIME = DateTime(timezone=True)
_NO_FIELDS = text("'{}'::jsonb")

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("org_id", Uuid),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
)

conversation_states = Table(
    "conversation_states",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("org_id", Uuid),
    # The active-agent lock: who owns the conversation, since when, for how many seconds.
    Column("active_agent", String(50)),
    Column("locked_at", _TIME),
    Column("session_ttl", Integer, nullable=False, server_default=text("86400")),
    # The lease: NULL is free. The epoch only grows.
    Column("lease_epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_expires_at", _TIME),
    # The last number given out of each sequence, and a count of all changes: what was read is current if it is the same.
    Column("message_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("turn_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    Column("state", JSONB, nullable=False, server_default=_NO_FIELDS),
    Column("metadata", JSONB, nullable=False, server_default=_NO_FIELDS),
    Column("usage", JSONB, nullable=False, server_default=_NO_FIELDS),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("last_active_at", _TIME, nullable=False, server_default=_NOW),
    CheckConstraint("session_ttl > 0", name="session_ttl"),
    CheckConstraint("(active_agent IS NULL) = (locked_at IS NULL)", name="lock_whole"),
    # A user's conversations; a user's erasure.
    Index(None, "user_id"),
    # The console's sessions by agent.
    Index(None, "active_agent", postgresql_where=text("active_agent IS NOT NULL")),
    # The sweep of expired locks, oldest first.
    Index(None, "locked_at", postgresql_where=text("locked_at IS NOT NULL")),
    # The sweep of idle conversations, oldest first.
    Index(None, "last_active_at"),
    postgresql_with={"fillfactor": 80},
)

connections = Table(
    "connections",
    metadata,
    Column("device_id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # The conversation that the device is in now.
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="SET NULL")),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    # A user's devices, and the devices in a conversation when it ends.
    Index(None, "user_id"),
    Index(None, "session_id"),
)

turns = Table(
    "turns",
    metadata,
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="CASCADE"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("idempotency_key", String(255)),
    Column("body_digest", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("agent", String(50)),
    # The turn's messages: from the client's to the last one stored.
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("usage", JSONB),
    Column("error", JSONB),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("ended_at", _TIME),
    PrimaryKeyConstraint("session_id", "id"),
    CheckConstraint(
        "status IN ('queued', 'running', 'waiting', 'completed', 'failed', 'cancelled')", name="status"
    ),
    # One turn a key: what makes a retry free.
    Index(
        "uq_turns_session_id_idempotency_key",
        "session_id",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    # One running turn a conversation, whatever the lease says.
    Index(
        "uq_turns_session_id_running", "session_id", unique=True, postgresql_where=text("status = 'running'")
    ),
    # The next queued turn of a conversation; the sweep of what is queued or waiting too long.
    Index("ix_turns_session_id_seq_open", "session_id", "seq", postgresql_where=text("ended_at IS NULL")),
)

messages = Table(
    "messages",
    metadata,
    Column("session_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("turn_id", Uuid, nullable=False),
    Column("role", String(16), nullable=False),
    Column("agent", String(50)),
    # JSON text, exactly as it came; see core/content.py.
    Column("content", Text, nullable=False),
    # Of what stood before a model's reply when it was made: its thinking is valid behind that alone.
    Column("prefix_digest", String(64)),
    Column("stop_reason", String(50)),
    Column("usage", JSONB),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("session_id", "seq"),
    ForeignKeyConstraint(["session_id"], ["conversation_states.id"], ondelete="CASCADE"),
    CheckConstraint("role IN ('user', 'assistant')", name="role"),
)
