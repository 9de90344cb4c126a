"""A cache of entries that are ordered by (epoch, version)."""

from typing import Protocol

from core.cache.allowance import Allowance
from core.cache.entry import Entry
from core.cache.pending import Pending, Settled


class Shelf(Protocol):
    """Never raises, never waits beyond the allowance, never puts an older entry in the place of a newer one.

    In whatever order offers and marks arrive, and however often, what stands in the end is the same: the newest entry that was
    offered, unless a newer mark was made.
    """

    def look(self, key: str, allowance: Allowance) -> Entry | None:
        """Only an entry that is still good. A mark, garbage, a failure and nothing at all are None."""

    def offer(self, key: str, entry: Entry, allowance: Allowance) -> None:
        """Stored only if it is still good and neither an entry nor a mark that is newer stands there.

        An entry as new as a mark is stored: it tells what the mark announced. After an end only a larger epoch is.
        Of two entries of the same version the one that is good for longer stays.
        """

    def mark(self, key: str, epoch: int, version: int, allowance: Allowance, *, ended: bool = False) -> bool:
        """What is older than (epoch, version) goes and may not come back. True: it is known to have arrived.

        With `ended` all of this epoch goes, whatever its version.
        """

    def mark_later(self, key: str, epoch: int, version: int) -> Pending:
        """The same in the background; join it before the answer leaves."""

    def remember(self, name: str, value: str, ttl_s: int, allowance: Allowance) -> None:
        """A plain hint, unordered and unsealed: whoever recalls it checks what it leads to."""

    def recall(self, name: str, allowance: Allowance) -> str | None: ...


class NoShelf:
    """Where no Redis is configured: nothing is there, and nothing can stand there that a mark would have to undo."""

    def look(self, key: str, allowance: Allowance) -> Entry | None:  # noqa: ARG002
        return None

    def offer(self, key: str, entry: Entry, allowance: Allowance) -> None:
        pass

    def mark(self, key: str, epoch: int, version: int, allowance: Allowance, *, ended: bool = False) -> bool:  # noqa: ARG002
        return True

    def mark_later(self, key: str, epoch: int, version: int) -> Pending:  # noqa: ARG002
        return Settled(arrived=True)

    def remember(self, name: str, value: str, ttl_s: int, allowance: Allowance) -> None:
        pass

    def recall(self, name: str, allowance: Allowance) -> str | None:  # noqa: ARG002
        return None
