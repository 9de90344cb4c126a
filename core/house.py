"""Builds the parts from the settings. The only place that names a concrete database, model or roster."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.agents.refusal import WrongDeclaration
from core.agents.roster import ROSTER, Roster
from core.answering import Turns
from core.archive import Archive
from core.asking import Asking
from core.branches import Branches
from core.budgets import Budgets, Limit, least_of
from core.cleaning import Cleaning
from core.compaction import Window
from core.conversation import Memory
from core.deadline import Deadline
from core.desk import Desk
from core.devices import Devices
from core.erasing import Erasing
from core.errors import DatabaseNotConfigured
from core.figures import Figures, memory_bytes
from core.following import Following
from core.keeping import Keeping, keeping
from core.model.claude import Claude
from core.model.prices import price_of
from core.partials import Partials
from core.queue import Queue
from core.rates import Rates
from core.reception import Reception
from core.reports import Tell, log
from core.sessions.current import CurrentSessions
from core.sessions.manager import SessionManager
from core.sessions.service import SessionService
from core.sessions.session import State
from core.settings import LEASE_MARGIN_S, WORKER_RESERVE_S, Settings
from core.sharing import Sharing
from core.stint import Limits
from core.store.database import Database
from core.tokens import Tokens
from core.values import dataclass
from core.wakeups import WorkerThreads

if TYPE_CHECKING:
    from core.operating import Operating
    from core.restoring import Restoring

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class House:
    settings: Settings
    figures: Figures
    keeping: Keeping
    # What is known of the conversations that devices are in, and who was told of it.
    current: CurrentSessions
    devices: Devices
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

    @property
    def tokens(self) -> Tokens:
        return self.devices.tokens

    @property
    def following(self) -> Following:
        return Following(self.database, self.turns.partials)

    @property
    def cache_s(self) -> float:
        """How long one request may wait for Redis, all in all."""
        return self.keeping.wait_s

    @property
    def sessions(self) -> SessionService:
        return SessionService(
            self.database,
            self.turns.roster,
            self.settings.default_session_ttl_s,
            self.settings.without_database == "stateless",
            self.current,
        )

    @property
    def erasing(self) -> Erasing:
        return Erasing(self.database, self.keeping.farewell, self.turns.partials, self.archive)

    @property
    def archive(self) -> Archive | None:
        bucket = self.settings.archive_bucket
        return None if bucket is None else Archive(bucket)

    @property
    def restoring(self) -> "Restoring | None":
        # It knows the tables, which take a tenth of a second to make, and nobody asks for it on the way to an answer.
        from core.restoring import Restoring

        return None if self.archive is None else Restoring(self.database, self.archive)

    @property
    def cleaning(self) -> Cleaning:
        turns, key_ttl_s = self.turns, self.settings.key_ttl_s
        return Cleaning(self.database, turns.wakeups, key_ttl_s, turns.work, self.erasing, self.archive)

    @property
    def branches(self) -> Branches:
        return Branches(self.database, self.current, self.settings.undo_s)

    @property
    def desk(self) -> Desk:
        settings = self.settings
        return Desk(self.database, self.current, settings.default_session_ttl_s, settings.session_ttl_s)

    @property
    def operating(self) -> "Operating":
        # What operators do is nothing that a turn waits for.
        from core.operating import Operating

        return Operating(self.database, self.turns, self.current)

    @property
    def sharing(self) -> Sharing:
        return Sharing(self.database, self.current)

    def session_manager(
        self,
        new_state: Callable[[], State],
        *,
        namespace: str,
        state_type: Any = None,
        ttl_s: int | None = None,
    ) -> SessionManager[State]:
        """For state of one's own beside a conversation, or of whatever else has an ID: where the settings say it is kept."""
        return SessionManager(
            new_state,
            self.keeping.storage,
            namespace=namespace,
            default_ttl_s=self.settings.session_ttl_s if ttl_s is None else ttl_s,
            most_per_user=self.settings.most_sessions_per_user,
            state_type=state_type,
            figures=self.figures,
            shares_storage=True,
        )

    def start_workers(self, *, threads: int = 2, sweep_every_s: float = 5.0) -> WorkerThreads:
        """Threads of this process that go on with what requests leave behind. A function on Lambda is frozen between two
        requests, and has none.
        """
        turns = self.turns

        def look_around() -> object:
            cleaned = self.cleaning.clean(Deadline.after(max(1.0, sweep_every_s)))
            if cleaned.done:
                told = (f"{name} {count}" for name, count in sorted(cleaned.done.items()))
                _log.info("clean-up: %s; %s", ", ".join(told), cleaned.ended)
            self.figures.count("conversations.expired", by=cleaned.done["sessions"])
            self.figures.count("sessions.expired", by=cleaned.done["application_sessions"])
            return cleaned

        workers = WorkerThreads(turns.work, look_around, threads=threads, sweep_every_s=sweep_every_s)
        turns.wakeups = workers
        workers.start()
        return workers

    def warm(self) -> None:
        """In the background, what the first request would wait for."""
        self.keeping.warm()

    def close(self) -> None:
        if self._turns is not None:
            self._turns.asking.model.close()
        self.keeping.close()
        if self._database is not None:
            self._database.close()


