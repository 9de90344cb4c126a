"""What operators look at: how the service stands, and its figures by time."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from core.series import Range, day_of, range_of, series
from core.store import behind, figures
from core.store.database import Database
from functions.answers import JsonAnswer, moment
from functions.answers_admin import overview_shape
from functions.identity import Admin
from functions.incoming import TheHouse
from functions.shapes import PROBLEMS
from functions.shapes_admin import OverviewShape, SeriesShape

router = APIRouter(prefix="/v1/admin", tags=["admin"], dependencies=[Admin])

# A conversation in which a message was accepted within so many seconds is active: no more than what is left uncounted for it (a test
# says so).
_ACTIVE_S = 300

Figure = Literal[
    "turns",
    "errors",
    "latency",
    "stages",
    "tokens",
    "cost",
    "unpriced",
    "recoveries",
    "history",
    "locks",
    "cleanups",
    "sessions",
]
From = Annotated[
    datetime | None,
    Query(alias="from", description="The first hour or day; by default a day or 30 days ago."),
]
To = Annotated[datetime | None, Query(alias="to", description="The end, not included; by default now.")]


@router.get("/overview", summary="How the service stands", response_model=OverviewShape, responses=PROBLEMS)
async def look(request: Request, house: TheHouse) -> JsonAnswer:
    """Now, and since midnight (UTC)."""
    return JsonAnswer(await request.app.state.look(_overview, house.database))


@router.get("/series", summary="A figure by time", response_model=SeriesShape, responses=PROBLEMS)
async def read_series(
    request: Request,
    house: TheHouse,
    figure: Figure,
    since: From = None,
    until: To = None,
    step: Literal["hour", "day"] = "hour",
) -> JsonAnswer:
    """By hour for at most 31 days, by day for at most 400, in UTC; hours in which nothing happened are there. Each figure, exactly,
    is in docs/figures.md.
    """
    span = range_of(since, until, step, datetime.now(UTC))
    items = await request.app.state.look(_series, house.database, figure, span)
    return JsonAnswer(
        {
            "figure": figure,
            "step": step,
            "since": moment(span.since),
            "until": moment(span.until),
            "items": items,
        }
    )


def _overview(database: Database) -> dict[str, Any]:
    waiting = figures.waiting(database)
    today = day_of(waiting.at)
    return overview_shape(
        _ACTIVE_S,
        figures.standing(database, active_s=_ACTIVE_S),
        waiting,
        figures.kept(database),
        behind.since(database),
        today.since,
        figures.everything(database, today.since, today.until, "day"),
    )


def _series(database: Database, figure: str, span: Range) -> list[dict[str, Any]]:
    return [{**item, "at": moment(item["at"])} for item in series(database, figure, span)]
