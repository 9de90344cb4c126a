"""The active agent's audit, todos, compactions, members, spending; who may approve, and what came of an unknown outcome.

Every new column has a default or may be NULL, so that the release before this one goes on working.

Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
TIME = sa.DateTime(timezone=True)
NOUGHT = sa.text("0")
LOCK_END = "((locked_at AT TIME ZONE 'UTC') + make_interval(secs => session_ttl))"


def upgrade() -> None:
    # By when they run out, not by since when they are held: their times to live differ.
    op.drop_index("ix_conversation_states_locked_at", "conversation_states")
    op.create_index(
        "ix_conversation_states_lock_end",
        "conversation_states",
        [sa.text(LOCK_END)],
        postgresql_where=sa.text("locked_at IS NOT NULL"),
    )
    op.add_column("users", sa.Column("session_ttl", sa.Integer))
    op.create_check_constraint(op.f("ck_users_session_ttl"), "users", "session_ttl > 0")
    for column in ("reserved_micros", "reserved_tokens"):
        op.add_column("turns", sa.Column(column, sa.BigInteger, nullable=False, server_default=NOUGHT))
    op.add_column("turns", sa.Column("reservation", sa.Uuid))
    extend_tool_calls()
    extend_approvals()
    create_members()
    create_audit_log()
    create_todos()
    create_compactions()
    create_spending()


def extend_tool_calls() -> None:
    op.add_column("tool_calls", sa.Column("settled_at", TIME))
    op.add_column(
        "tool_calls",
        sa.Column("approver", sa.String(16), nullable=False, server_default=sa.text("'owner'")),
    )
    op.create_check_constraint(
        op.f("ck_tool_calls_approver"), "tool_calls", "approver IN ('owner', 'editor', 'viewer')"
    )
    op.create_index("ix_tool_calls_session_id_message_seq", "tool_calls", ["session_id", "message_seq"])


def extend_approvals() -> None:
    op.add_column(
        "approvals", sa.Column("kind", sa.String(16), nullable=False, server_default=sa.text("'call'"))
    )
    op.add_column(
        "approvals", sa.Column("role", sa.String(16), nullable=False, server_default=sa.text("'owner'"))
    )
    op.add_column("approvals", sa.Column("decided_by", sa.Uuid))
    op.add_column("approvals", sa.Column("note", sa.Text))
    op.create_check_constraint(op.f("ck_approvals_kind"), "approvals", "kind IN ('call', 'outcome')")
    op.create_check_constraint(
        op.f("ck_approvals_role"), "approvals", "role IN ('owner', 'editor', 'viewer')"
    )


def of_a_session(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["session_id"],
        ["conversation_states.id"],
        name=f"fk_{table}_session_id_conversation_states",
        ondelete="CASCADE",
    )


def create_members() -> None:
    op.create_table(
        "members",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("session_id", "user_id", name="pk_members"),
        of_a_session("members"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_members_user_id_users", ondelete="CASCADE"
        ),
        sa.CheckConstraint("role IN ('owner', 'editor', 'viewer')", name=op.f("ck_members_role")),
    )
    op.create_index("ix_members_user_id", "members", ["user_id"])


def create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("at", TIME, nullable=False, server_default=NOW),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("action", sa.String(50), nullable=False),
        sa.Column("agent", sa.String(50)),
        sa.Column("until", TIME),
        sa.Column("reason", sa.Text),
        sa.Column("turn_id", sa.Uuid),
        sa.PrimaryKeyConstraint("session_id", "id", name="pk_audit_log"),
        of_a_session("audit_log"),
    )


def create_todos() -> None:
    op.create_table(
        "todos",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("session_id", "position", name="pk_todos"),
        of_a_session("todos"),
        sa.CheckConstraint("status IN ('pending', 'in_progress', 'completed')", name=op.f("ck_todos_status")),
    )


def create_compactions() -> None:
    op.create_table(
        "compactions",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("upto_seq", sa.BigInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("agent", sa.String(50), nullable=False),
        sa.Column("usage", sa.dialects.postgresql.JSONB),
        sa.Column("left_out", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("session_id", "upto_seq", name="pk_compactions"),
        of_a_session("compactions"),
    )


def create_spending() -> None:
    op.create_table(
        "spending",
        sa.Column("scope", sa.String(8), nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        *(
            sa.Column(column, sa.BigInteger, nullable=False, server_default=NOUGHT)
            for column in ("spent_micros", "spent_tokens", "reserved_micros", "reserved_tokens")
        ),
        sa.PrimaryKeyConstraint("scope", "id", "day", name="pk_spending"),
        sa.CheckConstraint("scope IN ('user', 'org')", name=op.f("ck_spending_scope")),
        postgresql_with={"fillfactor": 70},
    )


def downgrade() -> None:
    for table in ("spending", "compactions", "todos", "audit_log", "members"):
        op.drop_table(table)
    # What the release before cannot read: an approval that asks what came of a call.
    op.execute("DELETE FROM approvals WHERE kind = 'outcome'")
    for column in ("note", "decided_by", "role", "kind"):
        op.drop_column("approvals", column)
    op.drop_index("ix_tool_calls_session_id_message_seq", "tool_calls")
    for column in ("approver", "settled_at"):
        op.drop_column("tool_calls", column)
    for column in ("reservation", "reserved_tokens", "reserved_micros"):
        op.drop_column("turns", column)
    op.drop_column("users", "session_ttl")
    op.drop_index("ix_conversation_states_lock_end", "conversation_states")
    op.create_index(
        "ix_conversation_states_locked_at",
        "conversation_states",
        ["locked_at"],
        postgresql_where=sa.text("locked_at IS NOT NULL"),
    )
