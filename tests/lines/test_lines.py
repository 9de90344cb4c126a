"""In each line stands what is being worked on, as Lambda's own runtime writes it; and what an exception says of itself stands in none."""

import io
import logging
import re
import subprocess
import threading
from collections.abc import Callable
from uuid import UUID

import psycopg2
import pytest

from core import about
from core.attendance import on_a_thread
from core.digest import digest
from core.errors import DatabaseUnavailable
from core.ids import SessionId, TurnId
from core.store.database import reason
from functions import invocations, lines
from tests.conversations import until
from tests.databases import ROOT, run
from tests.lines.on_lambda import CONTEXT, TRACE, Log, on_lambda

_log = logging.getLogger("core.turn")
# Not in one piece, for the lines of the code itself may be told.
WRITTEN = " ".join(("what", "somebody", "wrote"))
SESSION, TURN = SessionId(UUID(int=1)), TurnId(UUID(int=2))


def test_a_line_says_what_it_is_about(log: Log) -> None:
    with invocations.invocation(CONTEXT), about.under(request_id="the-gateways"):
        about.learn_turn(SESSION, TURN, 7)
        _log.warning("%s happened", "it")
    line = log.lines[-1]
    assert line["message"] == "it happened"
    assert (line["level"], line["logger"]) == ("WARNING", "core.turn")
    assert (line["function"], line["request_id"], line["trace"]) == ("api", "the-gateways", TRACE)
    assert (line["session"], line["turn"], line["epoch"]) == (digest(str(SESSION))[:12], str(TURN), 7)


def test_lines_of_libraries_say_it_too(log: Log) -> None:
    with about.under(request_id="one"):
        logging.getLogger("sqlalchemy.pool").warning("a connection was lost")
    assert log.lines[-1]["request_id"] == "one"


def test_what_was_learnt_is_forgotten_at_the_end_of_the_request(log: Log) -> None:
    with about.under(request_id="one"):
        about.learn_turn(SESSION, TURN, 7)
    with about.under(request_id="two"):
        _log.warning("another")
    assert "turn" not in log.lines[-1]
    assert "session" not in log.lines[-1]


def test_whoever_waits_for_another_holder_names_no_epoch(log: Log) -> None:
    with about.under():
        about.learn_turn(SESSION, TURN, 7)
        about.learn_turn(SESSION, TURN)
        _log.warning("waiting")
    assert "epoch" not in log.lines[-1]


def test_a_thread_is_about_what_it_was_started_for(log: Log) -> None:
    """Also when it is left behind, and its waiter goes on to another turn."""
    later = threading.Event()

    def work() -> None:
        later.wait(20)
        _log.warning("on a thread")

    with about.under(request_id="one"):
        about.learn_turn(SESSION, TURN, 7)
        left_behind = on_a_thread(work, "left-behind")
        about.learn_turn(SESSION, TurnId(UUID(int=3)), 8)
        later.set()
        left_behind.result(20)
    assert (log.lines[-1]["turn"], log.lines[-1]["epoch"]) == (str(TURN), 7)


def test_the_first_invocation_of_a_process_is_a_cold_start(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocations, "_invoked", iter(range(9)))
    for _ in range(3):
        with invocations.invocation(CONTEXT):
            _log.warning("here")
    assert [line["cold"] for line in log.lines] == [True, False, False]
    (told,) = log.of("ColdStarts")
    assert (told["function"], told["requestId"]) == ("api", CONTEXT.aws_request_id)


def test_what_is_worked_on_belongs_to_the_trace_of_who_asked_for_it(log: Log) -> None:
    theirs = "1-5759e988-bd862e3fe1be46a994272794"
    for header in (f"Root={theirs};Sampled=0", None, ""):
        with invocations.invocation(CONTEXT), invocations.caused_by(header):
            _log.warning("here")
    assert [line["trace"] for line in log.lines] == [theirs, TRACE, TRACE]


def test_an_invocation_that_a_defect_ends_fails_without_its_text(log: Log) -> None:
    """What gets out of a handler Lambda's runtime writes into the log as it is."""
    with pytest.raises(invocations.InvocationFailed) as failed, invocations.invocation(CONTEXT):
        _fails(WRITTEN)
    assert str(failed.value) == "defect: unexpected KeyError; the log says where"
    assert failed.value.__cause__ is None
    (line,) = log.lines
    assert (line["errorType"], line["request_id"]) == ("KeyError", CONTEXT.aws_request_id)
    assert [told["error"] for told in log.of("Defects")] == ["KeyError"]
    assert WRITTEN not in log.text


def test_a_failure_of_ours_gets_out_as_it_is(log: Log) -> None:
    for error in (
        DatabaseUnavailable("The database is being moved."),
        invocations.InvocationFailed("it was said"),
    ):
        with pytest.raises(type(error), match=str(error)), invocations.invocation(CONTEXT):
            raise error
    assert log.lines == []
    assert log.of("Defects") == []


