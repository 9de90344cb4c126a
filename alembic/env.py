"""Runs the migrations against a connection that the caller hands over (functions/migrate.py), or, for alembic's own
commands, against MIGRATION_DATABASE_URL or DATABASE_URL.

Two migrators at once do no harm: each takes an advisory lock inside its transaction, so the second waits for the
first and then finds nothing to do. The lock belongs to the transaction, not to the connection, and so cannot leak
through a pooler.

A migration that waits for a table has everybody wait behind it who comes after, if only to read. So it waits a few seconds
at most, and then fails, all of it; who handed over the connection tries again.
"""

import sys
from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine, text

import core.store.clinic_tables  # noqa: F401 - the example's tables, in the same metadata
from core.errors import LatchkeyError
from core.settings import SettingsError, read_settings
from core.store.database import reason, translated
from core.store.tables import metadata

# Any constant will do, as long as every Latchkey migrator uses the same.
_MIGRATION_LOCK = 0x1A7C_4B3E
# How long one waits for another migrator, whom nobody else waits behind, and for a table.
_LONGEST_WAIT_MS = 60_000
_LONGEST_WAIT_FOR_TABLES_MS = 3_000


def migrate(connection: Connection) -> None:
    attributes = context.config.attributes
    context.configure(
        connection=connection, target_metadata=metadata, compare_server_default=True, on_version_apply=tell
    )
    with context.begin_transaction():
        _wait_at_most(connection, _LONGEST_WAIT_MS)
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        _wait_at_most(connection, _LONGEST_WAIT_FOR_TABLES_MS)
        if begin := attributes.get("begin"):
            begin(context.get_context().get_current_revision())
        context.run_migrations()


def _wait_at_most(connection: Connection, ms: int) -> None:
    """In this transaction alone: what is set for the connection would leak through a pooler."""
    connection.execute(text("SELECT set_config('lock_timeout', :ms, true)"), {"ms": str(ms)})


def tell(*, step: Any, **_: Any) -> None:
    """One line a migration, for whoever runs them by hand; a caller that hands a connection over speaks for itself."""
    if moved := context.config.attributes.get("moved"):
        moved(step)
    elif "connection" not in context.config.attributes:
        verb = "upgraded to" if step.is_upgrade else "downgraded from"
        revision = step.up_revision
        print(f"latchkey  {verb} {revision.revision}: {revision.doc}", file=sys.stderr)


def migrate_from_environment() -> None:
    settings = read_settings()
    address = settings.migration_database_url or settings.database_url
    if address is None:
        raise SettingsError(["DATABASE_URL is not set; accepted: the address of the Postgres to migrate"])
    engine = create_engine(
        address.reveal(),
        hide_parameters=True,
        connect_args={"connect_timeout": settings.database_connect_timeout_s},
    )
    with translated(), engine.connect() as connection:
        migrate(connection)
    engine.dispose()


def print_sql() -> None:
    context.configure(url="postgresql+psycopg2://", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    print_sql()
elif handed_over := context.config.attributes.get("connection"):
    migrate(handed_over)
else:
    try:
        migrate_from_environment()
    except SettingsError as error:
        sys.exit(str(error))
    except LatchkeyError as error:
        sys.exit(f"The database was not migrated: {reason(error)}")
