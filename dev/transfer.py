"""Exports and imports conversations of any size, and brings archived ones back, past the door, for whoever runs the service.

    python -m dev.transfer export SESSION > talk.jsonl
    python -m dev.transfer import --user USER talk.jsonl
    python -m dev.transfer restore SESSION

Reads DATABASE_URL; a restore reads ARCHIVE_BUCKET as well, and AWS's own variables. An import vouches for its file: application sessions
come along. Ends with 0, or with 2 and the reason.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar
from uuid import UUID

from core.archive import Archive
from core.deadline import Deadline
from core.errors import ArchiveUnavailable, LatchkeyError, SessionNotFound
from core.ids import SessionId, UserId
from core.restoring import Restoring
from core.settings import Settings, SettingsError, read_settings
from core.store import exports
from core.store.database import Database, reason
from core.transfer import reading
from core.transfer.exporting import Cursor, lines
from core.transfer.importing import Terms, store

Line = TypeVar("Line")

_TELLS_EVERY_S = 5.0
_RESTORE_S = 600.0


def main() -> None:
    asked = _arguments()
    try:
        settings = read_settings()
        asked.run(_database(settings), settings, asked)
    except SettingsError as error:
        _give_up(str(error))
    except SessionNotFound:
        _give_up(f"There is no conversation {asked.session}.")
    except ArchiveUnavailable as error:
        _give_up(f"The archive cannot be used: {reason(error)}")
    except LatchkeyError as error:
        _give_up(error.detail if error.status < 500 else f"The database cannot be used: {reason(error)}")
    except OSError as error:
        _give_up(str(error))


def _export(database: Database, _: Settings, asked: argparse.Namespace) -> None:
    session_id = SessionId(asked.session)
    before = _version(database, session_id)
    for line in _with_progress(line for line, _ in lines(database, session_id, Cursor(0))):
        sys.stdout.buffer.write(f"{line}\n".encode())
    sys.stdout.buffer.flush()
    if _version(database, session_id) != before:
        _give_up("The conversation was changed meanwhile, so this file is not whole. Export it again.")


def _version(database: Database, session_id: SessionId) -> int:
    version = exports.version(database, session_id)
    if version is None:
        raise SessionNotFound
    return version


def _import(database: Database, settings: Settings, asked: argparse.Namespace) -> None:
    with asked.file.open("rb") as file:
        draft = reading.read(
            (line.removesuffix(b"\n") for line in _with_progress(file)), settings.max_body_bytes
        )
    terms = Terms(settings.max_body_bytes, settings.session_ttl_s, trusted=True)
    print(store(database, UserId(asked.user), draft, terms, asked.key))


def _restore(database: Database, settings: Settings, asked: argparse.Namespace) -> None:
    if settings.archive_bucket is None:
        raise SettingsError(["ARCHIVE_BUCKET is not set; accepted: the name of the archive's bucket"])
    owner = None if asked.user is None else UserId(asked.user)
    restoring = Restoring(database, Archive(settings.archive_bucket))
    is_new = restoring(SessionId(asked.session), owner, Deadline.after(_RESTORE_S))
    print(f"{asked.session} {'is back' if is_new else 'is here already'}")


def _with_progress(given: Iterable[Line]) -> Iterator[Line]:
    last = time.monotonic()
    for count, line in enumerate(given, 1):
        if time.monotonic() - last > _TELLS_EVERY_S:
            last = time.monotonic()
            print(f"{count} lines so far", file=sys.stderr, flush=True)
        yield line


def _database(settings: Settings) -> Database:
    if settings.database_url is None:
        raise SettingsError(["DATABASE_URL is not set; accepted: the address of a Postgres"])
    return Database(
        settings.database_url.reveal(),
        pool_size=1,
        connect_timeout_s=settings.database_connect_timeout_s,
        statement_timeout_s=600,
    )


def _give_up(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(2)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.transfer", description="Exports and imports conversations of any size."
    )
    commands = parser.add_subparsers(required=True, metavar="export|import|restore")
    out = commands.add_parser("export", help="writes a conversation to standard output")
    out.add_argument("session", type=UUID, help="the conversation's ID")
    out.set_defaults(run=_export)
    into = commands.add_parser("import", help="makes a conversation of a file, and prints its ID")
    into.add_argument("--user", type=UUID, required=True, help="the ID of the user whose it becomes")
    into.add_argument("--key", help="the same key gives the same conversation, however often it is run")
    into.add_argument("file", type=Path, help="the file")
    into.set_defaults(run=_import)
    back = commands.add_parser(
        "restore", help="brings an archived conversation back, under its own ID and owner"
    )
    back.add_argument("session", type=UUID, help="the conversation's ID")
    back.add_argument("--user", type=UUID, help="whose it is; else the whole archive is looked through")
    back.set_defaults(run=_restore)
    return parser.parse_args()


if __name__ == "__main__":
    main()
