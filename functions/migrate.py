"""Migrations: the one way in which a database is brought to a release, on Lambda, by `make migrate` and before `make run` serves.

    {"command": "upgrade"}                            to this release's newest revision; "revision" names an earlier one
    {"command": "downgrade", "revision": "0005"}      back to a revision that is named
    {"command": "current"}                            looks alone

What can go wrong, and why it cannot: *two at once.* A lock lets one in, and the second finds nothing to do. *It is killed in the
middle.* It is one transaction. *Its connection breaks*, perhaps behind the last word: it looks again, and finds it done or does it. *It waits for a table that live traffic uses, and all traffic waits behind it.* It waits a few seconds
at most, lets go of everything, and tries again. *An older release is deployed on a newer database.* It leaves it as it is, and says so.

A function that has not done what it was asked fails, so that nobody who only looks at that takes it for done: `errorMessage`
is a code, a colon, and what to do.
"""

import argparse
import logging
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any, Final

from core.deadline import Deadline
from core.errors import (
    DatabaseConflict,
    DatabaseNotConfigured,
    DatabaseUnavailable,
    LatchkeyError,
    SettingsWrong,
)
from core.secrets import Secrets
from core.settings import Settings, SettingsError, read_settings
from core.store.database import Database, reason, sqlstate, translated
from core.values import dataclass
from functions import invocations

_log = logging.getLogger(__name__)

COMMANDS: Final = ("upgrade", "downgrade", "current")
_INI: Final = Path(__file__).parent.parent / "alembic.ini"
# Of what Lambda gives: to take back what was begun, and to say so.
_RESERVE_S: Final = 10.0
# How long one that is run by hand tries to get its locks, and how long it may take then.
_BY_HAND_S: Final = 300.0
# Between two tries traffic goes on.
_SHORTEST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 4.0
_LOCK_NOT_HAD: Final = "55P03"
_TIME_OVER: Final = "57014"


class NotMigrated(invocations.InvocationFailed):
    """The database is as it was; or, where it cannot be reached any more, as `current` says once it can."""

    def __init__(self, code: str, detail: str) -> None:
        self.code, self.detail = code, detail
        super().__init__(f"{code}: {detail}")


@dataclass(slots=True)
class Done:
    """What was found, and what came of it: the revisions that were gone through, in their order."""

    head: str
    before: str | None = None
    after: str | None = None
    migrated: list[str] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        return {"from": self.before, "to": self.after, "head": self.head, "migrated": self.migrated}


def handler(event: object, context: Any) -> dict[str, Any]:
    _begin()
    with invocations.invocation(context):
        return _answer(event, context)


@cache
def _begin() -> None:
    """Not at the import: by hand this is no function."""
    try:
        stage = read_settings().stage
    except SettingsError:
        # It is answered what is wrong with them.
        stage = Settings().stage
    invocations.begin(stage, "migrate")


def _answer(event: object, context: Any) -> dict[str, Any]:
    try:
        settings = _settings()
        asked = event if isinstance(event, Mapping) else {}
        done = migrate(settings, asked.get("command"), asked.get("revision"), until=_until(context))
    except NotMigrated as problem:
        _log.error("not migrated: %s", problem)
        raise
    _log.info("migrated from %s to %s", done.before, done.after)
    return done.shown()


def migrate(
    settings: Settings, command: object = "upgrade", revision: object = None, *, until: Deadline | None = None
) -> Done:
    """All of it, or nothing and NotMigrated."""
    if command not in COMMANDS:
        raise NotMigrated("bad_command", f"the command is {command!r}; accepted: {', '.join(COMMANDS)}")
    address = settings.migration_database_url or settings.database_url
    if address is None:
        raise NotMigrated(
            DatabaseNotConfigured.code,
            "neither MIGRATION_DATABASE_URL nor DATABASE_URL is set to the address of a Postgres",
        )
    run = _Run(str(command), revision)
    database = Database(address.reveal(), pool_size=1, connect_timeout_s=settings.database_connect_timeout_s)
    try:
        return _again_and_again(run, database, until or Deadline.after(_BY_HAND_S))
    except LatchkeyError as error:
        raise NotMigrated(error.code, reason(error)) from None
    finally:
        database.close()


