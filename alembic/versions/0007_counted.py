"""What the book of figures has: a flag on each row that is counted once, and indexes on those that are not counted yet.

Every new column has a default, so that the release before this one goes on working; what goes are indexes of its figures alone.

Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NOT_COUNTED = "NOT counted"
COUNTS = "action IN ('lock_set', 'lock_cleared', 'lock_expired', 'agent_missing', 'approval_expired')"
TABLES = (
    ("conversation_states", "created_at", NOT_COUNTED),
    ("turns", "created_at", NOT_COUNTED),
    ("audit_log", "at", f"{NOT_COUNTED} AND {COUNTS}"),
)


def upgrade() -> None:
    for table, column, condition in TABLES:
        op.add_column(table, sa.Column("counted", sa.Boolean, nullable=False, server_default=sa.false()))
        op.create_index(
            f"ix_{table}_{column}_uncounted", table, [column], postgresql_where=sa.text(condition)
        )
        op.drop_index(f"ix_{table}_{column}_figures", table)
    op.drop_index("ix_conversation_states_active_agent", "conversation_states")
    op.create_index("ix_daily_stats_name_day_hour", "daily_stats", ["name", "day", "hour"])


def downgrade() -> None:
    """What is in the book stays there, and is counted twice by the release before as long as its rows are there."""
    op.drop_index("ix_daily_stats_name_day_hour", "daily_stats")
    op.create_index(
        "ix_conversation_states_active_agent",
        "conversation_states",
        ["active_agent"],
        postgresql_where=sa.text("active_agent IS NOT NULL"),
    )
    for table, column, _ in TABLES:
        op.create_index(f"ix_{table}_{column}_figures", table, [column], postgresql_using="brin")
        op.drop_column(table, "counted")
