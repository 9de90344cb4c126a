"""The lease: who may change a conversation now.

What can go wrong. A serverless function can be frozen at any instruction, for a second or for an hour, and wakes with
no sign that time has passed. While it slept, another function was sent the same person's next message. If both may
write, the history ends up as a shuffle of two conversations that no model accepts. A lock that is merely *held* does
not help: the sleeper still believes that it holds it.

Why it cannot. A lease is two columns on the session's row: `lease_epoch` and `lease_expires_at`.

* **Granted by the row.** The claim is one UPDATE that passes only while the lease is free or its time is over, and adds
  one to the epoch. Postgres serialises writers of a row, so of two claims at once one passes and the other sees that.
* **Fenced by the epoch.** Every write after the claim is chained to an UPDATE of the same row with
  `lease_epoch = :epoch`. A woken sleeper names an epoch that is no longer the row's, matches no row, and so writes
  nothing: the message, the turn's status and the release stand or fall together in that one statement.
* **Timed by the database.** Expiry is set and compared by Postgres's clock alone. Functions whose clocks differ by
  minutes agree about who holds what.
* **Trusted for less than it lasts.** For its own decisions, such as whether to start a tool, the holder counts on its
  monotonic clock from the moment *before* the claim or the renewal was sent, and stops a margin early. A slow statement
  thus shortens the trust and can never lengthen it. Trust only saves work; safety rests on the epoch.
* **Renewed while it is used.** Every step that is committed renews the lease, and while a model or a tool is busy a
  heartbeat does. So the time to live need not cover a turn, only the silence between two beats: a killed function frees
  its conversation within one, however long its turn would have been.

Releasing sets `lease_expires_at` to NULL and leaves the epoch, which only grows and lives in a row that a turn never
deletes. Nothing is locked between two statements, so a killed holder leaves nothing behind but an expiry.
"""

from dataclasses import replace

from core.deadline import Deadline
from core.values import dataclass

# Between two heartbeats: also the longest that a stop takes to be heard.
_LONGEST_BEAT_S = 3.0


@dataclass(frozen=True, slots=True)
class Lease:
    ttl_s: float
    margin_s: float
    trusted_until: Deadline

    @classmethod
    def from_now(cls, ttl_s: float, margin_s: float) -> "Lease":
        """To be made before the statement that asks for it is sent."""
        return cls(ttl_s, margin_s, Deadline.after(ttl_s - margin_s))

    def again(self) -> "Lease":
        return replace(self, trusted_until=Deadline.after(self.ttl_s - self.margin_s))

    @property
    def is_trusted(self) -> bool:
        return self.trusted_until.left_s() > 0

    @property
    def beat_s(self) -> float:
        return min(self.ttl_s / 4, _LONGEST_BEAT_S)