def _again_and_again(run: "_Run", database: Database, until: Deadline) -> Done:
    """Until it had its locks, and has heard what came of it. Whatever else is wrong will be wrong again."""
    while True:
        pause_s = random.uniform(_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S)  # noqa: S311 - spreads out two who collide
        try:
            with translated():
                return run.once(database, until)
        except DatabaseConflict:
            # Two waited for each other.
            pass
        except DatabaseUnavailable:
            if not run.has_begun or until.left_s() < 2 * pause_s:
                raise
        except (NotMigrated, LatchkeyError):
            raise
        except Exception as error:
            state = sqlstate(error)
            if state == _TIME_OVER:
                raise NotMigrated(
                    "time_over", "there was not enough time, so all of it was taken back"
                ) from None
            if state is not None and state != _LOCK_NOT_HAD:
                raise NotMigrated("migration_failed", f"SQLSTATE {state}: {reason(error)}") from None
            if state is None:
                raise
        if until.left_s() < 2 * pause_s:
            raise NotMigrated(
                "database_locked",
                "somebody else migrates, or holds on to the tables for longer than there is time; try again, or look into "
                "pg_stat_activity for transactions that stay open",
            )
        time.sleep(pause_s)


class _Run:
    def __init__(self, command: str, revision: object) -> None:
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        self._command = command
        self._config = Config(str(_INI))
        self._scripts = ScriptDirectory.from_config(self._config)
        # From the newest to the oldest.
        self._known = [script.revision for script in self._scripts.walk_revisions()]
        self._target = self._named(revision)
        # This time the database was there.
        self.has_begun = False

    def once(self, database: Database, until: Deadline) -> Done:
        from alembic.command import downgrade, upgrade
        from alembic.migration import MigrationContext

        done = Done(self._known[0])
        self.has_begun = False

        def begin(found: str | None) -> None:
            self.has_begun = True
            done.before = done.after = found
            self._judge(found)

        def moved(step: Any) -> None:
            done.migrated += step.up_revision_ids
            done.after = next(iter(step.destination_revision_ids), None)

        with database.connection(until) as connection:
            if self._command == "current":
                begin(MigrationContext.configure(connection).get_current_revision())
                return done
            self._config.attributes.update(connection=connection, begin=begin, moved=moved)
            (upgrade if self._command == "upgrade" else downgrade)(self._config, self._target)
        return done

    def _named(self, revision: object) -> str:
        if self._command != "downgrade" and revision in (None, "head"):
            return self._known[0]
        if self._command == "downgrade" and revision in (None, "", "base"):
            raise NotMigrated(
                "revision_missing",
                "which revision to go back to is to be named; to take every table away is not done from here",
            )
        if revision not in self._known:
            raise NotMigrated(
                "unknown_revision", f"the revision is {revision!r}; known: {', '.join(reversed(self._known))}"
            )
        return str(revision)

    def _judge(self, found: str | None) -> None:
        """Under the lock: nobody else changes it from here on."""
        if self._command == "current":
            return
        if found is not None and found not in self._known:
            raise NotMigrated(
                "database_newer",
                f"the database is at revision {found}, which this release does not know: its newest is {self._known[0]}. A later "
                "release migrated it: deploy that one again, or have it downgrade the database first",
            )
        if self._command == "downgrade" and not self._is_at_least(found):
            raise NotMigrated(
                "not_a_downgrade",
                f"the database is at revision {found or 'none'}, which is earlier than {self._target}",
            )

    def _is_at_least(self, found: str | None) -> bool:
        return found is not None and self._known.index(found) <= self._known.index(self._target)


def _settings() -> Settings:
    try:
        settings = read_settings()
        if settings.secrets_id is None:
            return settings
        # Read anew each time: what is migrated is what is true now.
        return read_settings(secrets=Secrets(settings.secrets_id, settings.secrets_ttl_s).read())
    except SettingsError as problem:
        raise NotMigrated(SettingsWrong.code, "; ".join(problem.problems)) from None
    except LatchkeyError as error:
        raise NotMigrated(error.code, reason(error)) from None


def _until(context: Any) -> Deadline | None:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    return None if remaining is None else Deadline.after(remaining() / 1000 - _RESERVE_S)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m functions.migrate", description="Migrates the database.")
    parser.add_argument("command", choices=COMMANDS, nargs="?", default="upgrade")
    parser.add_argument("revision", nargs="?", help="for downgrade; of upgrade the newest if it is not named")
    asked = parser.parse_args(arguments)
    try:
        done = migrate(_settings(), asked.command, asked.revision)
    except NotMigrated as problem:
        sys.exit(f"latchkey  the database was not migrated: {problem.detail}")
    verb = "downgraded from" if asked.command == "downgrade" else "upgraded to"
    for revision in done.migrated:
        print(f"latchkey  {verb} {revision}", file=sys.stderr)
    print(f"latchkey  the database is at revision {done.after}; the newest is {done.head}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
