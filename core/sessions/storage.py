"""A storage: an authority for application sessions. Five keep this contract, and one suite of tests holds them to it.

* What is past its time is gone at once: nobody reads, changes, lists or counts it, whether or not it was cleaned up.
* A swap is atomic: it writes only over the (epoch, version) that was read, so of two that read the same one is refused.
* An ID that is made again has a larger epoch, so that nothing that was meant for its predecessor meets it.
* Its time is extended by being used, once a slack of it has passed: so most uses do not write for that alone.
* Each may be sent again: what a lost reply leaves behind is found by whoever asks next.
* Each is one round trip, unless it says otherwise. All raise StorageUnavailable, with the driver's reason in the log alone.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from core.values import dataclass

# How much of its time may pass before a use extends it: a tenth, and a minute at the most.
SLACK_SHARE: Final = 10
MOST_SLACK_S: Final = 60


def slack_s(ttl_s: int) -> float:
    return min(ttl_s / SLACK_SHARE, MOST_SLACK_S)


@dataclass(frozen=True, slots=True, order=True)
class Stamp:
    """Of two states of one ID the one with the larger stamp is newer."""

    epoch: int
    version: int


@dataclass(frozen=True, slots=True)
class NewRecord:
    session_id: UUID
    user_id: UUID | None
    body: str
    ttl_s: int


@dataclass(frozen=True, slots=True)
class Record:
    """What a storage keeps of a session. The body is JSON text that it does not look into."""

    session_id: UUID
    user_id: UUID | None
    epoch: int
    version: int
    body: str
    ttl_s: int
    created_at: datetime
    last_active_at: datetime
    # False: it lay on a shelf, so the authority may know of something newer.
    is_certain: bool = True
    # It was made by the call that returns it.
    is_new: bool = False

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.epoch, self.version)

    @property
    def expires_at(self) -> datetime:
        return self.last_active_at + timedelta(seconds=self.ttl_s)

    @property
    def extends_at(self) -> datetime:
        """From when on a read extends its time."""
        return self.last_active_at + timedelta(seconds=slack_s(self.ttl_s))


@dataclass(frozen=True, slots=True)
class Swapped:
    done: bool
    # The new record; or the one that was in the way; or None: the session is gone.
    stands: Record | None


@dataclass(frozen=True, slots=True)
class Health:
    kind: str
    is_well: bool
    # How many sessions it holds, where that is known without counting them, and what memory or disk they take.
    sessions: int | None = None
    size_bytes: int | None = None


class Storage(Protocol):
    kind: str

    def create(self, namespace: str, new: NewRecord, most_per_user: int) -> Record:
        """An existing one is returned as it is. TooManySessions: the user has no place left."""

    def store_many(
        self, namespace: str, news: Sequence[NewRecord], most_per_user: int
    ) -> list[Record | None]:
        """`create` for each. None: its user has no place left."""

    def load(self, namespace: str, session_id: UUID, *, extend: bool, certain: bool = False) -> Record | None:
        """With `extend` it is used by this. With `certain` nobody is believed but the authority."""

    def swap(self, namespace: str, session_id: UUID, seen: Stamp, body: str) -> Swapped: ...

    def delete(self, namespace: str, session_ids: Sequence[UUID]) -> dict[UUID, int]:
        """The epochs of those that were there."""

    def exists(self, namespace: str, session_id: UUID) -> bool: ...

    def expire(self, namespace: str, session_id: UUID, ttl_s: int) -> Record | None:
        """From now on it lives so long. It is a change of its own: the version moves on."""

    def left_s(self, namespace: str, session_id: UUID) -> float | None: ...

    def of_user(self, namespace: str, user_id: UUID) -> list[UUID]:
        """Only what is there, the oldest first."""

    def clean_up(self, namespace: str, user_id: UUID | None, limit: int) -> int:
        """Takes away what is left of sessions that are gone; tells how many. None: everybody's."""

    def health(self) -> Health:
        """Never raises."""

    def close(self) -> None: ...
