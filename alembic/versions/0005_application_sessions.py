"""How long a conversation lives that nobody uses, and what teams keep of a session beside it.

The new column has a default, so that the release before this one goes on working.

Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
TIME = sa.DateTime(timezone=True)
IDLE_END = "((last_active_at AT TIME ZONE 'UTC') + make_interval(secs => idle_ttl))"


def upgrade() -> None:
    op.add_column(
        "conversation_states",
        sa.Column("idle_ttl", sa.Integer, nullable=False, server_default=sa.text("1800")),
    )
    op.create_check_constraint(op.f("ck_conversation_states_idle_ttl"), "conversation_states", "idle_ttl > 0")
    op.drop_index("ix_conversation_states_last_active_at", "conversation_states")
    op.create_index("ix_conversation_states_idle_end", "conversation_states", [sa.text(IDLE_END)])
    op.create_table(
        "application_sessions",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("namespace", sa.String(50), nullable=False),
        sa.Column("user_id", sa.Uuid),
        sa.Column("slot", sa.Integer),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("idle_ttl", sa.Integer, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("last_active_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("session_id", "namespace", name="pk_application_sessions"),
        sa.CheckConstraint("idle_ttl > 0", name=op.f("ck_application_sessions_idle_ttl")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index(
        "ix_application_sessions_user_id_namespace_slot",
        "application_sessions",
        ["user_id", "namespace", "slot"],
        unique=True,
    )
    op.create_index("ix_application_sessions_idle_end", "application_sessions", [sa.text(IDLE_END)])


def downgrade() -> None:
    op.drop_table("application_sessions")
    op.drop_index("ix_conversation_states_idle_end", "conversation_states")
    op.create_index("ix_conversation_states_last_active_at", "conversation_states", ["last_active_at"])
    op.drop_column("conversation_states", "idle_ttl")
