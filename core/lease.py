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
* **Trusted for less than it lasts.** For its own decisions, such as how long the model may take, the holder counts on
  its monotonic clock from the moment *before* the claim was sent, and stops a margin early. A slow claim thus shortens
  the trust and can never lengthen it. Trust only saves work; safety rests on the epoch.

Releasing sets `lease_expires_at` to NULL and leaves the epoch, which only grows and lives in a row that a turn never
deletes. Nothing is locked between two statements, so a killed holder leaves nothing behind but an expiry.
"""

from dataclasses import dataclass

from core.deadline import Deadline
from core.ids import SessionId


@dataclass(frozen=True, slots=True)
class Lease:
    session_id: SessionId
    epoch: int
    trusted_until: Deadline
