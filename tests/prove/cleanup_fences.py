"""The fences of clean-ups: what was archived goes only as it was archived, the book is rolled up under its locks, and what comes back is counted once."""

from tests.prove.fence import Fence, gone

EXPIRED, ROLLUP, RESTORING = "core/store/expired.py", "core/store/rollup.py", "core/store/restoring.py"
DAILY, COUNTING, FIGURES = "core/store/daily.py", "core/store/counting.py", "core/store/figures.py"
COUNTS, AT_ONCE = "tests/store/test_counting.py", "tests/store/test_counting_meets_others.py"
ARCHIVING, BACKUPS = "core/archiving.py", "core/store/backups.py"
ARCHIVED, ROLLED, RESTORED = (
    "tests/cleanup/test_archiving.py",
    "tests/cleanup/test_rollup.py",
    "tests/cleanup/test_restoring.py",
)

CLEANUP_FENCES: tuple[Fence, ...] = (
    gone(
        "what was archived goes at the version of the archive",
        EXPIRED,
        "_CLEAN_UP_ARCHIVED: Final",
        "a.version\n",
        ARCHIVED,
        "s.version\n",
    ),
    gone(
        "what was archived goes as of when it was read",
        EXPIRED,
        "def clean_up_archived",
        '"now": at',
        RESTORED,
        '"now": None',
    ),
    gone(
        "one that was erased meanwhile leaves the archive",
        ARCHIVING,
        "    def _gone",
        "self.archive.forget(one.user_id, one.session_id)",
        ARCHIVED,
        "pass",
    ),
    gone(
        "one that was used while it was read is not archived",
        ARCHIVING,
        "    def _long",
        "if backups.version(self.database, one.session_id) != one.version:",
        ARCHIVED,
        "if False:",
    ),
    gone("sums are of what is locked", ROLLUP, "def _rolling", "    FOR UPDATE OF d SKIP LOCKED\n", ROLLED),
    gone(
        "counted: turns of what ends are locked",
        DAILY,
        "COUNTED_OUT: Final",
        "    FOR UPDATE OF t\n",
        AT_ONCE,
    ),
    gone(
        "counted: lines of what ends are locked",
        DAILY,
        "COUNTED_OUT: Final",
        "    FOR UPDATE OF a\n",
        AT_ONCE,
    ),
    gone(
        "counted: what ends is not counted again", DAILY, "COUNTED_OUT: Final", " AND NOT t.counted", AT_ONCE
    ),
    gone(
        "counted: what was begun is not counted again",
        DAILY,
        "COUNTED_OUT: Final",
        '"NOT s.counted"',
        AT_ONCE,
        '"true"',
    ),
    gone(
        "counted: turns that another counts are left",
        COUNTING,
        "_TURNS: Final",
        "    FOR NO KEY UPDATE OF t SKIP LOCKED\n",
        AT_ONCE,
    ),
    gone(
        "counted: lines that another counts are left",
        COUNTING,
        "_NOTES: Final",
        "    FOR NO KEY UPDATE OF a SKIP LOCKED\n",
        AT_ONCE,
    ),
    gone("counted: open turns are not", DAILY, "TURNS_DUE: Final", " AND t.ended_at IS NOT NULL", COUNTS),
    gone(
        "counted: young turns are not",
        DAILY,
        "TURNS_DUE: Final",
        " AND t.created_at < clock.at - make_interval(secs => {YOUNG_S})",
        AT_ONCE,
    ),
    gone(
        "counted: one that is held is not",
        DAILY,
        "SESSIONS_DUE: Final",
        "(s.lease_expires_at IS NULL OR s.lease_expires_at <= clock.at)",
        AT_ONCE,
        "true",
    ),
    gone(
        "counted: what is counted is not read again",
        FIGURES,
        "_WITHIN: Final",
        "NOT {0}.counted AND ",
        COUNTS,
    ),
    gone(
        "counted: what comes back was",
        RESTORING,
        "_INSTEAD: Final",
        '"r.ended_at IS NOT NULL"',
        COUNTS,
        '"false"',
    ),
    gone(
        "what comes back is taken out of the book",
        RESTORING,
        "def put_back",
        'connection.execute(_COUNT_BACK, {"session_id": session_id, "at": at})',
        RESTORED,
        "pass",
    ),
    gone(
        "its epoch goes on", RESTORING, "_INSTEAD: Final", '"r.lease_epoch + 1"', RESTORED, '"r.lease_epoch"'
    ),
    gone(
        "who is no more does not come back",
        RESTORING,
        "_STRANGERS: Final",
        "WHERE w.id IS NOT NULL",
        RESTORED,
        "WHERE false AND w.id IS NOT NULL",
    ),
    gone(
        "a backup of somebody who was erased stays away",
        RESTORING,
        "def put_back",
        "raise NotRestored",
        RESTORED,
        "pass",
    ),
)
