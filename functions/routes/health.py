"""Health: is the process alive, and can it serve."""

from fastapi import APIRouter, Request

from core.errors import DatabaseNotConfigured, DatabaseNotMigrated
from core.store import sessions
from core.store.database import Database
from core.store.revision import SCHEMA_REVISION
from functions.answers import JsonAnswer
from functions.incoming import TheHouse
from functions.shapes import PROBLEMS

router = APIRouter(tags=["health"])


@router.get("/health", summary="Alive; asks nobody else")
async def health() -> JsonAnswer:
    return JsonAnswer({"status": "ok"})


@router.get("/ready", summary="Ready; asks the database", responses=PROBLEMS)
async def ready(request: Request, house: TheHouse) -> JsonAnswer:
    """Also where application sessions are kept, and how the cache is doing: without it everything works as with it."""
    kept = house.keeping.shown()
    if house.settings.database_url is None:
        raise DatabaseNotConfigured(
            f"No database is configured, so nobody can be answered: set DATABASE_URL to a Postgres address. Application "
            f"sessions are kept in: {kept['sessions']}."
        )
    revision = await request.app.state.look(_revision, house.database)
    return JsonAnswer({"status": "ready", "schema": revision, **kept})


def _revision(database: Database) -> str:
    """A newer schema will do: migrations keep the release before them working."""
    revision = sessions.schema_revision(database)
    if revision is None or revision < SCHEMA_REVISION:
        raise DatabaseNotMigrated
    return revision
