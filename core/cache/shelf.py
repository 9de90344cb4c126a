"""The shelf: what is kept in Redis beside Postgres, and why no answer changes for it.

What can go wrong. A cache is asked first and believed, so whatever it says wrongly is said to a person. Redis can be away,
or hang, or let a reply drip in byte by byte; it can refuse the token, or every write because it is full; it can be flushed,
or evict any key at any moment; a failover can take it back to what it knew a second ago; a value can arrive cut, flipped or
under another key; and a write of ours can arrive an hour late, from a function that was frozen in the middle of sending it.
Our own clocks, and its, can be off.

Why no answer changes.

* **Nothing is waited for.** All that a request waits for Redis, in all its calls together, comes from one `Allowance`
  (`guard.py`). When it is used up, or the circuit is open, the answer is None at once and the reader goes to Postgres.
  Nothing here raises. A cache that is away costs a budget a few times, and then nothing.
* **Order is in the values, not in the sending.** Each entry and each mark carries the (epoch, version) of the row that it was
  read from. Redis compares and stores in one script (`scripts.py`), so of whatever arrives, in whatever order and however
  often, the newest stays. A late put of a sleeper is older than what its successor put, and is refused.
* **A mark outlives what it forbids.** Whoever changes a conversation marks it: the older entry goes, and for an hour, which is
  longer than any function lives, nothing older may come back. An entry as new as the mark may: it tells of the change itself.
  After an end nothing of the same epoch may, whatever its version.
* **A garbled value is a miss.** The digest in an entry covers its own key and every number (`entry.py`).
* **Belief ends by itself.** Where marks were lost, evicted or undone by a failover, an older entry can stand there as if
  nothing had happened. So every entry says until when it is good, which its maker reckons from Postgres's clock, and that is
  soon. Redis removes it at that time by its own clock, and refuses it if that time is over; the reader checks by his. An old
  entry is believed too long only if both are behind Postgres's clock, and then by the smaller of the two lags.

What is left, then, is an entry whose mark was lost, for as long as it is good. Who has already been shown something newer is
protected from that by the floors that the reader keeps, and an entry below a floor is no better than none.

All of this is against accidents. Whoever can write to the Redis on purpose can seal an entry of his own, so its token is as
secret as the database's.
"""

from typing import Any, Protocol

from core.cache.allowance import Allowance
from core.cache.clock import Clock, utc_now
from core.cache.commands import Command, Refused
from core.cache.entry import Entry, seal, unseal, unseal_mark
from core.cache.guard import Guard
from core.cache.pending import Pending, Settled
from core.cache.scripts import MARK, OFFER
from core.figures import Figures

# Longer than any function lives, so that none of them can bring back what was marked before it was frozen.
MARK_TTL_S = 3600


class Shelf(Protocol):
    """Never raises, never waits beyond the allowance, never puts an older entry in the place of a newer one.

    In whatever order offers and marks arrive, and however often, what stands in the end is the same: the newest entry that was
    offered, unless a newer mark was made.
    """

    # Whether anything can stand there: else what would be offered need not be made.
    is_there: bool

    def look(self, key: str, allowance: Allowance) -> Entry | None:
        """Only an entry that is still good. A mark, garbage, a failure and nothing at all are None."""

    def offer(self, key: str, entry: Entry, allowance: Allowance) -> bool:
        """True: it was looked at. Stored only if it is still good and neither an entry nor a mark that is newer stands there.

        An entry as new as a mark is stored: it tells what the mark announced. After an end only a larger epoch is.
        Of two entries of the same version the one that is good for longer stays.
        """

    def mark(self, key: str, epoch: int, version: int, allowance: Allowance, *, ended: bool = False) -> bool:
        """What is older than (epoch, version) goes and may not come back. True: it is known to have arrived.

        With `ended` all of this epoch goes, whatever its version.
        """

    def mark_later(self, key: str, epoch: int, version: int) -> Pending:
        """The same in the background; join it before the answer leaves."""

    def remember(self, name: str, value: str, ttl_s: int) -> Pending:
        """A plain hint, unordered and unsealed: whoever recalls it checks what it leads to. In the background, and nobody need
        wait for it.
        """

    def recall(self, name: str, allowance: Allowance) -> str | None: ...


