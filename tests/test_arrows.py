"""Which room may know which. An arrow that is not listed here fails, so that the house stays as it is drawn.

The outages that this prevents: a handler that imports the SDK and starts a second slower; a query written into a route,
without the epoch; the workbench in the deployed zip; a setting read where nobody looks for it.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A room, and the rooms of ours that it may import. The longest matching name wins.
ARROWS: dict[str, set[str]] = {
    "core.values": set(),
    "core.errors": set(),
    "core.ids": set(),
    "core.deadline": set(),
    "core.digest": set(),
    "core.about": {"core.digest", "core.ids"},
    "core.stopwatch": set(),
    "core.run": {"core.stopwatch"},
    "core.trace": set(),
    "core.reports": {"core.about", "core.holding", "core.stopwatch"},
    "core.access": {"core.ids"},
    "core.rates": {"core.errors", "core.store"},
    "core.entrance": {"core.access", "core.errors", "core.store", "core.tries"},
    "core.settings": {"core.errors"},
    "core.devices": {
        "core.access",
        "core.deadline",
        "core.digest",
        "core.entrance",
        "core.errors",
        "core.ids",
        "core.rates",
        "core.sessions.current",
        "core.store",
        "core.tokens",
        "core.tries",
    },
    "core.tokens": {"core.errors", "core.ids", "core.settings"},
    "core.content": set(),
    "core.images": set(),
    "core.gallery": {"core.content"},
    "core.acceptance": {"core.content", "core.errors", "core.images"},
    "core.attendance": {"core.about", "core.deadline"},
    "core.lease": {"core.deadline"},
    # Knows no store and no session: what it holds is text.
    "core.cache": {"core.cache", "core.deadline", "core.figures", "core.settings"},
    "core.figures": set(),
    "core.wakeups": {"core.about", "core.errors", "core.ids", "core.store"},
    "core.store": {"core.access", "core.store", "core.content", "core.deadline", "core.errors", "core.ids"},
    "core.tries": {"core.deadline", "core.errors", "core.store"},
    "core.told": {"core.content"},
    # What is being said at this moment; what was told of a turn, and how it stands, to events.
    "core.partials": {
        "core.attendance",
        "core.cache",
        "core.content",
        "core.deadline",
        "core.ids",
        "core.store",
    },
    "core.position": {"core.errors", "core.ids"},
    "core.telling": {"core.ids", "core.position", "core.store"},
    "core.following": {
        "core.access",
        "core.content",
        "core.ids",
        "core.partials",
        "core.position",
        "core.store",
        "core.telling",
        "core.tries",
    },
    "core.decisions": {
        "core.access",
        "core.content",
        "core.deadline",
        "core.entrance",
        "core.errors",
        "core.ids",
        "core.store",
        "core.told",
        "core.tries",
    },
    "core.branching": {
        "core.agents.builtin",
        "core.agents.tool",
        "core.content",
        "core.errors",
        "core.model.bill",
        "core.store",
    },
    "core.branches": {
        "core.access",
        "core.agents.builtin",
        "core.branching",
        "core.cache.allowance",
        "core.deadline",
        "core.entrance",
        "core.errors",
        "core.ids",
        "core.joining",
        "core.sessions",
        "core.store",
        "core.tries",
    },
    "core.joining": {
        "core.access",
        "core.branching",
        "core.digest",
        "core.entrance",
        "core.errors",
        "core.ids",
        "core.store",
    },
    "core.conversation": {"core.content", "core.gallery", "core.ids", "core.store"},
    "core.policies": {"core.store"},
    "core.agents": {"core.agents", "core.deadline", "core.ids", "core.sessions.manager"},
    # The shipped example: its tools ask for what is in its own tables.
    "core.agents.clinic": {"core.agents", "core.store.clinic", "core.store.clinic_bills"},
    "core.model": {
        "core.model",
        "core.attendance",
        "core.content",
        "core.conversation",
        "core.deadline",
        "core.digest",
        "core.errors",
        "core.settings",
    },
    "core.compaction": {"core.content", "core.conversation"},
    "core.folding": {
        "core.agents",
        "core.compaction",
        "core.content",
        "core.conversation",
        "core.deadline",
        "core.errors",
        "core.holding",
        "core.model",
        "core.stint",
    },
    "core.holding": {
        "core.run",
        "core.stopwatch",
        "core.compaction",
        "core.content",
        "core.conversation",
        "core.deadline",
        "core.errors",
        "core.lease",
        "core.model.reply",
        "core.store",
        "core.tally",
    },
    "core.budgets": {"core.errors", "core.model", "core.store"},
    "core.editing": {"core.content", "core.errors"},
    "core.desk": {
        "core.access",
        "core.deadline",
        "core.editing",
        "core.entrance",
        "core.errors",
        "core.ids",
        "core.sessions.current",
        "core.store",
        "core.tries",
    },
    "core.sharing": {
        "core.access",
        "core.deadline",
        "core.desk",
        "core.digest",
        "core.entrance",
        "core.errors",
        "core.ids",
        "core.sessions.current",
        "core.store",
        "core.tries",
    },
    "core.tally": {"core.content", "core.model.bill", "core.store"},
    "core.asking": {
        "core.stopwatch",
        "core.agents",
        "core.attendance",
        "core.budgets",
        "core.conversation",
        "core.deadline",
        "core.errors",
        "core.holding",
        "core.model",
        "core.partials",
    },
    "core.inward": {"core.agents", "core.content", "core.holding", "core.store"},
    "core.toolwork": {
        "core.stopwatch",
        "core.agents",
        "core.attendance",
        "core.content",
        "core.deadline",
        "core.digest",
        "core.holding",
        "core.inward",
        "core.model.reply",
        "core.store",
        "core.tool_results",
        "core.told",
    },
    "core.sessions": {
        "core.access",
        "core.agents",
        "core.cache",
        "core.deadline",
        "core.digest",
        "core.entrance",
        "core.errors",
        "core.figures",
        "core.ids",
        "core.sessions",
        "core.store",
        "core.tries",
    },
    "core.stateless": {
        "core.content",
        "core.deadline",
        "core.errors",
        "core.model",
        "core.shown",
        "core.store",
    },
    "core.tool_results": set(),
    "core.reception": {
        "core.run",
        "core.about",
        "core.access",
        "core.conversation",
        "core.deadline",
        "core.entrance",
        "core.errors",
        "core.holding",
        "core.ids",
        "core.lease",
        "core.policies",
        "core.rates",
        "core.store",
        "core.budgets",
        "core.tries",
    },
    "core.doctor": {"core.content", "core.conversation", "core.doctor", "core.ids", "core.store"},
    "core.series": {"core.errors", "core.store"},
    "core.stint": {"core.compaction", "core.deadline"},
    "core.shown": {"core.rates", "core.content", "core.ids", "core.model.bill", "core.store"},
    "core.recovery": {"core.deadline", "core.decisions", "core.errors", "core.ids", "core.store"},
    # Of everything a little, in turn.
    "core.cleaning": {
        "core.archive",
        "core.archiving",
        "core.deadline",
        "core.erasing",
        "core.errors",
        "core.ids",
        "core.partials",
        "core.recovery",
        "core.store",
        "core.wakeups",
        "core.works",
    },
    "core.works": set(),
    "core.restoring": {
        "core.archive",
        "core.deadline",
        "core.errors",
        "core.ids",
        "core.store",
        "core.transfer.backup",
        "core.tries",
    },
    # What operators do to one conversation.
    "core.operating": {
        "core.about",
        "core.answering",
        "core.deadline",
        "core.digest",
        "core.errors",
        "core.ids",
        "core.reception",
        "core.recovery",
        "core.sessions",
        "core.store",
        "core.tries",
    },
    "core.archiving": {
        "core.archive",
        "core.attendance",
        "core.deadline",
        "core.errors",
        "core.ids",
        "core.store",
        "core.transfer.backup",
        "core.works",
    },
    # Writes down what is stored and reads it back: knows no model and no agent.
    "core.transfer": {
        "core.acceptance",
        "core.access",
        "core.content",
        "core.conversation",
        "core.deadline",
        "core.doctor",
        "core.entrance",
        "core.errors",
        "core.ids",
        "core.store",
        "core.transfer",
        "core.tries",
    },
    # AWS's clients, and what stands behind them.
    "core.aws": {"core.errors"},
    "core.secrets": {"core.attendance", "core.aws", "core.errors", "core.settings", "core.store"},
    "core.queue": {"core.attendance", "core.aws", "core.deadline", "core.ids", "core.store", "core.trace"},
    "core.archive": {"core.aws", "core.errors", "core.ids"},
    "core.erasing": {
        "core.access",
        "core.archive",
        "core.cache.allowance",
        "core.deadline",
        "core.digest",
        "core.entrance",
        "core.errors",
        "core.ids",
        "core.partials",
        "core.sessions.farewell",
        "core.store",
        "core.tries",
    },
    "core.turn": {
        "core.reports",
        "core.agents",
        "core.content",
        "core.conversation",
        "core.errors",
        "core.folding",
        "core.holding",
        "core.ids",
        "core.inward",
        "core.model",
        "core.reception",
        "core.store",
        "core.toolwork",
        "core.shown",
        "core.stint",
        "core.asking",
        "core.partials",
    },
    "core.answering": {
        "core.reports",
        "core.rates",
        "core.access",
        "core.agents",
        "core.asking",
        "core.content",
        "core.conversation",
        "core.deadline",
        "core.decisions",
        "core.errors",
        "core.holding",
        "core.ids",
        "core.reception",
        "core.shown",
        "core.stateless",
        "core.stint",
        "core.store",
        "core.turn",
        "core.wakeups",
        "core.partials",
    },
    "core.keeping": {"core.cache", "core.figures", "core.sessions", "core.settings", "core.store"},
    "core.house": {
        "core.reports",
        "core.rates",
        "core.agents",
        "core.archive",
        "core.erasing",
        "core.branches",
        "core.cleaning",
        "core.compaction",
        "core.conversation",
        "core.deadline",
        "core.desk",
        "core.errors",
        "core.figures",
        "core.keeping",
        "core.model",
        "core.operating",
        "core.queue",
        "core.reception",
        "core.restoring",
        "core.sessions",
        "core.settings",
        "core.sharing",
        "core.store",
        "core.answering",
        "core.wakeups",
        "core.stint",
        "core.asking",
        "core.budgets",
        "core.devices",
        "core.tokens",
        "core.following",
        "core.partials",
    },
    "functions": {"core", "functions"},
    "alembic": {"core.errors", "core.settings", "core.store"},
    "dev": {"core", "functions", "dev"},
    "bench": {"bench", "core", "dev", "functions", "tests.network.pgbouncer", "tests.wire"},
    "tests": {"bench", "core", "dev", "functions", "tests"},
}

# How values are made: knows nobody, and everybody has values.
EVERYBODYS = {"core.values"}

# Packages that only some rooms may touch.
PACKAGES: dict[str, set[str]] = {
    "sqlalchemy": {"core.store", "alembic", "bench", "dev", "tests"},
    "psycopg2": {"core.store.database", "bench", "dev", "tests"},
    "anthropic": {"core.model", "core.agents.typed", "tests"},
    "httpx2": {"core.model", "dev", "tests"},
    "fastapi": {"bench.in_the_zip", "functions"},
    "starlette": {"bench.console", "functions", "tests"},
    "pydantic": {"core.sessions.codec", "functions", "tests"},
    "pydantic_core": {"core.sessions.codec", "tests"},
    "mangum": {"functions.api", "bench", "tests"},
    "uvicorn": {"dev", "tests.door.standing", "tests.web.server"},
    "schemathesis": {"tests.door.hooks"},
    "alembic": {"alembic", "bench", "dev", "functions.migrate", "tests"},
    "boto3": {"bench", "core.aws", "dev", "tests"},
    "botocore": {"core.aws", "dev", "tests"},
    "jwt": {"core.tokens", "tests"},
    "redis": {"core.cache.native", "dev", "tests"},
    "upstash_redis": {"core.cache.upstash", "tests"},
    "httpx": {"core.cache.upstash", "tests"},
    "pytest": {"tests"},
    "moto": {"bench", "dev", "tests"},
    "awslambdaric": {"tests"},
    # Metrics are told by functions; the library tells what there is to tell.
    "aws_lambda_powertools": {"functions", "tests"},
}

# Costs a second at import: only inside a function that needs it.
NEVER_AT_IMPORT = {
    "anthropic",
    "boto3",
    "botocore",
    "alembic",
    "httpx2",
    "jwt",
    "redis",
    "upstash_redis",
    "httpx",
}
# Beside the settings: the trace, which is another one at each invocation.
READS_THE_ENVIRONMENT = {"bench", "core.settings", "core.trace", "dev", "tests"}


@dataclass(frozen=True, slots=True)
class Import:
    module: str
    target: str
    line: int
    at_import: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def _files() -> list[Path]:
    return sorted(
        path
        for room in ("core", "functions", "dev", "bench", "tests", "alembic")
        for path in (ROOT / room).rglob("*.py")
    )


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[Import]:
    module = _module(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    inside = {
        id(node) for scope in ast.walk(tree) if isinstance(scope, ast.FunctionDef) for node in ast.walk(scope)
    }
    inside |= {id(node) for test in ast.walk(tree) if _is_type_checking(test) for node in ast.walk(test)}
    for node in ast.walk(tree):
        at_import = id(node) not in inside
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(module, name.name, node.lineno, at_import)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            for name in node.names:
                whole = f"{base}.{name.name}"
                yield Import(module, whole if _is_ours(whole) else base, node.lineno, at_import)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_ours(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def _within(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def _room(module: str) -> str:
    matching = [room for room in ARROWS if _within(module, {room})]
    return max(matching, key=len, default="")


def wrong_arrows(imported: Import) -> Iterator[str]:
    room = _room(imported.module)
    top = imported.target.partition(".")[0]
    if top in {"bench", "core", "dev", "functions", "tests"}:
        allowed = ARROWS.get(room, set())
        if not _within(imported.target, allowed | EVERYBODYS) and imported.target not in {
            "core",
            "functions",
        }:
            yield f"{imported}: {room or 'this place'} may know {', '.join(sorted(allowed)) or 'nobody'}"
    if top in PACKAGES and not _within(imported.module, PACKAGES[top]):
        yield f"{imported}: {top} belongs to {', '.join(sorted(PACKAGES[top]))}"
    if (
        top in NEVER_AT_IMPORT
        and imported.at_import
        and not _within(imported.module, {"alembic", "bench", "dev", "tests"})
    ):
        yield f"{imported}: {top} is slow to import and belongs inside the function that needs it"


ALL = [imported for path in _files() for imported in _imports(path)]


def test_every_arrow_points_down() -> None:
    assert len(ALL) > 200, "the reader of imports has gone blind"
    wrong = [problem for imported in ALL for problem in wrong_arrows(imported)]
    assert not wrong, "\n".join(wrong)


def test_values_are_made_without_a_compiler() -> None:
    """The standard decorator costs a millisecond a class at each cold start, and there are two hundred of them."""
    standard = {
        f"{_module(path)}:{node.lineno}"
        for room in ("core", "functions")
        for path in (ROOT / room).rglob("*.py")
        if _module(path) != "core.values"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module == "dataclasses"
        and "dataclass" in {name.name for name in node.names}
    }
    assert not standard, "from core.values import dataclass"


def test_every_module_of_core_has_a_room() -> None:
    homeless = [_module(path) for path in _files() if not _room(_module(path)) and _module(path) != "core"]
    assert not homeless


@pytest.mark.parametrize(
    ("module", "target", "at_import"),
    [
        ("core.turn", "functions.app", True),
        ("core.store.turns", "core.turn", True),
        ("core.agents.tool", "core.model.prompt", True),
        ("core.agents.clinic.billing", "core.store.turns", True),
        ("core.errors", "core.settings", True),
        ("core.turn", "core.settings", True),
        ("core.content", "tests.conftest", True),
        ("functions.routes.turns", "dev.serve", False),
        ("functions.routes.turns", "sqlalchemy", True),
        ("core.turn", "fastapi", True),
        ("core.model.claude", "anthropic", True),
        ("core.turn", "anthropic", False),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, target: str, at_import: bool) -> None:
    assert list(wrong_arrows(Import(module, target, 1, at_import)))


def test_settings_alone_reads_the_environment() -> None:
    readers = {
        f"{_module(path)}:{node.lineno}"
        for path in _files()
        if not _within(_module(path), READS_THE_ENVIRONMENT)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
    }
    assert not readers


def test_alembic_stays_a_folder() -> None:
    """An alembic/__init__.py of ours would hide the package of that name, and migrations would die in the zip."""
    assert not (ROOT / "alembic" / "__init__.py").exists()