def build_house(
    settings: Settings,
    roster: Roster = ROSTER,
    tell: Tell = log,
    newer_database_url: Callable[[], str | None] | None = None,
    *,
    lost: Callable[[], object] | None = None,
    warms: bool = True,
) -> House:
    """`lost`: is told of each wake-up that could not be sent. `newer_database_url`: asked when the database is not to be had by the one of the settings. None: it is the same still.
    `warms`: at once; not in a process that may be put into a snapshot as it is.
    """
    judge(settings, roster)
    figures = Figures()
    figures.watch("memory.bytes", memory_bytes)
    if settings.database_url is None:
        kept = keeping(settings, None, figures)
        current = CurrentSessions(None, kept.shelf, kept.farewell, kept.wait_s, figures)
        return House(settings, figures, kept, current, _devices(settings, None, current), None, None)
    database = Database(
        settings.database_url.reveal(),
        pool_size=settings.database_pool_size,
        connect_timeout_s=settings.database_connect_timeout_s,
        statement_timeout_s=settings.database_statement_timeout_s,
        newer_url=newer_database_url,
    )
    kept = keeping(settings, database, figures)
    if warms:
        kept.warm()
    current = CurrentSessions(database, kept.shelf, kept.farewell, kept.wait_s, figures)
    budgets = _budgets(settings, roster)
    reception = Reception(
        database=database,
        memory=Memory(),
        lease_ttl_s=settings.lease_ttl_s,
        lease_margin_s=LEASE_MARGIN_S,
        lock_ttl_s=settings.default_session_ttl_s,
        idle_ttl_s=settings.session_ttl_s,
        approval_ttl_s=settings.approval_ttl_s,
        budgets=budgets,
        rates=_rates(settings),
        outcome_ttl_s=settings.outcome_ttl_s,
        storage=kept.storage,
    )
    turns = Turns(
        reception=reception,
        asking=Asking(
            Claude(settings.anthropic_api_key, settings.anthropic_base_url, mcp_tokens=settings.mcp_tokens),
            default_model=settings.anthropic_model,
            timeout_s=settings.model_timeout_s,
            budgets=budgets,
        ),
        roster=roster,
        limits=Limits(
            turn_budget_s=settings.turn_budget_s,
            worker_budget_s=settings.worker_budget_s,
            longest_turn=settings.longest_turn,
            most_crashes=settings.most_crashes,
            most_handovers=settings.most_handovers,
            lock_ttl_s=settings.default_session_ttl_s,
            window=Window(tokens=settings.compact_at_tokens, messages=settings.compact_at_messages),
        ),
        stateless_without_database=settings.without_database == "stateless",
        begun=current.begun,
        partials=Partials(database, kept.partials(settings.cache_prefix), kept.wait_s),
        tell=tell,
        wakeups=None if settings.queue_url is None else Queue(settings.queue_url, lost),
    )
    return House(settings, figures, kept, current, _devices(settings, database, current), database, turns)


def _devices(settings: Settings, database: Database | None, current: CurrentSessions) -> Devices:
    return Devices(database, Tokens.by(settings), settings.access_mode, current, _rates(settings))


def _rates(settings: Settings) -> Rates:
    return Rates.of(
        (settings.rate_device_per_minute, settings.rate_device_burst),
        (settings.rate_address_per_minute, settings.rate_address_burst),
    )


def _budgets(settings: Settings, roster: Roster) -> Budgets:
    answers = [(agent.model or settings.anthropic_model, agent.max_tokens) for agent in roster.listed]
    return Budgets(
        least=least_of(answers),
        turn=Limit(settings.budget_turn_micros, settings.budget_turn_tokens),
        session=Limit(settings.budget_session_micros, settings.budget_session_tokens),
        user=Limit(settings.budget_user_micros, settings.budget_user_tokens),
        org=Limit(settings.budget_org_micros, settings.budget_org_tokens),
    )


def judge(settings: Settings, roster: Roster = ROSTER, *, is_whole: bool = True) -> None:
    """Whether agents and settings fit each other. Not `is_whole`: those that are secret are not known yet."""
    problems = roster.problems(longest_call_s=settings.worker_budget_s - WORKER_RESERVE_S)
    problems += _missing_tokens(settings, roster) if is_whole else []
    problems += _missing_prices(settings, roster)
    problems += _too_little(settings, roster)
    if problems:
        raise WrongDeclaration(problems)


def _missing_prices(settings: Settings, roster: Roster) -> list[str]:
    """A budget in dollars that counts a model as free is none."""
    if not _budgets(settings, roster).need_prices:
        return []
    models = {agent.model or settings.anthropic_model for agent in roster.listed}
    return [
        f"the model {model} has no known price, and a budget in dollars is set; accepted: one of core/model/prices.py, or "
        "budgets in tokens"
        for model in sorted(models)
        if price_of(model) is None
    ]


def _too_little(settings: Settings, roster: Roster) -> list[str]:
    """A budget that no answer fits into lets nobody speak."""
    budgets = _budgets(settings, roster)
    limits = {
        "TURN": budgets.turn,
        "SESSION": budgets.session,
        "USER_DAY": budgets.user,
        "ORG_DAY": budgets.org,
    }
    needed = f"{budgets.least.micros / 1_000_000:.6f} dollars or {budgets.least.tokens} tokens"
    return [
        f"no agent can answer within BUDGET_{name}_USD or BUDGET_{name}_TOKENS; accepted: more than {needed}, which is what "
        "the longest answer of the cheapest agent comes to without its prompt"
        for name, limit in limits.items()
        if not limit.holds(budgets.least)
    ]


def _missing_tokens(settings: Settings, roster: Roster) -> list[str]:
    """A token too many is only told of: it may be set before the release that needs it, and stay after the last."""
    servers = {server.name: server for agent in roster.listed for server in agent.mcp_servers}
    tokens = settings.mcp_tokens or {}
    for name in sorted(tokens.keys() - servers.keys()):
        _log.warning("MCP_TOKENS has a token for %r, and no agent has an MCP server of that name", name)
    return [
        f"the MCP server {name} needs a token; accepted: one under its name in MCP_TOKENS"
        for name, server in servers.items()
        if server.needs_token and name not in tokens
    ]
