"""What the statements must know of the tables. Apart from those, for nothing asks for a table while it serves: SQLAlchemy takes as long
to make them all as the statements take.
"""

# The newest revision under alembic/versions. /ready compares the database with it; a test compares it with the files.
SCHEMA_REVISION = "0007"

# When the active agent's time is over, as the index has it: UTC without a zone.
LOCK_END = "((locked_at AT TIME ZONE 'UTC') + make_interval(secs => session_ttl))"
# When a session that nobody uses is gone: a conversation, and an application session. In UTC as well.
IDLE_END = "((last_active_at AT TIME ZONE 'UTC') + make_interval(secs => idle_ttl))"
# The lines of the audit that say what becomes of a lock; and with them those that count, as the index has it.
ABOUT_LOCKS = "action IN ('lock_set', 'lock_cleared', 'lock_expired', 'agent_missing')"
COUNTS = "action IN ('lock_set', 'lock_cleared', 'lock_expired', 'agent_missing', 'approval_expired')"
