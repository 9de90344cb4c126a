"""The tables: their one definition. The migrations make them, and a test compares the two.

Every row carries its session's id first in its key, so that the schema can be sharded by session. Times are the
database's. `conversation_states` is updated twice a turn, so it leaves room on its pages for updates in place, and the
columns that change at a turn's end stay out of its indexes.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    Uuid,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from core.store.revision import COUNTS, IDLE_END, LOCK_END

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
    # Who it is for the identity provider: issuer and name. None: nobody has signed in.
    Column("subject", String(600)),
    # How many seconds an agent keeps this user's conversations, where neither the caller nor the agent says.
    Column("session_ttl", Integer),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    CheckConstraint("session_ttl > 0", name="session_ttl"),
    Index("uq_users_subject", "subject", unique=True, postgresql_where=text("subject IS NOT NULL")),
    # The people of an organisation.
    Index(None, "org_id", postgresql_where=text("org_id IS NOT NULL")),
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
    # Whose attempt it was granted to: an attempt that never heard of its grant takes it back.
    Column("lease_holder", Uuid),
    # The last number given out of each sequence, and a count of all changes: what was read is current if it is the same.
    Column("message_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("turn_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    # What was sent to the holder from outside: stops and steering messages. No turn ends before it has seen the last one.
    Column("signal_seq", BigInteger, nullable=False, server_default=text("0")),
    # How often what was said before was changed: what a process remembers of it holds under the same count alone.
    Column("rewrites", BigInteger, nullable=False, server_default=text("0")),
    Column("state", JSONB, nullable=False, server_default=_NO_FIELDS),
    Column("metadata", JSONB, nullable=False, server_default=_NO_FIELDS),
    Column("usage", JSONB, nullable=False, server_default=_NO_FIELDS),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("last_active_at", _TIME, nullable=False, server_default=_NOW),
    # How many seconds it lives without anybody using it.
    Column("idle_ttl", Integer, nullable=False, server_default=text("1800")),
    # The conversation that it was made of; and the one that it became a part of: it is nobody's any more, unless that is undone.
    Column("forked_from", Uuid),
    Column("merged_into", Uuid),
    # The book of figures has that it was begun.
    Column("counted", Boolean, nullable=False, server_default=false()),
    CheckConstraint("session_ttl > 0", name="session_ttl"),
    CheckConstraint("idle_ttl > 0", name="idle_ttl"),
    CheckConstraint("(active_agent IS NULL) = (locked_at IS NULL)", name="lock_whole"),
    # A user's conversations, as they are listed; a user's erasure.
    Index(None, "user_id", "created_at"),
    # The sweep of expired locks, by when they ran out. The zone is named, for an index takes nothing that depends on one.
    Index("ix_conversation_states_lock_end", text(LOCK_END), postgresql_where=text("locked_at IS NOT NULL")),
    # The sweep of idle conversations, by when their time was over.
    Index("ix_conversation_states_idle_end", text(IDLE_END)),
    # What is not in the book of figures yet.
    Index("ix_conversation_states_created_at_uncounted", "created_at", postgresql_where=text("NOT counted")),
    postgresql_with={"fillfactor": 80},
)

connections = Table(
    "connections",
    metadata,
    Column("device_id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # The conversation that the device is in now.
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="SET NULL")),
    # A device's token names the version: one that names another was taken back.
    Column("token_version", Integer, nullable=False, server_default=text("0")),
    # Of the secret that the device made, and gets its tokens for.
    Column("secret_digest", String(64)),
    Column("revoked_at", _TIME),
    # Until when its messages have used up what it may send; see core/store/rates.py.
    Column("rate_at", _TIME),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    # A user's devices, and the devices in a conversation when it ends.
    Index(None, "user_id"),
    Index(None, "session_id"),
    postgresql_with={"fillfactor": 80},
)

# The same for a class of addresses: a digest of a network, of which no address can be read.
address_rates = Table(
    "address_rates",
    metadata,
    Column("class", String(32), primary_key=True),
    Column("rate_at", _TIME, nullable=False),
    # The sweep of those that are full again.
    Index(None, "rate_at"),
    postgresql_with={"fillfactor": 50},
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
    # The turn's messages: from the client's to the last one stored. None before it has begun.
    Column("first_seq", BigInteger),
    Column("last_seq", BigInteger),
    # The turn that answers this message along with its own, if it joined one.
    Column("joined_to", Uuid),
    # What was accepted for this turn and is not yet among its messages.
    Column("input", Text),
    # Why it is to stop at its next safe point.
    Column("stop", String(16)),
    # How many holders died over it.
    Column("crashes", Integer, nullable=False, server_default=text("0")),
    Column("usage", JSONB),
    # Of its user's and organisation's budgets of the day, what the turn has been given and not yet used.
    Column("reserved_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("reserved_tokens", BigInteger, nullable=False, server_default=text("0")),
    # The attempt that was given it: sent again it is given nothing more.
    Column("reservation", Uuid),
    # Who sent it, if that is not the conversation's owner.
    Column("sent_by", Uuid),
    # Somebody reads along: its text is kept while it is being said.
    Column("is_followed", Boolean, nullable=False, server_default=false()),
    Column("error", JSONB),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("ended_at", _TIME),
    # The book of figures has it.
    Column("counted", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("session_id", "id"),
    CheckConstraint(
        "status IN ('queued', 'running', 'waiting', 'completed', 'failed', 'cancelled', 'joined')",
        name="status",
    ),
    CheckConstraint("stop IN ('cancel', 'interrupt', 'rollback')", name="stop"),
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
    # The turn of a conversation that is next.
    Index("ix_turns_session_id_seq_open", "session_id", "seq", postgresql_where=text("ended_at IS NULL")),
    # The sweep of turns that nobody goes on with, oldest first; and of keys that nobody will send again.
    Index("ix_turns_created_at_open", "created_at", postgresql_where=text("ended_at IS NULL")),
    Index("ix_turns_created_at_keyed", "created_at", postgresql_where=text("idempotency_key IS NOT NULL")),
    # What a user said in conversations of others.
    Index(None, "sent_by", postgresql_where=text("sent_by IS NOT NULL")),
    # What is not in the book of figures yet.
    Index("ix_turns_created_at_uncounted", "created_at", postgresql_where=text("NOT counted")),
)

# What the model is saying at this moment, for whoever reads along: of no use once it is a message.
partials = Table(
    "partials",
    metadata,
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="CASCADE"), primary_key=True),
    # The grant that it is said under, and the message that it will be.
    Column("epoch", BigInteger, nullable=False),
    Column("turn_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("agent", String(50), nullable=False),
    # JSON text: the blocks' places and their texts so far.
    Column("content", Text, nullable=False),
    Column("updated_at", _TIME, nullable=False, server_default=_NOW),
    Index(None, "updated_at"),
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
    # Part of the audit and no longer of what the model is told: a turn that was rolled back.
    Column("left_out", Boolean, nullable=False, server_default=false()),
    # Where it was said first, if that was in another conversation.
    Column("origin_session", Uuid),
    Column("origin_seq", BigInteger),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("session_id", "seq"),
    ForeignKeyConstraint(["session_id"], ["conversation_states.id"], ondelete="CASCADE"),
    CheckConstraint("role IN ('user', 'assistant')", name="role"),
)

tool_calls = Table(
    "tool_calls",
    metadata,
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="CASCADE"), nullable=False),
    # The model's own ID of the call.
    Column("id", String(100), nullable=False),
    Column("turn_id", Uuid, nullable=False),
    # The message that asked for it.
    Column("message_seq", BigInteger, nullable=False),
    Column("name", String(128), nullable=False),
    Column("effect", String(16), nullable=False),
    # asked (a person must say yes), ready, started, and then how it ended.
    Column("status", String(16), nullable=False),
    Column("input_digest", String(64), nullable=False),
    # The least that whoever decides over it must be in the conversation.
    Column("approver", String(16), nullable=False, server_default=text("'owner'")),
    # What it returned, or why it may not run, until that is part of a message.
    Column("result", Text),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("ended_at", _TIME),
    # When a person said what had come of it, where nobody could know.
    Column("settled_at", _TIME),
    # The model says the same again after a turn was taken back.
    PrimaryKeyConstraint("session_id", "turn_id", "id"),
    # The tools that a conversation used lately.
    Index(None, "session_id", "message_seq"),
    CheckConstraint("effect IN ('read', 'idempotent', 'once')", name="effect"),
    CheckConstraint("approver IN ('owner', 'editor', 'viewer')", name="approver"),
    CheckConstraint(
        "status IN ('asked', 'ready', 'started', 'done', 'failed', 'unknown', 'denied', 'dropped')",
        name="status",
    ),
)

approvals = Table(
    "approvals",
    metadata,
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="CASCADE"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("turn_id", Uuid, nullable=False),
    Column("tool_call_id", String(100), nullable=False),
    # Of the exact arguments that the person is shown.
    Column("input_digest", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    # May it run, or what has come of it.
    Column("kind", String(16), nullable=False, server_default=text("'call'")),
    # The least that whoever decides must be in the conversation.
    Column("role", String(16), nullable=False, server_default=text("'owner'")),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("expires_at", _TIME, nullable=False),
    Column("decided_at", _TIME),
    Column("decided_by", Uuid),
    # What they said beside it.
    Column("note", Text),
    PrimaryKeyConstraint("session_id", "id"),
    CheckConstraint("status IN ('pending', 'approved', 'denied', 'expired', 'withdrawn')", name="status"),
    CheckConstraint("kind IN ('call', 'outcome')", name="kind"),
    CheckConstraint("role IN ('owner', 'editor', 'viewer')", name="role"),
    # What a turn waits for.
    Index(None, "session_id", "turn_id"),
    # What a user decided, for their erasure; so for the links, revisions and notes below.
    Index(None, "decided_by", postgresql_where=text("decided_by IS NOT NULL")),
    # The sweep of those that nobody decided.
    Index("ix_approvals_expires_at", "expires_at", postgresql_where=text("status = 'pending'")),
)

members = Table(
    "members",
    metadata,
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("session_id", "user_id"),
    CheckConstraint("role IN ('owner', 'editor', 'viewer')", name="role"),
    # The conversations that a user was let into.
    Index(None, "user_id"),
)

# A way into one conversation for whoever has its secret, of which only the digest is kept.
share_links = Table(
    "share_links",
    metadata,
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="CASCADE"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_by", Uuid),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("expires_at", _TIME, nullable=False),
    Column("revoked_at", _TIME),
    PrimaryKeyConstraint("session_id", "id"),
    CheckConstraint("role IN ('editor', 'viewer')", name="role"),
    Index("uq_share_links_session_id_digest", "session_id", "digest", unique=True),
    Index(None, "created_by", postgresql_where=text("created_by IS NOT NULL")),
)

# Changes of what was said that can be taken back for a while: a rewind, a merge.
revisions = Table(
    "revisions",
    metadata,
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="CASCADE"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("kind", String(16), nullable=False),
    # A merge: the conversation that became a part of this one.
    Column("source_id", Uuid),
    # The messages that it took out of what the model is told, or that it brought.
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    # Lock, todos and metadata as they were, and as they were left, where it changed them.
    Column("before", JSONB, nullable=False, server_default=_NO_FIELDS),
    Column("after", JSONB, nullable=False, server_default=_NO_FIELDS),
    Column("created_by", Uuid),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("undo_until", _TIME, nullable=False),
    Column("undone_at", _TIME),
    PrimaryKeyConstraint("session_id", "id"),
    CheckConstraint("kind IN ('rewind', 'merge')", name="kind"),
    Index(None, "created_by", postgresql_where=text("created_by IS NOT NULL")),
    # What a conversation became a part of.
    Index(
        "uq_revisions_source_id",
        "source_id",
        unique=True,
        postgresql_where=text("source_id IS NOT NULL AND undone_at IS NULL"),
    ),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="CASCADE"), nullable=False),
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("at", _TIME, nullable=False, server_default=_NOW),
    # Who did what, to which agent, until when, and why.
    Column("actor", String(100), nullable=False),
    # Which person, where it was one.
    Column("user_id", Uuid),
    Column("action", String(50), nullable=False),
    Column("agent", String(50)),
    Column("until", _TIME),
    Column("reason", Text),
    Column("turn_id", Uuid),
    # The book of figures has what it says.
    Column("counted", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("session_id", "id"),
    Index(None, "user_id", postgresql_where=text("user_id IS NOT NULL")),
    # What counts, and is not in the book of figures yet.
    Index("ix_audit_log_at_uncounted", "at", postgresql_where=text(f"NOT counted AND {COUNTS}")),
)

todos = Table(
    "todos",
    metadata,
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("updated_at", _TIME, nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("session_id", "position"),
    CheckConstraint("status IN ('pending', 'in_progress', 'completed')", name="status"),
)

# What stands for the messages up to a number when the model is told of the conversation. The messages stay.
compactions = Table(
    "compactions",
    metadata,
    Column("session_id", Uuid, ForeignKey("conversation_states.id", ondelete="CASCADE"), nullable=False),
    Column("upto_seq", BigInteger, nullable=False),
    # JSON text of blocks, as a message's.
    Column("content", Text, nullable=False),
    Column("agent", String(50), nullable=False),
    Column("usage", JSONB),
    # Made of a turn that was rolled back.
    Column("left_out", Boolean, nullable=False, server_default=false()),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("session_id", "upto_seq"),
)

# What a user, and an organisation, spent on a day (UTC), and what turns in progress have been given. In millionths of a
# dollar.
spending = Table(
    "spending",
    metadata,
    Column("scope", String(8), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("day", Date, nullable=False),
    Column("spent_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("spent_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("reserved_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("reserved_tokens", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("scope", "id", "day"),
    CheckConstraint("scope IN ('user', 'org')", name="scope"),
    postgresql_with={"fillfactor": 70},
)

# What a team keeps of a session beside the conversation, each kind in a namespace of its own. It ends with the conversation
# of the same ID, where there is one, so it names none.
application_sessions = Table(
    "application_sessions",
    metadata,
    Column("session_id", Uuid, nullable=False),
    Column("namespace", String(50), nullable=False),
    Column("user_id", Uuid),
    # Which of the user's places it takes: who has no place left gets no further session.
    Column("slot", Integer),
    # Of several that had the ID one after the other, which; and how often it was changed.
    Column("epoch", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    # JSON text.
    Column("body", Text, nullable=False),
    Column("idle_ttl", Integer, nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("last_active_at", _TIME, nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("session_id", "namespace"),
    CheckConstraint("idle_ttl > 0", name="idle_ttl"),
    # A user's sessions, and their places.
    Index(None, "user_id", "namespace", "slot", unique=True),
    # The sweep of idle ones.
    Index("ix_application_sessions_idle_end", text(IDLE_END)),
    postgresql_with={"fillfactor": 80},
)

# What was counted in an hour (UTC), for the operators.
daily_stats = Table(
    "daily_stats",
    metadata,
    Column("day", Date, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("name", String(64), nullable=False),
    # Of which kind, where there are several.
    Column("label", String(64), nullable=False, server_default=text("''")),
    # Whoever counts adds to one of several rows, so that they seldom wait for each other; what was counted is their sum.
    Column("shard", Integer, nullable=False, server_default=text("0")),
    Column("value", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "hour", "name", "label", "shard"),
    CheckConstraint("hour BETWEEN 0 AND 23", name="hour"),
    # One figure by time.
    Index(None, "name", "day", "hour"),
    postgresql_with={"fillfactor": 80},
)

# What was erased for a user, from where: no name in it, but digests that whoever has the name can make again.
erasures = Table(
    "erasures",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_digest", String(64), nullable=False),
    # The device that asked for it.
    Column("device_digest", String(64), nullable=False),
    Column("removed", JSONB, nullable=False, server_default=_NO_FIELDS),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    # None: it is going on, and until then it is known whose it is.
    Column("ended_at", _TIME),
    Column("user_id", Uuid),
    CheckConstraint("(ended_at IS NULL) = (user_id IS NOT NULL)", name="nameless"),
    # One for each user; and the sweep of those that are going on.
    Index("uq_erasures_user_id", "user_id", unique=True, postgresql_where=text("user_id IS NOT NULL")),
    Index(None, "user_digest"),
    Index(None, "device_digest"),
)
