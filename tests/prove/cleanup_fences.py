"""The fences of clean-ups: what was archived goes only as it was archived, the book is rolled up under its locks, and what comes back is counted once."""

from tests.prove.fence import Fence, gone

EXPIRED, ROLLUP, RESTORING = "core/store/expired.py", "core/store/rollup.py", "core/store/restoring.py"
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
