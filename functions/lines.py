"""Lines of the log: in each stands what is being worked on (see core/about.py), whoever wrote it.

On Lambda a line is JSON, made by Lambda's own runtime, which takes the fields that a record carries. What an exception says of
itself is left out there: it may quote what somebody wrote. Its kind and where it happened are told, and the texts of our
own errors, which quote nobody. On this machine (`make run`) a line is text, with everything.
"""

import logging
import re
import sys
import threading
import traceback
from typing import Any

from core import about
from core.errors import QuotesNobody

# Ours tell what a night's questions need. Others tell each request that they send, and some its body.
_OURS = ("core", "functions")
_NOISY = (
    "httpx",
    "httpcore",
    "httpx2",
    "httpcore2",
    "anthropic",
    "botocore",
    "boto3",
    "urllib3",
    "mangum",
    "asyncio",
    "uvicorn.error",
)
_WITHHELD = "its text is left out, for it may quote somebody"
_DEEPEST = 10
_SHOWS = re.compile(r"[\n(]")


def carry_fields() -> None:
    """Where records are made, so that no handler, of whomever, is without them."""
    make = logging.getLogRecordFactory()
    if getattr(make, "carries_fields", False):
        return

    def made(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = make(*arguments, **more)
        record.__dict__.update(about.current())
        return record

    made.carries_fields = True  # type: ignore[attr-defined]  # a mark, so that it is put up once
    logging.setLogRecordFactory(made)


def withhold_texts() -> None:
    """Of exceptions, in every line from here on, and of those that end a thread, or nothing."""
    make = logging.getLogRecordFactory()
    if getattr(make, "withholds_texts", False):
        return

    def made(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = make(*arguments, **more)
        if record.exc_info and record.exc_info[1] is not None:
            kind, error, trace = record.exc_info
            record.exc_info = (kind, _stand_in(error), trace)
        if record.name == "asyncio":
            # It shows what was raised, and what was called with what.
            record.msg, record.args = _SHOWS.split(record.getMessage(), maxsplit=1)[0], None
        return record

    made.carries_fields = True  # type: ignore[attr-defined]
    made.withholds_texts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(made)
    threading.excepthook = _thread_ended
    sys.unraisablehook = _nowhere_to_go


def set_levels() -> None:
    """Ours from INFO on, unless less is asked for; of others warnings alone, whatever is asked for."""
    root = logging.getLogger()
    ours = logging.INFO if root.level <= logging.WARNING else root.level
    root.setLevel(max(root.level, logging.WARNING))
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    for name in _OURS:
        logging.getLogger(name).setLevel(ours)
    # The name of an asyncio task says nothing here.
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]  # from Python 3.12 on


class Text(logging.Formatter):
    """For people: the time, what is said, and what it is about."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s  %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        known = about.current()
        fields = " ".join(
            f"{name} {known[name]}" for name in ("request_id", "session", "turn", "epoch") if name in known
        )
        return super().formatMessage(record) + (f"  [{fields}]" if fields else "")


def show_as_text() -> None:
    """Every line of this process, on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(Text())
    logging.getLogger().addHandler(handler)
    carry_fields()
    set_levels()


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is None or issubclass(ended.exc_type, SystemExit):
        return
    exc_info = (ended.exc_type, ended.exc_value, ended.exc_traceback)
    logging.getLogger(__name__).error("a thread ended with %s", ended.exc_type.__name__, exc_info=exc_info)


def _nowhere_to_go(ended: "sys.UnraisableHookArgs") -> None:
    """Raised where nobody can be told, such as in the end of a generator that nobody reads any more."""
    error = ended.exc_value or ended.exc_type()
    exc_info = (ended.exc_type, error, ended.exc_traceback)
    logging.getLogger(__name__).error(
        "%s was raised where nobody is told", ended.exc_type.__name__, exc_info=exc_info
    )


def _stand_in(error: BaseException) -> BaseException:
    """Of the same name, without its text; and of what it came from the kinds and the places."""
    told = [_told(error)]
    cause = _cause(error)
    while cause is not None and len(told) < _DEEPEST:
        told.append(f"from {_kind(cause)}{_place(cause)}: {_told(cause)}")
        cause = _cause(cause)
    kind = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
    made: BaseException = kind("; ".join(told))
    return made


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, QuotesNobody) else _WITHHELD


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
