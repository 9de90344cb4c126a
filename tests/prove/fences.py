"""Every fence is needed: takes each out in turn, in a copy of the code, and shows that a test fails for it.

    make fences           or: python -m tests.prove.fences [--only WORD] [--jobs 2]

A fence is a condition, a key or a check that the promises stand on. If the tests still pass without it, then either it is
not needed, or no test would notice its loss: both are defects.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.prove.agent_fences import AGENT_FENCES
from tests.prove.cache_fences import CACHE_FENCES
from tests.prove.cleanup_fences import CLEANUP_FENCES
from tests.prove.ending_fences import ENDING_FENCES
from tests.prove.fence import STORE, Fence, epoch, gone
from tests.prove.operator_fences import OPERATOR_FENCES
from tests.prove.visitor_fences import VISITOR_FENCES

ROOT = Path(__file__).parent.parent.parent
COPIED = (
    "core",
    "functions",
    "dev",
    "alembic",
    "tests",
    "alembic.ini",
    "pyproject.toml",
    "README.md",
    "bench",
)

STEPS, ENDS, CLAIMS = "core/store/steps.py", "core/store/ends.py", "core/store/claims.py"
TAKES = "core/store/takes.py"
ADMISSIONS, APPROVALS = "core/store/admissions.py", "core/store/approvals.py"
OUTCOMES, DECISIONS = "core/store/outcomes.py", "core/decisions.py"
DECIDED, SETTLED = "tests/core/test_decisions.py", "tests/core/test_outcomes.py"
LEASE, RETRY, TOOLS, BUSY = (f"tests/core/test_{name}.py" for name in ("lease", "retry", "tools", "busy"))
COMPACTIONS = "core/store/compactions.py"
COMPACTING, WINDOW = "tests/core/test_compaction.py", "tests/core/test_window.py"

FENCES = (
    epoch("append_reply and append_results", STEPS, "_STEP: Final"),
    epoch("absorb", STEPS, "_ABSORB: Final"),
    epoch("finish", ENDS, "_FINISH: Final"),
    epoch("close", ENDS, "_CLOSE: Final"),
    epoch("hand_over", ENDS, "_HAND_OVER: Final"),
    epoch("give_up", ENDS, "_GIVE_UP: Final"),
    epoch("renew", STEPS, "_RENEW: Final"),
    epoch("start_calls", STEPS, "_START: Final"),
    epoch("keep_result", STEPS, "_KEEP: Final"),
    gone(
        "a write after letting go",
        "core/store/fence.py",
        "FENCE: Final",
        " AND lease_expires_at IS NOT NULL",
        STORE,
    ),
    gone("the message number in a step", STEPS, "_STEP: Final", " AND message_seq = :message_seq", TOOLS),
    gone("the message number in absorb", STEPS, "_ABSORB: Final", " AND message_seq = :message_seq", STORE),
    gone("the signal count in absorb", STEPS, "_ABSORB: Final", " AND signal_seq = :signal_seq", STORE),
    gone("the signal count in finish", ENDS, "_FINISH: Final", " AND signal_seq = :signal_seq", BUSY),
    gone("the signal count in close", ENDS, "_CLOSE: Final", " AND signal_seq = :signal_seq", STORE),
    gone("the signal count in hand_over", ENDS, "_HAND_OVER: Final", " AND signal_seq = :signal_seq", STORE),
    gone(
        "the version in the claim (the reload check)",
        CLAIMS,
        "_CLAIM_TEXT: Final",
        " AND s.version = k.version",
        LEASE,
    ),
    gone(
        "the version in the take (the reload check)",
        TAKES,
        "_TAKE: Final",
        " AND s.version = k.version",
        LEASE,
    ),
    gone(
        "the free lease in the claim",
        CLAIMS,
        "_CLAIM_TEXT: Final",
        "(s.lease_expires_at IS NULL OR s.lease_expires_at <= at)",
        STORE,
        "true",
    ),
    gone(
        "the free lease in the take",
        TAKES,
        "_TAKE: Final",
        "(s.lease_expires_at IS NULL OR s.lease_expires_at <= at OR s.lease_holder = :holder)",
        LEASE,
        "true",
    ),
    gone("earlier turns first", CLAIMS, "_CLAIM_TEXT: Final", " AND NOT EXISTS (SELECT FROM ahead)", LEASE),
    gone(
        "its own lease only, in the claim",
        CLAIMS,
        "_CLAIM_TEXT: Final",
        "s.lease_holder = :turn_id AND EXISTS",
        RETRY,
        "EXISTS",
    ),
    gone(
        "a lost claim is taken back",
        CLAIMS,
        "_CLAIM_TEXT: Final",
        "OR s.lease_holder = :turn_id AND EXISTS",
        RETRY,
        "OR false AND EXISTS",
    ),
    gone("a lost take is taken back", TAKES, "_TAKE: Final", " OR s.lease_holder = :holder)", RETRY, ")"),
    gone(
        "a turn that waits is not taken",
        TAKES,
        "_TAKE: Final",
        " AND head.status <> 'waiting'",
        "tests/core/test_recovery.py",
    ),
    gone("a crash is counted", TAKES, "_TAKE: Final", "THEN 1 ELSE 0 END,", RETRY, "THEN 0 ELSE 0 END,"),
    gone(
        "a lost take is no crash",
        TAKES,
        "_TAKE: Final",
        " AND k.lease_holder IS DISTINCT FROM :holder",
        RETRY,
    ),
    gone(
        "a signal between two sendings of a claim",
        CLAIMS,
        "_CLAIM_TEXT: Final",
        "CASE WHEN p.id IS NULL THEN g.signal_seq ELSE -1 END",
        STORE,
        "g.signal_seq",
    ),
    gone("the version in admit", ADMISSIONS, "_ADMIT_TEXT: Final", " AND version = :version", STORE),
    gone("the version in stop", ADMISSIONS, "STOP: Final", " AND version = :version", STORE),
    gone(
        "approvals withdrawn by a stop",
        ADMISSIONS,
        "STOP: Final",
        "turn_id = ANY(CAST(:turn_ids AS uuid[])) AND status = 'pending'",
        STORE,
        "false",
    ),
    gone("the version in decide", APPROVALS, "_DECIDE: Final", " AND s.version = :version", STORE),
    gone(
        "an approval that is still pending",
        APPROVALS,
        "_DECIDE: Final",
        "a.status = 'pending' AND (a.kind",
        STORE,
        "(a.kind",
    ),
    gone(
        "an outcome is not decided as a call is",
        APPROVALS,
        "_DECIDE: Final",
        "(a.kind = 'call' OR :decision = 'expired')",
        STORE,
        "true",
    ),
    gone("the version in settle", OUTCOMES, "_SETTLE: Final", " AND s.version = :version", STORE),
    gone(
        "a question that is still open in settle",
        OUTCOMES,
        "_SETTLE: Final",
        "a.kind = 'outcome' AND a.status = 'pending'",
        STORE,
        "a.kind = 'outcome'",
    ),
    gone("the time of a question in settle", OUTCOMES, "_SETTLE: Final", "AND a.expires_at > at", SETTLED),
    gone("nobody works on it in settle", OUTCOMES, "_SETTLE: Final", "(n = 0 OR {QUIET})", STORE, "true"),
    gone(
        "no turn in the middle",
        APPROVALS,
        "QUIET: Final",
        "t.ended_at IS NULL AND t.first_seq IS NOT NULL",
        SETTLED,
        "false",
    ),
    gone(
        "a stop withdraws no question of an outcome",
        ADMISSIONS,
        "STOP: Final",
        " AND kind = 'call'",
        SETTLED,
    ),
    gone(
        "an end withdraws no question of an outcome",
        ENDS,
        "_CLOSE: Final",
        " AND a.kind = 'call'",
        STORE,
    ),
    gone(
        "the digest of what was shown",
        DECISIONS,
        "def _check",
        "decision.shown not in (None, approval.input_digest)",
        DECIDED,
        "False",
    ),
    gone(
        "the role of whoever decides",
        DECISIONS,
        "def _check",
        "not found.held_as.suffices_for(Role(approval.role))",
        DECIDED,
        "False",
    ),
    gone(
        "the role of whoever looks",
        APPROVALS,
        "_PENDING: Final",
        "AND array_position({RANKS}, theirs.held_as::text) >= array_position({RANKS}, a.role::text)",
        DECIDED,
    ),
    gone(
        "the same decision by the same person alone",
        DECISIONS,
        "    def _try",
        "(approval.status, found.decided_by) == (decision.status, found.user_id)",
        DECIDED,
        "True",
    ),
    gone(
        "the time of an approval",
        APPROVALS,
        "_DECIDE: Final",
        "AND (a.expires_at <= at) = (:decision = 'expired')",
        STORE,
    ),
    gone(
        "a decision is a signal",
        APPROVALS,
        "_DECIDE: Final",
        "WHERE kind = 'call') THEN 1",
        DECIDED,
        "WHERE kind = 'call') THEN 0",
    ),
    gone(
        "nothing decided is waited for",
        ENDS,
        "_HAND_OVER: Final",
        " AND EXISTS (",
        DECIDED,
        " AND true OR EXISTS (",
    ),
    gone(
        "the other approvals of the turn",
        APPROVALS,
        "_DECIDE: Final",
        "AND a.id NOT IN (SELECT due.id FROM due))",
        STORE,
        "AND false)",
    ),
    gone(
        "the version in mend",
        "core/store/records.py",
        "_MEND: Final",
        " AND version = :version",
        "tests/core/test_doctor.py",
    ),
    gone(
        "a conversation that is held is not mended",
        "core/store/records.py",
        "_MEND: Final",
        " AND (lease_expires_at IS NULL OR lease_expires_at <= at)",
        "tests/core/test_doctor.py",
    ),
    gone(
        "the epoch that mending counts up",
        "core/store/records.py",
        "_MEND: Final",
        "lease_epoch = lease_epoch + 1, lease_expires_at = NULL",
        "tests/core/test_doctor.py",
        "lease_epoch = lease_epoch",
    ),
    gone(
        "one turn a key",
        "alembic/versions/0001_first_turn.py",
        '"uq_turns_session_id_idempotency_key"',
        "unique=True",
        LEASE,
        "unique=False",
    ),
    gone(
        "one running turn",
        "alembic/versions/0001_first_turn.py",
        '"uq_turns_session_id_running"',
        "unique=True",
        LEASE,
        "unique=False",
    ),
    gone(
        "what was rolled back is left out",
        "core/store/holds.py",
        "HISTORY: Final",
        "NOT m.left_out",
        BUSY,
        "true",
    ),
    gone(
        "rewrites end what is remembered",
        "core/store/holds.py",
        "FLOOR: Final",
        " AND s.rewrites = :known_rewrites",
        "tests/core/test_memory.py",
    ),
    epoch("a compaction", COMPACTIONS, "_ADD: Final"),
    gone(
        "a compaction over what it was made of",
        COMPACTIONS,
        "_ADD: Final",
        " AND rewrites = :rewrites",
        STORE,
    ),
    gone(
        "a compaction ends what is remembered",
        COMPACTIONS,
        "_ADD: Final",
        "rewrites = rewrites + 1",
        COMPACTING,
        "rewrites = rewrites",
    ),
    gone(
        "a compaction of what was rolled back",
        ENDS,
        "_CLOSE: Final",
        "c.upto_seq >= :left_out_from",
        COMPACTING,
        "false",
    ),
    gone(
        "a compaction that is left out",
        "core/store/holds.py",
        "OVERLAY: Final",
        "NOT c.left_out AND ",
        COMPACTING,
    ),
    gone(
        "what stands for the beginning in the prefix digest",
        "core/model/prompt.py",
        "    def prefix_digest",
        "standing += [compaction.upto_seq, compaction.content]",
        COMPACTING,
        "pass",
    ),
    gone(
        "results stay with their calls",
        "core/compaction.py",
        "def _is_whole",
        "not messages[place].has_results and ",
        WINDOW,
    ),
    gone(
        "what goes on stays with its pause",
        "core/compaction.py",
        "def _is_whole",
        " and messages[place - 1].stop_reason not in PAUSES",
        WINDOW,
    ),
    gone(
        "a mark where the last request ended",
        "core/model/prompt.py",
        "def _marked",
        "if not replied or ",
        "tests/core/test_prompt_caching.py",
        "if True or ",
    ),
    gone(
        "message_stop",
        "core/model/claude.py",
        "def _read",
        'whole = whole or event.type == "message_stop"',
        "tests/core/test_claude.py",
        "whole = True",
    ),
    gone(
        "the stop reason",
        "core/model/claude.py",
        "def _read",
        " or message.stop_reason is None",
        "tests/core/test_claude.py",
    ),
    gone(
        "what was heard comes before the end",
        "core/holding.py",
        "    def finish",
        "if self.is_called:",
        BUSY,
        "if False:",
    ),
    gone(
        "a once call of another is not run",
        "core/toolwork.py",
        "def _without_running",
        "call.effect == Effect.ONCE and",
        TOOLS,
        "False and",
    ),
    gone(
        "a call is started before it runs",
        "core/toolwork.py",
        "def settle",
        "holding.start(ready)",
        "tests/core",
        "pass",
    ),
    gone(
        "thinking behind another prefix",
        "core/conversation.py",
        "def _sendable",
        "return same_prefix",
        "tests/core",
        "return True",
    ),
    gone(
        "the tools in the prefix digest",
        "core/model/prompt.py",
        "    def prefix_digest",
        "self._tools(), ",
        "tests/core/test_prompt.py",
    ),
    gone(
        "one retry on a dead connection",
        "core/tries.py",
        "def past_dead_connections",
        "_MOST_DEATHS - 1",
        RETRY,
        "0",
    ),
    gone(
        "statements have a deadline",
        "core/store/database.py",
        "def _wait",
        "raise psycopg2.OperationalError",
        "tests/store/test_database.py",
        "continue; raise psycopg2.OperationalError",
    ),
    *AGENT_FENCES,
    *ENDING_FENCES,
    *CLEANUP_FENCES,
    *OPERATOR_FENCES,
    *VISITOR_FENCES,
    *CACHE_FENCES,
)


_EVERYWHERE = ("tests/core", "tests/store", "tests/functions")


def main() -> None:
    asked = _arguments()
    chosen = [fence for fence in FENCES if asked.only in fence.name]
    begun = time.monotonic()
    with _copy() as copy:
        if broken := _failing_test(copy, *sorted({fence.tests for fence in chosen})):
            sys.exit(f"{broken} fails with all fences in place: nothing can be shown")
    with ThreadPoolExecutor(asked.jobs) as pool:
        outcomes = list(pool.map(lambda fence: _noticed(fence, begun), chosen))
    print("\n| fence | a test fails without it |\n|---|---|")
    for fence, noticed in zip(chosen, outcomes, strict=True):
        print(f"| {fence.name} | {noticed or 'NO'} |")
    missing = outcomes.count(None)
    sys.exit(f"\n{missing} of {len(chosen)} fences can be taken out unnoticed" if missing else 0)


def _noticed(fence: Fence, begun: float) -> str | None:
    """The test that failed, or None."""
    with _copy() as copy:
        _take_out(fence, copy)
        noticed = _failing_test(copy, fence.tests) or _noticed_elsewhere(copy)
    print(f"{time.monotonic() - begun:6.0f} s  {fence.name}: {noticed or 'NOT NOTICED'}", flush=True)
    return noticed


def _noticed_elsewhere(copy: Path) -> str | None:
    """By a test that passes with all fences in place."""
    noticed = _failing_test(copy, *_EVERYWHERE)
    if noticed is not None:
        with _copy() as whole:
            if _failing_test(whole, *_EVERYWHERE, only=noticed):
                sys.exit(f"{noticed} fails with all fences in place: nothing can be shown")
    return noticed


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="latchkey-fences-") as folder:
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, Path(folder) / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder)
        yield Path(folder)


def _take_out(fence: Fence, copy: Path) -> None:
    path = copy / fence.file
    code = path.read_text()
    at = code.find(fence.place)
    where = code.find(fence.old, at)
    if at < 0 or where < 0:
        raise SystemExit(
            f"{fence.name}: {fence.file} has no {fence.old!r} after {fence.place!r}; mend the list"
        )
    path.write_text(code[:where] + fence.new + code[where + len(fence.old) :])


def _failing_test(copy: Path, *tests: str, only: str = "") -> str | None:
    present = [test for test in tests if (copy / test).exists()]
    if not present:
        return None
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        *(["-k", only.partition("[")[0]] if only else []),
        *present,
    ]
    ran = subprocess.run(
        command,
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(copy)},
    )
    failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if ran.returncode not in (0, 1):
        raise SystemExit(f"the tests could not be run:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return failed[0].split(" - ")[0].split("::")[-1] if failed else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.prove.fences", description="Shows that every fence is needed."
    )
    parser.add_argument("--only", default="", help="fences with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default 2)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
