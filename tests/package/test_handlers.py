"""Every handler boots from the zip, under the Python that it ships for, with nothing else on the path."""

from pathlib import Path

import pytest

from dev.package.ours import ROOT
from tests.package.conftest import RunTarget

HANDLERS = [
    name for name in ("api", "worker", "cleanup", "migrate") if (ROOT / f"functions/{name}.py").exists()
]
_SETTINGS = {"ACCESS_MODE": "open"}
# None of them is needed before the first request, and together they cost more than all the rest.
_LATER = {"alembic", "anthropic", "boto3", "botocore", "httpx", "httpx2", "jwt", "redis", "upstash_redis"}


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_boots(run_target: RunTarget, name: str) -> None:
    said = run_target(f"import functions.{name} as it; print(callable(it.handler))", **_SETTINGS)
    assert said == "True\n"


@pytest.mark.parametrize("name", HANDLERS)
def test_what_is_slow_to_import_is_not_imported_at_init(run_target: RunTarget, name: str) -> None:
    said = run_target(
        f"import functions.{name}; print(*{{name.partition('.')[0] for name in sys.modules}})", **_SETTINGS
    )
    assert "sqlalchemy" in said.split()
    assert not _LATER & set(said.split())


def test_everything_is_imported_from_its_bytecode(run_target: RunTarget, task_root: Path) -> None:
    """A source that must be compiled on Lambda costs its time at each cold start."""
    said = run_target(
        "import importlib.machinery\n"
        "def compiled(*arguments, **named): raise AssertionError(arguments[1])\n"
        "importlib.machinery.SourceFileLoader.source_to_code = compiled\n"
        "import functions.api, alembic.command, anthropic, boto3, redis, upstash_redis, jwt\n"
        "print('yes')",
        **_SETTINGS,
    )
    assert said == "yes\n"


def test_what_is_loaded_later_loads(run_target: RunTarget) -> None:
    said = run_target(
        "import boto3, anthropic, alembic.command, alembic.config\n"
        "for name in ('s3', 'sqs', 'secretsmanager'): boto3.client(name, region_name='eu-central-1')\n"
        "from importlib.metadata import version\n"
        "print(version('sqlalchemy'), alembic.__file__.startswith(sys.path[0]))"
    )
    assert said.split()[1] == "True"


def test_a_traceback_shows_where_the_source_lies_on_lambda(run_target: RunTarget, task_root: Path) -> None:
    """Of ours, which has its source beside it, wherever that is; of a package, where it would be."""
    said = run_target(
        "import core.digest, sqlalchemy.engine.base as base\n"
        "print(core.digest.digest.__code__.co_filename)\n"
        "print(base.Connection.execute.__code__.co_filename)"
    )
    assert said.split() == [f"{task_root}/core/digest.py", "/var/task/sqlalchemy/engine/base.py"]


def test_migrations_are_found_in_the_zip(run_target: RunTarget, task_root: Path) -> None:
    said = run_target(
        "from alembic.config import Config\n"
        "from alembic.script import ScriptDirectory\n"
        "from core.store.revision import SCHEMA_REVISION\n"
        f"heads = ScriptDirectory.from_config(Config({str(task_root / 'alembic.ini')!r})).get_heads()\n"
        "print(heads == [SCHEMA_REVISION])"
    )
    assert said == "True\n"
