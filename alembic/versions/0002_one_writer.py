"""Queued, joined, stopped and crashed turns; tool calls and approvals; who holds the lease.

Every new column has a default or may be NULL, so that the release before this one goes on working.

Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
TIME = sa.DateTime(timezone=True)
NOUGHT = sa.text("0")
FORMER = "status IN ('queued', 'running', 'waiting', 'completed', 'failed', 'cancelled')"
STATUSES = "status IN ('queued', 'running', 'waiting', 'completed', 'failed', 'cancelled', 'joined')"


def upgrade() -> None:
    op.add_column("conversation_states", sa.Column("lease_holder", sa.Uuid))
    op.add_column(
        "conversation_states", sa.Column("signal_seq", sa.BigInteger, nullable=False, server_default=NOUGHT)
    )
    op.add_column(
        "conversation_states", sa.Column("rewrites", sa.BigInteger, nullable=False, server_default=NOUGHT)
    )
    op.add_column("messages", sa.Column("left_out", sa.Boolean, nullable=False, server_default=sa.false()))
    extend_turns()
    create_tool_calls()
    create_approvals()


def extend_turns() -> None:
    op.alter_column("turns", "first_seq", nullable=True)
    op.alter_column("turns", "last_seq", nullable=True)
    op.add_column("turns", sa.Column("joined_to", sa.Uuid))
    op.add_column("turns", sa.Column("input", sa.Text))
    op.add_column("turns", sa.Column("stop", sa.String(16)))
    op.add_column("turns", sa.Column("crashes", sa.Integer, nullable=False, server_default=NOUGHT))
    op.create_check_constraint(op.f("ck_turns_stop"), "turns", "stop IN ('cancel', 'interrupt', 'rollback')")
    op.drop_constraint("ck_turns_status", "turns")
    op.create_check_constraint(op.f("ck_turns_status"), "turns", STATUSES)
    op.create_index(
        "ix_turns_created_at_keyed",
        "turns",
        ["created_at"],
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "ix_turns_created_at_open", "turns", ["created_at"], postgresql_where=sa.text("ended_at IS NULL")
    )


def create_tool_calls() -> None:
    op.create_table(
        "tool_calls",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.String(100), nullable=False),
        sa.Column("turn_id", sa.Uuid, nullable=False),
        sa.Column("message_seq", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("effect", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("input_digest", sa.String(64), nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("session_id", "turn_id", "id", name="pk_tool_calls"),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["conversation_states.id"],
            name="fk_tool_calls_session_id_conversation_states",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("effect IN ('read', 'idempotent', 'once')", name=op.f("ck_tool_calls_effect")),
        sa.CheckConstraint(
            "status IN ('asked', 'ready', 'started', 'done', 'failed', 'unknown', 'denied', 'dropped')",
            name=op.f("ck_tool_calls_status"),
        ),
    )


def create_approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("turn_id", sa.Uuid, nullable=False),
        sa.Column("tool_call_id", sa.String(100), nullable=False),
        sa.Column("input_digest", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("decided_at", TIME),
        sa.PrimaryKeyConstraint("session_id", "id", name="pk_approvals"),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["conversation_states.id"],
            name="fk_approvals_session_id_conversation_states",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'denied', 'expired', 'withdrawn')",
            name=op.f("ck_approvals_status"),
        ),
    )
    op.create_index("ix_approvals_session_id_turn_id", "approvals", ["session_id", "turn_id"])
    op.create_index(
        "ix_approvals_expires_at", "approvals", ["expires_at"], postgresql_where=sa.text("status = 'pending'")
    )


def downgrade() -> None:
    op.drop_table("approvals")
    op.drop_table("tool_calls")
    op.drop_index("ix_turns_created_at_open", "turns")
    op.drop_index("ix_turns_created_at_keyed", "turns")
    # What the release before cannot read: messages that joined another turn, and turns that were never begun.
    op.execute("DELETE FROM turns WHERE status = 'joined' OR first_seq IS NULL")
    op.drop_constraint("ck_turns_status", "turns")
    op.create_check_constraint(op.f("ck_turns_status"), "turns", FORMER)
    op.drop_constraint("ck_turns_stop", "turns")
    for column in ("crashes", "stop", "input", "joined_to"):
        op.drop_column("turns", column)
    op.alter_column("turns", "last_seq", nullable=False)
    op.alter_column("turns", "first_seq", nullable=False)
    op.drop_column("messages", "left_out")
    for column in ("rewrites", "signal_seq", "lease_holder"):
        op.drop_column("conversation_states", column)