class NoShelf:
    """Where no Redis is configured: nothing is there, and nothing can stand there that a mark would have to undo."""

    is_there = False

    def look(self, key: str, allowance: Allowance) -> Entry | None:  # noqa: ARG002
        return None

    def offer(self, key: str, entry: Entry, allowance: Allowance) -> bool:  # noqa: ARG002
        return True

    def mark(self, key: str, epoch: int, version: int, allowance: Allowance, *, ended: bool = False) -> bool:  # noqa: ARG002
        return True

    def mark_later(self, key: str, epoch: int, version: int) -> Pending:  # noqa: ARG002
        return Settled(arrived=True)

    def remember(self, name: str, value: str, ttl_s: int) -> Pending:  # noqa: ARG002
        return Settled(arrived=True)

    def recall(self, name: str, allowance: Allowance) -> str | None:  # noqa: ARG002
        return None


class RedisShelf:
    """Each method is one round trip, whatever was flushed. Beside an entry at `key` its mark is at `key:mark`.

    Not for a Redis Cluster, where the two could lie on different nodes.
    """

    is_there = True

    def __init__(self, guard: Guard, prefix: str, figures: Figures, clock: Clock = utc_now) -> None:
        self._guard = guard
        self._prefix = prefix
        self._figures = figures
        self._clock = clock

    def look(self, key: str, allowance: Allowance) -> Entry | None:
        entry_key, mark_key = self._keys(key)
        replies = self._guard.run([("MGET", entry_key, mark_key)], allowance)
        found, why = self._believed(entry_key, replies)
        if found is None:
            self._figures.count("cache.misses", why)
        else:
            self._figures.count("cache.hits")
        return found

    def offer(self, key: str, entry: Entry, allowance: Allowance) -> bool:
        if entry.good_until <= self._clock():
            self._figures.count("cache.puts", "late")
            return True
        entry_key, _ = self._keys(key)
        facts = (entry.epoch, entry.version, entry.good_until_us, seal(entry_key, entry))
        replies = self._guard.run([self._script(OFFER, key, *facts)], allowance)
        came_of_it = replies[0] if replies else None
        self._figures.count("cache.puts", came_of_it if isinstance(came_of_it, str) else "failed")
        return isinstance(came_of_it, str)

    def mark(self, key: str, epoch: int, version: int, allowance: Allowance, *, ended: bool = False) -> bool:
        return self._marking(key, epoch, version, ended).join(allowance)

    def mark_later(self, key: str, epoch: int, version: int) -> Pending:
        return self._marking(key, epoch, version, ended=False)

    def remember(self, name: str, value: str, ttl_s: int) -> Pending:
        return self._guard.later([("SET", self._prefix + name, value, "EX", max(1, ttl_s))])

    def recall(self, name: str, allowance: Allowance) -> str | None:
        replies = self._guard.run([("GET", self._prefix + name)], allowance)
        return replies[0] if replies and isinstance(replies[0], str) else None

    def _marking(self, key: str, epoch: int, version: int, ended: bool) -> Pending:
        """Where the mark is refused the entry goes at least; then it is not known that nothing older comes back."""
        entry_key, _ = self._keys(key)
        script = self._script(MARK, key, epoch, version, int(ended))
        pending = self._guard.later([script], otherwise=[("DEL", entry_key)])
        self._figures.count("cache.marks", "skipped" if isinstance(pending, Settled) else "sent")
        return pending

    def _believed(self, entry_key: str, replies: list[Any] | None) -> tuple[Entry | None, str]:
        """The entry, or why there is none."""
        match replies:
            case [[None, str()]]:
                return None, "marked"
            case [[None, None]]:
                return None, "nothing"
            case [[str(text), str() | None as mark_text]]:
                return self._checked(unseal(entry_key, text), mark_text)
            case [Refused()]:
                return None, "refused"
            case None:
                return None, "unreachable"
        return None, "garbage"

    def _checked(self, entry: Entry | None, mark_text: str | None) -> tuple[Entry | None, str]:
        mark = unseal_mark(mark_text)
        if entry is None or (mark is None and mark_text is not None):
            return None, "garbage"
        if mark is not None and mark.forbids(entry):
            return None, "old"
        return (entry, "") if entry.good_until > self._clock() else (None, "past")

    def _keys(self, key: str) -> tuple[str, str]:
        whole = self._prefix + key
        return whole, f"{whole}:mark"

    def _script(self, script: str, key: str, *facts: str | int) -> Command:
        return ("EVAL", script, 2, *self._keys(key), MARK_TTL_S * 1000, *facts)
