"""Builds the parts from the settings. The only place that names a concrete database, model or roster."""

from dataclasses import dataclass

from core.agents.roster import ROSTER
from core.errors import DatabaseNotConfigured
from core.model.claude import Claude
from core.settings import LEASE_MARGIN_S, Settings
from core.store.database import Database
from core.turn import Turns


@dataclass(frozen=True, slots=True)
class House:
    settings: Settings
    _database: Database | None
    _turns: Turns | None

    @property
    def database(self) -> Database:
        if self._database is None:
            raise DatabaseNotConfigured
        return self._database

    @property
    def turns(self) -> Turns:
        if self._turns is None:
            raise DatabaseNotConfigured
        return self._turns

    def close(self) -> None:
        if self._turns is not None:
            self._turns.model.close()
        if self._database is not None:
            self._database.close()


def build_house(settings: Settings) -> House:
    if settings.database_url is None:
        return House(settings, None, None)
    database = Database(
        settings.database_url.reveal(),
        pool_size=settings.database_pool_size,
        connect_timeout_s=settings.database_connect_timeout_s,
    )
    turns = Turns(
        database=database,
        model=Claude(settings.anthropic_api_key, settings.anthropic_base_url),
        roster=ROSTER,
        default_model=settings.anthropic_model,
        lease_ttl_s=settings.lease_ttl_s,
        lease_margin_s=LEASE_MARGIN_S,
        session_ttl_s=settings.default_session_ttl_s,
    )
    return House(settings, database, turns)
