"""Alive: while a conversation is there for whoever reads it. Past that it is gone, whether or not it was cleaned up.

What can go wrong, and why it cannot: of two statements at once one finds a conversation alive, and the other, whose clock is a
moment later, finds it gone. Whoever extends its time does so at the version or the epoch that was read along with this, and
whoever passes it over (the claim that begins anew) counts both up; so one of the two finds that it came too late.
"""

from typing import Final

# Of the row `conversation_states` as `s`, at the time of a `clock`.
# One that became a part of another is kept for a while, for whoever takes that back, and is nobody's until then.
OWN_TIME: Final = (
    "(s.merged_into IS NULL AND s.last_active_at + make_interval(secs => s.idle_ttl) > clock.at)"
)

# The same with all that keeps it alive past its own time: somebody at work, a turn that has not ended, a question that is still
# open, an application session of its ID, if that was made before it was gone. What the row says comes first, so the rest is
# looked up only for what is past its time; by an index each, for it is not an EXISTS, which could be answered by reading a
# whole table.
ALIVE: Final = f"""({OWN_TIME} OR s.merged_into IS NULL AND (COALESCE(s.lease_expires_at > clock.at, false)
    OR COALESCE((SELECT true FROM turns alive_t WHERE alive_t.session_id = s.id AND alive_t.ended_at IS NULL LIMIT 1), false)
    OR COALESCE((SELECT true FROM approvals alive_a WHERE alive_a.session_id = s.id AND alive_a.status = 'pending'
        AND alive_a.expires_at > clock.at LIMIT 1), false)
    OR COALESCE((SELECT true FROM application_sessions alive_p WHERE alive_p.session_id = s.id
        AND alive_p.last_active_at + make_interval(secs => alive_p.idle_ttl) > clock.at
        AND alive_p.created_at < s.last_active_at + make_interval(secs => s.idle_ttl) LIMIT 1), false)))"""

# Reads, and ends of turns, extend its time only when so much has passed since it was extended last: mostly they write nothing.
SLACK: Final = "make_interval(secs => LEAST(s.idle_ttl / 10.0, 60))"
IS_SLACK: Final = f"s.last_active_at + {SLACK} <= clock.at"

# What `last_active_at` is set to by whoever uses it; and by an end of a turn, where the same value again leaves the indexes alone.
USED: Final = "GREATEST(s.last_active_at, clock.at)"
EXTENDED: Final = f"CASE WHEN {IS_SLACK} THEN clock.at ELSE s.last_active_at END"
