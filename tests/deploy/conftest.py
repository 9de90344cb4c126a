"""A deployment to an account of moto's."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from moto import mock_aws
from moto.awslambda_simple.models import LambdaSimpleBackend

from dev.deploy import smoke
from dev.deploy.account import Account
from dev.deploy.deployment import Tools, Wanted, deploy
from dev.deploy.osls import Osls
from dev.deploy.stage import read_stage
from dev.deploy.stopped import Stopped
from tests.deploy.stand_in import StandIn
from tests.streams.conftest import serve  # noqa: F401 - a fixture

SECRET = {
    "DATABASE_URL": "postgresql://latchkey:the-password@db.example.com/latchkey",
    "ANTHROPIC_API_KEY": "the-key",
    "DEVICE_TOKEN_KEYS": {"2026-11": "k" * 64},
}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """Nothing of this machine's own credentials is in reach."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws(config={"lambda": {"use_docker": False}}):
        yield Account(read_stage("dev"))


@pytest.fixture
def world(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn(account, tmp_path) as world:
        monkeypatch.setattr(LambdaSimpleBackend, "invoke", lambda *given: world.invoke(*given))
        world.client("secretsmanager").create_secret(Name="latchkey/dev", SecretString=json.dumps(SECRET))
        yield world


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "_PATIENCE_S", 0.0)


Deploys = Callable[..., None]


@pytest.fixture
def deploys(world: StandIn) -> Deploys:
    """As `make deploy STAGE=dev`; the zip is a few bytes."""
    artifact = world.place / "latchkey-arm64.zip"

    def once(wanted: Wanted | None = None, package_ends: int = 0) -> None:
        artifact.write_bytes(b"this release")
        tools = Tools(
            osls=Osls([world.osls]),
            package=[sys.executable, "-IS", "-c", f"raise SystemExit({package_ends})"],
            artifact=artifact,
        )
        deploy(world.account, tools, wanted or Wanted())

    return once


Stops = Callable[..., Stopped]


@pytest.fixture
def stops(deploys: Deploys) -> Stops:
    """The same, where it is to end early."""

    def once(wanted: Wanted | None = None, package_ends: int = 0) -> Stopped:
        with pytest.raises(Stopped) as found:
            deploys(wanted, package_ends)
        return found.value

    return once
