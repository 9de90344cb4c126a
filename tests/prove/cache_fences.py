"""The fences of the cache: who may be believed, what ends there with the rows, what is waited for, and that no update is lost."""

from tests.prove.fence import Fence, gone

CURRENT, FAREWELL, SCRIPTS = "core/sessions/current.py", "core/sessions/farewell.py", "core/cache/scripts.py"
ENTRY, SHELF = "core/cache/entry.py", "core/cache/shelf.py"
LAYERED, POSTGRES, ROWS = (
    "core/sessions/layered.py",
    "core/sessions/postgres.py",
    "core/store/application_sessions.py",
)
CONTRACT = "tests/sessions/test_contract.py"
TWO, CACHE, LAYER = (
    "tests/functions/test_session_from_the_cache.py",
    "tests/cache/test_shelves.py",
    "tests/sessions/test_layered.py",
)

BELIEVED = (
    gone(
        "what the client was told",
        CURRENT,
        "def _on_the_shelf",
        "(seen, self.told.of(asked.device_id))",
        TWO,
        "(self.told.of(asked.device_id),)",
    ),
    gone(
        "what this process told",
        CURRENT,
        "def _on_the_shelf",
        "(seen, self.told.of(asked.device_id))",
        TWO,
        "(seen,)",
    ),
    gone(
        "nothing older than a floor",
        CURRENT,
        "def _on_the_shelf",
        "any(entry.version < floor.version for floor in floors)",
        TWO,
        "False",
    ),
    gone(
        "a conversation that all floors are of",
        CURRENT,
        "def _on_the_shelf",
        "any(floor.session_id != session_id for floor in floors)",
        TWO,
        "False",
    ),
    gone(
        "a device that is in it",
        CURRENT,
        "def _shows(",
        "alone == _unnamed(device)",
        TWO,
        "True",
    ),
    gone("rest alone is kept", CURRENT, "def _offer", "found.busy or found.has_open_turn", TWO, "False"),
    gone("not beyond the lock", CURRENT, "def _offer", "found.lock_expires_at is not None", TWO, "False"),
    gone(
        "not beyond the next extension",
        CURRENT,
        "def _offer",
        "slack_s(found.idle_ttl)",
        TWO,
        "found.idle_ttl",
    ),
)

MARKED = (
    gone("a claim marks", CURRENT, "def begun", "epoch == _FIRST_EPOCH", TWO, "True"),
    gone(
        "a mark is there before the answer",
        CURRENT,
        "def begun",
        "marked.join(allowance(self.budget_s))",
        TWO,
        "pass",
    ),
    gone("a change marks", CURRENT, "def changed", "self.shelf.mark(", TWO, "bool("),
    gone("an end marks", FAREWELL, "def __call__", "self.shelf.mark(", TWO, "bool("),
    gone("an end marks what went with it", FAREWELL, "def __call__", "in ended.beside", TWO, "in ()"),
    gone("an end by the manager is told", POSTGRES, "def _end(", "self._ended(ended)", TWO, "pass"),
)

ORDERED = (
    gone("an offer behind a mark", SCRIPTS, "OFFER =", "if mark_epoch and", CACHE, "if false and"),
    gone("an offer behind an entry", SCRIPTS, "OFFER =", "if its_epoch and", CACHE, "if false and"),
    gone("an offer after an end", SCRIPTS, "OFFER =", "mark_ended == '1' or", CACHE, ""),
    gone("a mark behind a mark", SCRIPTS, "MARK =", "if mark_epoch and more(", CACHE, "if false and more("),
    gone("digits as numbers", SCRIPTS, "local function more", "if #a ~= #b then return #a > #b end", CACHE),
    gone(
        "the digest",
        ENTRY,
        "def unseal(",
        "digest != _digest(key, epoch, version, until, body)",
        "tests/cache/test_entry.py",
        "False",
    ),
    gone(
        "good until, by our own clock",
        SHELF,
        "def _checked",
        "entry.good_until > self._clock()",
        CACHE,
        "True",
    ),
    gone(
        "a mark beside the entry",
        SHELF,
        "def _checked",
        "mark is not None and mark.forbids(entry)",
        CACHE,
        "False",
    ),
)

UPDATED = (
    gone(
        "the version of a swap",
        ROWS,
        "_SWAP: Final",
        "AND s.epoch = :epoch AND s.version = :version AND a.epoch = :epoch AND a.version = :version",
        CONTRACT,
    ),
    gone("places", ROWS, "_CREATE: Final", "p.rank <= p.free", CONTRACT, "true"),
    gone(
        "the layer's floor",
        LAYERED,
        "def _believed",
        "Stamp(entry.epoch, entry.version) < self._floors.of(key)",
        LAYER,
        "False",
    ),
    gone("the layer's doubt", LAYERED, "def swap", "self._shelf.mark(", LAYER, "bool("),
)

CACHE_FENCES: tuple[Fence, ...] = (*BELIEVED, *MARKED, *ORDERED, *UPDATED)
