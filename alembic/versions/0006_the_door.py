"""Signed devices, people who sign in, rates, share links; forks, merges and what can be taken back; what is being said at this
moment; figures and receipts.

Every new column has a default or may be NULL, so that the release before this one goes on working.

Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
TIME = sa.DateTime(timezone=True)
NOUGHT = sa.text("0")
NO_FIELDS = sa.text("'{}'::jsonb")
# Who did what: to be found when they are to be forgotten. Those of tables that are new here go with them.
PEOPLE = (
    ("approvals", "decided_by"),
    ("audit_log", "user_id"),
    ("revisions", "created_by"),
    ("share_links", "created_by"),
)
JSONB = sa.dialects.postgresql.JSONB


def upgrade() -> None:
    extend_people()
    extend_conversations()
    create_rates()
    create_partials()
    create_share_links()
    create_revisions()
    create_figures()
    create_erasures()


def extend_people() -> None:
    op.add_column("users", sa.Column("subject", sa.String(600)))
    op.create_index(
        "uq_users_subject",
        "users",
        ["subject"],
        unique=True,
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
    op.create_index("ix_users_org_id", "users", ["org_id"], postgresql_where=sa.text("org_id IS NOT NULL"))
    op.add_column(
        "connections", sa.Column("token_version", sa.Integer, nullable=False, server_default=NOUGHT)
    )
    op.add_column("connections", sa.Column("secret_digest", sa.String(64)))
    op.add_column("connections", sa.Column("revoked_at", TIME))
    op.add_column("connections", sa.Column("rate_at", TIME))
    op.execute("ALTER TABLE connections SET (fillfactor = 80)")


def extend_conversations() -> None:
    op.add_column("conversation_states", sa.Column("forked_from", sa.Uuid))
    op.add_column("conversation_states", sa.Column("merged_into", sa.Uuid))
    op.drop_index("ix_conversation_states_user_id", "conversation_states")
    op.create_index(
        "ix_conversation_states_user_id_created_at", "conversation_states", ["user_id", "created_at"]
    )
    op.add_column("turns", sa.Column("sent_by", sa.Uuid))
    op.add_column("turns", sa.Column("is_followed", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("ix_turns_sent_by", "turns", ["sent_by"], postgresql_where=sa.text("sent_by IS NOT NULL"))
    op.create_index("ix_turns_created_at_figures", "turns", ["created_at"], postgresql_using="brin")
    op.add_column("messages", sa.Column("origin_session", sa.Uuid))
    op.add_column("messages", sa.Column("origin_seq", sa.BigInteger))
    op.add_column("audit_log", sa.Column("user_id", sa.Uuid))


def create_rates() -> None:
    op.create_table(
        "address_rates",
        sa.Column("class", sa.String(32), nullable=False),
        sa.Column("rate_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("class", name="pk_address_rates"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index("ix_address_rates_rate_at", "address_rates", ["rate_at"])


def create_partials() -> None:
    op.create_table(
        "partials",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("turn_id", sa.Uuid, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("agent", sa.String(50), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("session_id", name="pk_partials"),
        of_a_session("partials"),
    )
    op.create_index("ix_partials_updated_at", "partials", ["updated_at"])


def create_share_links() -> None:
    op.create_table(
        "share_links",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_by", sa.Uuid),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME),
        sa.PrimaryKeyConstraint("session_id", "id", name="pk_share_links"),
        of_a_session("share_links"),
        sa.CheckConstraint("role IN ('editor', 'viewer')", name=op.f("ck_share_links_role")),
    )
    op.create_index("uq_share_links_session_id_digest", "share_links", ["session_id", "digest"], unique=True)


def create_revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("source_id", sa.Uuid),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("before", JSONB, nullable=False, server_default=NO_FIELDS),
        sa.Column("after", JSONB, nullable=False, server_default=NO_FIELDS),
        sa.Column("created_by", sa.Uuid),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("undo_until", TIME, nullable=False),
        sa.Column("undone_at", TIME),
        sa.PrimaryKeyConstraint("session_id", "id", name="pk_revisions"),
        of_a_session("revisions"),
        sa.CheckConstraint("kind IN ('rewind', 'merge')", name=op.f("ck_revisions_kind")),
    )
    op.create_index(
        "uq_revisions_source_id",
        "revisions",
        ["source_id"],
        unique=True,
        postgresql_where=sa.text("source_id IS NOT NULL AND undone_at IS NULL"),
    )


def create_figures() -> None:
    for table, column in (("conversation_states", "created_at"), ("audit_log", "at")):
        op.create_index(f"ix_{table}_{column}_figures", table, [column], postgresql_using="brin")
    op.create_table(
        "daily_stats",
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("hour", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("label", sa.String(64), nullable=False, server_default=sa.text("''")),
        sa.Column("shard", sa.Integer, nullable=False, server_default=NOUGHT),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", "hour", "name", "label", "shard", name="pk_daily_stats"),
        sa.CheckConstraint("hour BETWEEN 0 AND 23", name=op.f("ck_daily_stats_hour")),
        postgresql_with={"fillfactor": 80},
    )


def create_erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("user_digest", sa.String(64), nullable=False),
        sa.Column("device_digest", sa.String(64), nullable=False),
        sa.Column("removed", JSONB, nullable=False, server_default=NO_FIELDS),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("ended_at", TIME),
        sa.Column("user_id", sa.Uuid),
        sa.PrimaryKeyConstraint("id", name="pk_erasures"),
        sa.CheckConstraint("(ended_at IS NULL) = (user_id IS NOT NULL)", name=op.f("ck_erasures_nameless")),
    )
    op.create_index(
        "uq_erasures_user_id",
        "erasures",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    for table, person in PEOPLE:
        op.create_index(
            f"ix_{table}_{person}", table, [person], postgresql_where=sa.text(f"{person} IS NOT NULL")
        )
    op.create_index("ix_erasures_user_digest", "erasures", ["user_digest"])
    op.create_index("ix_erasures_device_digest", "erasures", ["device_digest"])


def of_a_session(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["session_id"],
        ["conversation_states.id"],
        name=f"fk_{table}_session_id_conversation_states",
        ondelete="CASCADE",
    )


def downgrade() -> None:
    for table, person in PEOPLE:
        op.drop_index(f"ix_{table}_{person}", table)
    for table in ("erasures", "daily_stats", "revisions", "share_links", "partials", "address_rates"):
        op.drop_table(table)
    op.drop_index("ix_conversation_states_created_at_figures", "conversation_states")
    op.drop_index("ix_audit_log_at_figures", "audit_log")
    op.drop_column("audit_log", "user_id")
    for column in ("origin_seq", "origin_session"):
        op.drop_column("messages", column)
    op.drop_index("ix_turns_created_at_figures", "turns")
    for column in ("is_followed", "sent_by"):
        op.drop_column("turns", column)
    op.drop_index("ix_conversation_states_user_id_created_at", "conversation_states")
    op.create_index("ix_conversation_states_user_id", "conversation_states", ["user_id"])
    for column in ("merged_into", "forked_from"):
        op.drop_column("conversation_states", column)
    op.execute("ALTER TABLE connections RESET (fillfactor)")
    for column in ("rate_at", "revoked_at", "secret_digest", "token_version"):
        op.drop_column("connections", column)
    op.drop_index("ix_users_org_id", "users")
    op.drop_column("users", "subject")
