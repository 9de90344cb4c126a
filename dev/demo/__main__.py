"""Plays a day at the clinic against a service that runs on this machine, or takes away what was played.

make demo                             or: python -m dev.demo
make demo ARGS=--quick                without pauses to read
make demo ARGS=--erase                erases everybody whom it has made, and nobody else

Ends with 0 if the day went as it is written, 1 if it went otherwise, 2 if there is no service to play against, 130 on Ctrl-C.
"""

import argparse
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from dev.demo import people
from dev.demo.calls import NotThere, Refused, is_alive
from dev.demo.crash import NoSecond, Second, second_server
from dev.demo.looking import WentOtherwise
from dev.demo.people import AddressBook
from dev.demo.story import Day, Left
from dev.demo.telling import Teller
from dev.running import Running, service_at, services

_HOME = Path(__file__).parent.parent.parent / ".latchkey"
_USUAL_PORT = "8000"
_PAUSE_S = 1.2
_WORTH_A_LOOK = {
    "Grace": "Grace: the turn that was recovered",
    "Hugo": "Hugo: the reminder of which nobody knew",
    "Ada": "Ada: the refund that waits for her yes",
}


class CannotPlay(Exception):
    """One sentence: what is missing, and how to get it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The service that is played against, and what is known of it beside its address."""

    url: str
    known: Running | None
    admin_token: str | None

    @property
    def database_url(self) -> str | None:
        """None: a second server would not know where."""
        return (self.known and self.known.database_url) or os.environ.get("DATABASE_URL")


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = _arguments()
    try:
        stage = _stage(asked)
        book = AddressBook.of(asked.home, stage.url)
        if asked.erase:
            _erase(stage, book)
        else:
            _play(stage, book, quick=asked.quick)
    except CannotPlay as problem:
        _give_up(str(problem), 2)
    except (NotThere, Refused, WentOtherwise) as problem:
        said = f"The service at {problem} is gone." if isinstance(problem, NotThere) else str(problem)
        _give_up(f"{said} What was played stays: make demo ARGS=--erase takes it away.", 1)
    except KeyboardInterrupt:
        _give_up("Stopped. What was played stays: make demo ARGS=--erase takes it away.", 130)


def _stage(asked: argparse.Namespace) -> Stage:
    url = asked.url.rstrip("/") if asked.url else _usual(asked.home)
    known = service_at(asked.home, url)
    if not is_alive(url):
        raise CannotPlay(
            f"There is no service at {url}. Start one in another terminal (make run), and come back."
        )
    if known and not known.is_demo:
        raise CannotPlay(
            f"The service at {url} talks to Claude, who costs money and answers in words of its own. "
            "The story needs the demo model: make run without ANTHROPIC_API_KEY."
        )
    if known and known.access_mode == "jwt":
        raise CannotPlay(
            f"At {url} people show tokens of their own (ACCESS_MODE is jwt), and the demo has none."
        )
    token = asked.admin_token or os.environ.get("ADMIN_TOKEN") or (known.admin_token if known else None)
    return Stage(url, known, token)


def _usual(home: Path) -> str:
    """The one that PORT names, or the only one that runs."""
    running = services(home)
    if not os.environ.get("PORT") and len(running) == 1:
        return running[0].url
    return f"http://127.0.0.1:{os.environ.get('PORT') or _USUAL_PORT}"


# ---- the day


def _play(stage: Stage, book: AddressBook, *, quick: bool) -> None:
    day = Day(stage.url, Teller(0 if quick else _PAUSE_S), book)
    day.tell.at("", f"A day at the clinic, at {stage.url}. Ctrl-C ends it.")
    with contextlib.ExitStack() as running:
        # It comes up while the morning goes by.
        second = _second(stage, running)
        day.ada_books()
        day.ben_is_asked()
        day.ada_pays_and_cancels()
        left = _noon(day, second)
        day.ada_shares()
        day.ada_tries_another_way()
        if left is not None:
            day.grace_goes_on(left.reply, left.key)
            day.hugo_knows(left.reminder)
        day.ada_wants_it_back()
    _show(stage, day)


def _second(stage: Stage, running: contextlib.ExitStack) -> Second | None:
    if stage.database_url is None:
        return None
    mode = stage.known.access_mode if stage.known else "bound"
    return running.enter_context(second_server(stage.database_url, mode))


def _noon(day: Day, second: Second | None) -> Left | None:
    """What the second server has left behind. None: there was none."""
    reason = "it is not known which Postgres this service has; DATABASE_URL says it"
    if second is not None:
        try:
            second.be_up()
            if not day.is_known_to(second):
                reason, second = "DATABASE_URL names another Postgres than this service has", None
        except NoSecond as no_second:
            reason, second = str(no_second), None
    if second is None:
        day.tell.at("10:00", f"The crash, and what goes with it, is left out: {reason}.")
        return None
    day.chloe_is_quick(second)
    return day.the_second_dies(second)


def _show(stage: Stage, day: Day) -> None:
    token = f"; its token is {stage.admin_token}" if stage.admin_token else ""
    shown = [
        (f"/#share={day.seen['link']}", "Ada's conversation, for whoever has her link, to read along"),
        ("/console", f"the operators' page{token}"),
        *(
            (f"/console#session={day.seen[name]}", what)
            for name, what in _WORTH_A_LOOK.items()
            if name in day.seen
        ),
    ]
    print("\nThe clinic closes. There is now to look at:")
    for path, what in shown:
        print(f"  {stage.url}{path}\n      {what}")
    print("\nmake demo ARGS=--erase takes it all away again.", flush=True)


# ---- and away again


def _erase(stage: Stage, book: AddressBook) -> None:
    gone = list(book)
    for kept in gone:
        people.erase(kept, stage.url)
        book.remove(kept)
        print(f"{kept.name} is erased.", flush=True)
    print(f"Of {len(gone)} people whom the demo has made at {stage.url}, none is left.", flush=True)


def _give_up(sentence: str, code: int) -> None:
    print(sentence, file=sys.stderr, flush=True)
    sys.exit(code)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.demo", description="Plays a day at the clinic.")
    parser.add_argument(
        "--url", help=f"the service (default: the one that runs here, or port $PORT, or {_USUAL_PORT})"
    )
    parser.add_argument(
        "--admin-token",
        help="what operators show, to be told at the end (default: $ADMIN_TOKEN, or that of make run)",
    )
    parser.add_argument("--quick", action="store_true", help="no pauses to read")
    parser.add_argument(
        "--erase", action="store_true", help="erase everybody whom the demo has made, and nobody else"
    )
    parser.add_argument(
        "--home", type=Path, default=_HOME, help="where make run leaves word of itself (default: .latchkey)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
