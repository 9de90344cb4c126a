"""What every case stands on: a real Postgres, a demo model, a database of its own, and the count of what went wrong."""

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from dev.demo_model import DemoModel
from dev.postgres import EmbeddedPostgres
from tests.databases import migrate, run
from tests.prove.agents import EFFECTS
from tests.prove.checker import Findings, Told, check
from tests.prove.errands import Errand, Place, Result, Trap, send

_numbers = itertools.count(1)
_TEMPLATE = "prove_template"


@dataclass(slots=True)
class Row:
    """A line of the table at the end."""

    case: str
    tries: int = 0
    found: Findings = field(default_factory=Findings)


@dataclass(slots=True)
class Scene:
    """One case at work: its database, its model, what its senders were told."""

    url: str
    model: DemoModel
    row: Row
    place: Place
    told: list[Told] = field(default_factory=list)

    def send(self, errand: Errand, trap: Trap | None = None, *, place: Place | None = None) -> Result:
        result = send(place or self.place, errand, trap)
        self.note(errand, result)
        return result

    def note(self, errand: Errand, result: Result) -> None:
        if errand.does == "say" and result.turn is not None:
            self.told.append(
                Told(
                    errand.device, errand.text, result.turn["id"], result.turn["status"], result.turn["reply"]
                )
            )

    def session_of(self, device: UUID) -> UUID | None:
        found = run(self.url, "SELECT session_id FROM connections WHERE device_id = %s", str(device))
        return found[0][0] if found else None

    def expire(self, session_id: UUID | None) -> None:
        """As if the holder had been silent for longer than its lease."""
        run(
            self.url,
            "UPDATE conversation_states SET lease_expires_at = now() - interval '1 second' "
            "WHERE id = %s AND lease_expires_at IS NOT NULL",
            session_id and str(session_id),
        )

    def idle(self, session_id: UUID | None) -> None:
        """As if nobody had used it for its whole time."""
        run(
            self.url,
            "UPDATE conversation_states SET last_active_at = now() - make_interval(secs => idle_ttl) WHERE id = %s",
            session_id and str(session_id),
        )

    def open_turns(self, session_id: UUID | None) -> list[tuple[str, str]]:
        return [
            (str(id_), status)
            for id_, status in run(
                self.url,
                "SELECT id, status FROM turns WHERE session_id = %s AND ended_at IS NULL ORDER BY seq",
                session_id and str(session_id),
            )
        ]

    def settle(self, device: UUID) -> None:
        """What recovery does in the end: every lease runs out, and workers go on until nothing is open."""
        session_id = self.session_of(device)
        for _ in range(6):
            if not self.open_turns(session_id):
                return
            self.expire(session_id)
            self._say_yes(device, session_id)
            self.send(Errand("work", device, session_id=session_id))

    def _say_yes(self, device: UUID, session_id: UUID | None) -> None:
        for (approval,) in run(
            self.url,
            "SELECT id FROM approvals WHERE session_id = %s AND status = 'pending' AND kind = 'call'",
            session_id and str(session_id),
        ):
            self.send(Errand("decide", device, approval_id=UUID(str(approval))))

    def check(self, *, may_fail: bool = False) -> None:
        self.row.found += check(self.url, self.model, self.told, may_fail=may_fail)


@dataclass(slots=True)
class Stage:
    postgres: EmbeddedPostgres
    tell: Callable[[str], None]
    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def scene(self, case: str, *, model: DemoModel | None = None) -> Iterator[Scene]:
        """A case of that name, which may come in several scenes: one line in the table."""
        row = next((row for row in self.rows if row.case == case), None)
        if row is None:
            row = Row(case)
            self.rows.append(row)
        name = f"scene_{next(_numbers)}"
        run(self.postgres.url(), f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY FILE_COPY")
        url = self.postgres.url(name)
        with model or DemoModel() as server:
            yield Scene(url, server, row, Place(url, url, server.url))
        self.tell(f"{case}: {row.tries} tries, {len(row.found.all())} findings")
        run(self.postgres.url(), f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def stage(tell: Callable[[str], None], *, durable: bool = False) -> Iterator[Stage]:
    options = {"max_connections": "300", "fsync": "on" if durable else "off"}
    with (
        tempfile.TemporaryDirectory(prefix="latchkey-prove-") as home,
        EmbeddedPostgres(Path(home) / "pg", options=options, keep=False) as postgres,
    ):
        postgres.ensure_database(_TEMPLATE)
        migrate(postgres.url(_TEMPLATE))
        run(postgres.url(_TEMPLATE), EFFECTS)
        yield Stage(postgres, tell)


def new_devices(count: int) -> Sequence[UUID]:
    return [uuid4() for _ in range(count)]
