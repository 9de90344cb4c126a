"""The tables that a turn needs: users, connections, conversation_states, turns, messages.

Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NOW = sa.text("now()")
TIME = sa.DateTime(timezone=True)
NO_FIELDS = sa.text("'{}'::jsonb")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
    )
    create_conversation_states()
    create_connections()
    create_turns()
    create_messages()


def create_conversation_states() -> None:
    op.create_table(
        "conversation_states",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid),
        sa.Column("active_agent", sa.String(50)),
        sa.Column("locked_at", TIME),
        sa.Column("session_ttl", sa.Integer, nullable=False, server_default=sa.text("86400")),
        sa.Column("lease_epoch", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("lease_expires_at", TIME),
        sa.Column("message_seq", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("turn_seq", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("state", JSONB, nullable=False, server_default=NO_FIELDS),
        sa.Column("metadata", JSONB, nullable=False, server_default=NO_FIELDS),
        sa.Column("usage", JSONB, nullable=False, server_default=NO_FIELDS),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("last_active_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_conversation_states"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_conversation_states_user_id_users", ondelete="CASCADE"
        ),
        sa.CheckConstraint("session_ttl > 0", name=op.f("ck_conversation_states_session_ttl")),
        sa.CheckConstraint(
            "(active_agent IS NULL) = (locked_at IS NULL)", name=op.f("ck_conversation_states_lock_whole")
        ),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index("ix_conversation_states_user_id", "conversation_states", ["user_id"])
    op.create_index(
        "ix_conversation_states_active_agent",
        "conversation_states",
        ["active_agent"],
        postgresql_where=sa.text("active_agent IS NOT NULL"),
    )
    op.create_index(
        "ix_conversation_states_locked_at",
        "conversation_states",
        ["locked_at"],
        postgresql_where=sa.text("locked_at IS NOT NULL"),
    )
    op.create_index("ix_conversation_states_last_active_at", "conversation_states", ["last_active_at"])


def create_connections() -> None:
    op.create_table(
        "connections",
        sa.Column("device_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("session_id", sa.Uuid),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("device_id", name="pk_connections"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_connections_user_id_users", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["conversation_states.id"],
            name="fk_connections_session_id_conversation_states",
            ondelete="SET NULL",
        ),
    )
    op.create_index("ix_connections_user_id", "connections", ["user_id"])
    op.create_index("ix_connections_session_id", "connections", ["session_id"])


def create_turns() -> None:
    op.create_table(
        "turns",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("body_digest", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("agent", sa.String(50)),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("usage", JSONB),
        sa.Column("error", JSONB),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("session_id", "id", name="pk_turns"),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["conversation_states.id"],
            name="fk_turns_session_id_conversation_states",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'waiting', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_turns_status"),
        ),
    )
    op.create_index(
        "uq_turns_session_id_idempotency_key",
        "turns",
        ["session_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "uq_turns_session_id_running",
        "turns",
        ["session_id"],
        unique=True,
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index(
        "ix_turns_session_id_seq_open",
        "turns",
        ["session_id", "seq"],
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("turn_id", sa.Uuid, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("agent", sa.String(50)),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("prefix_digest", sa.String(64)),
        sa.Column("stop_reason", sa.String(50)),
        sa.Column("usage", JSONB),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("session_id", "seq", name="pk_messages"),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["conversation_states.id"],
            name="fk_messages_session_id_conversation_states",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("role IN ('user', 'assistant')", name=op.f("ck_messages_role")),
    )


def downgrade() -> None:
    op.drop_table("messages")
    op.drop_table("turns")
    op.drop_table("connections")
    op.drop_table("conversation_states")
    op.drop_table("users")