def test_whatever_can_fail_an_invocation_is_one_of_ours() -> None:
    """Its text is written into the log, so it is to be looked at."""
    from functions.cleanup import CleanUpFailed
    from functions.migrate import NotMigrated

    assert issubclass(CleanUpFailed, invocations.InvocationFailed)
    assert issubclass(NotMigrated, invocations.InvocationFailed)


def test_a_trace_that_is_none_is_not_told(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for header in ("Root=mine", "", "Root=1-5759e988-bd862e3fe1be46a994272793\nforged"):
        monkeypatch.setenv("_X_AMZN_TRACE_ID", header)
        with invocations.invocation(CONTEXT):
            _log.warning("here")
        assert "trace" not in log.lines[-1]


def test_the_digest_of_a_session_is_made_and_found_as_the_page_says(database_url: str) -> None:
    page = (ROOT / "docs" / "logs.md").read_text()
    (statement,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"`(printf .*?)`", page)
    made = subprocess.run(
        ["sh", "-c", command.replace("<ID>", str(SESSION))], capture_output=True, text=True, check=True
    )
    assert made.stdout.strip() == about.short(SESSION)
    assert f"'{about.short(SESSION)}'" in statement
    run(database_url, "INSERT INTO users (id) VALUES (%s)", str(SESSION))
    given = (str(SESSION), str(SESSION))
    run(database_url, "INSERT INTO conversation_states (id, user_id) VALUES (%s, %s)", *given)
    assert [str(id_) for (id_,) in run(database_url, statement)] == [str(SESSION)]


# ---- what exceptions say


def _fails(text: str, cause: Callable[[], object] | None = None) -> None:
    try:
        if cause is not None:
            cause()
        raise KeyError(text)
    except ZeroDivisionError as error:
        raise ValueError(text) from error


def test_a_defect_is_one_line_with_its_kind_and_places_and_without_its_text(log: Log) -> None:
    try:
        _fails(WRITTEN, lambda: 1 // 0)
    except ValueError:
        _log.exception("unexpected")
    (line,) = log.lines
    assert line["errorType"] == "ValueError"
    assert "in _fails" in "".join(line["stackTrace"])
    assert "ZeroDivisionError at " in line["errorMessage"]
    assert WRITTEN not in log.text
    assert "division" not in line["errorMessage"]


def test_our_own_errors_say_what_happened(log: Log) -> None:
    _log.error("away", exc_info=DatabaseUnavailable("The database is being moved."))
    assert log.lines[-1]["errorMessage"] == "The database is being moved."


def test_an_exception_that_ends_a_thread_is_one_line(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    thread = threading.Thread(target=lambda: _fails(WRITTEN))
    thread.start()
    thread.join()
    until(lambda: bool(log.written))
    (line,) = log.lines
    assert (line["level"], line["errorType"]) == ("ERROR", "KeyError")
    assert WRITTEN not in log.text + "".join(capfd.readouterr())


def test_a_chain_that_comes_back_to_itself_is_told(log: Log) -> None:
    one, other = KeyError("a"), KeyError("b")
    one.__cause__, other.__cause__ = other, one
    _log.error("round", exc_info=one)
    assert len(log.lines) == 1


class _OfAws(Exception):
    """As botocore's, which name the address of what was asked for."""

    def __init__(self, response: object = None) -> None:
        super().__init__(f"Could not connect to https://bucket/{WRITTEN}")
        self.response = response


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (_OfAws(), "_OfAws"),
        (_OfAws({"Error": {"Code": "AccessDenied"}}), "_OfAws (AccessDenied)"),
        (_OfAws("no answer"), "_OfAws"),
        (KeyError(WRITTEN), "KeyError"),
        (psycopg2.OperationalError("no answer in time\nfrom it"), "no answer in time"),
        (DatabaseUnavailable("It is being moved."), "It is being moved."),
    ],
)
def test_why_something_failed_is_told_without_what_it_was_given(error: Exception, told: str) -> None:
    assert reason(error) == told
    ours = DatabaseUnavailable()
    ours.__cause__ = error
    assert reason(ours) == told


# ---- levels


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARN", "ERROR"])
def test_libraries_say_no_more_than_warnings_whatever_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """Some would tell the body of each request that they send."""
    with on_lambda(monkeypatch, level) as log:
        for name in (
            "anthropic._base_client",
            "httpx2",
            "botocore.endpoint",
            "a_package.of_next_year",
            "urllib3",
        ):
            logging.getLogger(name).debug("a body")
            logging.getLogger(name).info("a body")
        assert log.written == []
        _log.info("ours")
        _log.error("a failure of ours")
    assert [line["message"] for line in log.lines] == (["ours"] if level != "ERROR" else []) + [
        "a failure of ours"
    ]


# ---- on this machine


def test_on_this_machine_a_line_is_text_with_what_it_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(lines.Text())
    logger = logging.getLogger("core.of_this_test")
    logger.addHandler(handler)
    with about.under(request_id="one", trace="t"):
        about.learn_turn(SESSION, TURN, 7)
        logger.warning("here")
    logger.removeHandler(handler)
    assert stream.getvalue().endswith(
        f"  here  [request_id one session {about.short(SESSION)} turn {TURN} epoch 7]\n"
    )
