"""Checks stored conversations for everything that the model would refuse, and mends them when told to.

    make doctor                           or: python -m dev.doctor
    make doctor ARGS=--fix                mends what can be mended: nothing is deleted

Reads DATABASE_URL. Says what ails which message, never what was said. Ends with 0 if all is well (or was mended), 1 if
something is left, 2 if it could not check.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import NoReturn
from uuid import UUID

from core.doctor.rounds import Visit, rounds, visit
from core.errors import LatchkeyError
from core.ids import SessionId
from core.settings import SettingsError, read_settings
from core.store.database import Database, reason

_TELLS_EVERY_S = 5.0


def main() -> None:
    asked = _arguments()
    try:
        database = _database()
        sys.exit(_report(_visits(database, asked), asked))
    except SettingsError as error:
        _give_up(str(error))
    except LatchkeyError as error:
        _give_up(f"The database cannot be used: {reason(error)}")


def _database() -> Database:
    settings = read_settings()
    if settings.database_url is None:
        raise SettingsError(
            [
                "DATABASE_URL is not set; accepted: the address of the Postgres whose conversations are to be checked"
            ]
        )
    return Database(
        settings.database_url.reveal(),
        pool_size=1,
        connect_timeout_s=settings.database_connect_timeout_s,
        statement_timeout_s=60,
    )


def _visits(database: Database, asked: argparse.Namespace) -> Iterable[Visit]:
    if asked.session is None:
        return rounds(database, fix=asked.fix)
    seen = visit(database, SessionId(asked.session), fix=asked.fix)
    if seen is None:
        _give_up(f"There is no conversation {asked.session}.")
    return [seen]


def _report(visits: Iterable[Visit], asked: argparse.Namespace) -> int:
    checked = messages = ailments = ailing = left = 0
    for seen in _with_progress(visits):
        checked += 1
        messages += seen.messages
        ailments += len(seen.ailments)
        ailing += bool(seen.ailments)
        left += bool(seen.ailments) and not seen.mended
        for line in _lines(seen, as_json=asked.json):
            print(line, flush=True)
    if not asked.json:
        print(_sum(checked, messages, ailments, ailing, left, fix=asked.fix))
    return 1 if left else 0


def _lines(seen: Visit, *, as_json: bool) -> Iterator[str]:
    for ailment in seen.ailments:
        done = "mended" if seen.mended else "held, not mended" if seen.is_held else "not mended"
        if as_json:
            yield json.dumps({"session_id": str(seen.session_id), **asdict(ailment), "mended": seen.mended})
        else:
            where = f"message {ailment.seq} {ailment.detail}" if ailment.seq else ailment.detail
            yield f"{seen.session_id}  {ailment.code}: {where}; {ailment.remedy} ({done})"


def _sum(checked: int, messages: int, ailments: int, ailing: int, left: int, *, fix: bool) -> str:
    told = f"checked {checked} conversations, {messages} messages: "
    if not ailments:
        return told + "all is well"
    told += f"{ailments} ailments in {ailing} of them"
    if not left:
        return told + ", all mended"
    return told + (f", {left} of them not mended" if fix else "; run it again with --fix to mend them")


def _with_progress(visits: Iterable[Visit]) -> Iterator[Visit]:
    last = time.monotonic()
    for count, seen in enumerate(visits, 1):
        if time.monotonic() - last > _TELLS_EVERY_S:
            last = time.monotonic()
            print(f"{count} conversations so far", file=sys.stderr, flush=True)
        yield seen


def _give_up(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(2)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.doctor",
        description="Checks stored conversations for what the model would refuse.",
    )
    parser.add_argument("--fix", action="store_true", help="mend what can be mended; nothing is deleted")
    parser.add_argument("--session", type=UUID, help="one conversation only, by its ID")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each ailment, and no sum")
    return parser.parse_args()


if __name__ == "__main__":
    main()
