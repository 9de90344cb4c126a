"""The story of a deployment. Its steps are listed in __main__.py, in this order, with what each is for."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dev.deploy.account import URL, Account, Stack
from dev.deploy.migration import Migration
from dev.deploy.osls import Osls
from dev.deploy.secret import Ask, StagesSecret, given_by
from dev.deploy.smoke import Smoke
from dev.deploy.stage import ROOT
from dev.deploy.standing import refuse_what_cannot_be_changed, standing, taken_back
from dev.deploy.stopped import Stopped
from dev.package.ours import commit
from dev.steps import say, step

ARTIFACT: Final = ROOT / "build" / "latchkey-arm64.zip"
# What is deployed besides.
_BESIDE: Final = ("serverless.yml", "stack", "config", "package-lock.json")
_UNTOUCHED: Final = "nothing has been changed"


@dataclass(frozen=True, slots=True)
class Tools:
    """What does the work, other than AWS."""

    osls: Osls = field(default_factory=Osls)
    package: Sequence[str | Path] = (sys.executable, "-m", "dev.package", "--arch", "arm64")
    artifact: Path = ARTIFACT
    ask: Ask | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    migrate: bool = True
    turn: bool = True


def deploy(account: Account, tools: Tools, wanted: Wanted) -> None:
    stage = account.stage
    with standing(_UNTOUCHED):
        with step("look") as tell:
            number, arn = account.who()
            before = account.stack()
            tell(f"{number}, {stage.region}, as {arn}; {_found(before)}; {tools.osls.version()}")
        refuse_what_cannot_be_changed(account, before)
        with step("secret") as tell:
            tell(f"{stage.secret} holds {', '.join(_secret(account, tools.ask))}")
        with step("package") as tell:
            tell(_package(tools))
    stood = before is not None and before.serves
    if wanted.migrate and stood:
        with standing("the release before goes on serving, on the database as it is; nothing was deployed"):
            _migrate(account, tools.artifact)
    with step("deploy") as tell:
        with taken_back(account, stood):
            tools.osls.run("deploy", account)
        tell(stage.stack)
    if wanted.migrate and not stood:
        with standing("the stage is there, and answers 503 until its database is migrated"):
            _migrate(account, None)
    _try_it(account, wanted)


def _secret(account: Account, ask: Ask | None) -> list[str]:
    secret = StagesSecret(account)
    found = secret.look()
    if found is None and ask is not None:
        say(f"there is no secret {account.stage.secret} yet; what you type is not shown")
        found = secret.make(given_by(None, ask))
    if found is None:
        raise Stopped(
            f"There is no secret {account.stage.secret} in {account.stage.region}.",
            f"make secret STAGE={account.stage.name} asks for what goes into it, and makes it (FROM=some.json: from a file)",
        )
    return found


def _package(tools: Tools) -> str:
    if subprocess.run(tools.package, check=False, cwd=ROOT).returncode:
        raise Stopped("The zip could not be made.", "see what it says above")
    named, _, more = commit(ROOT, *_BESIDE).partition("-")
    also = " and changes that are not committed" if more else ""
    return f"{tools.artifact.name}, {tools.artifact.stat().st_size / 1_000_000:.1f} MB, of {named[:12]}{also}"


def _migrate(account: Account, artifact: Path | None) -> None:
    with step("migrate") as tell:
        migration = Migration(account)
        if artifact is not None:
            migration.put(artifact)
        tell(migration.upgrade())


def _try_it(account: Account, wanted: Wanted) -> None:
    stage = account.stage
    stack = account.stack()
    url = stack.outputs[URL] if stack else ""
    live = (
        f"this release is live at {url}. To go back: make deploy STAGE={stage.name} from the release before, with MIGRATE=no if its "
        "schema is older"
    )
    with standing(live):
        smoke = Smoke(url, stage.stack)
        with step("smoke") as tell:
            tell(smoke.health())
        if wanted.turn:
            with step("turn") as tell:
                tell(smoke.turn())
    say(f"{stage.stack} is at {url}")
    for name, about in (
        ("DashboardUrl", "dashboard"),
        ("ArchiveBucketName", "archive"),
        ("AlarmTopicArn", "alarms"),
    ):
        if stack and name in stack.outputs:
            say(f"  {about:<12}{stack.outputs[name]}")


def _found(stack: Stack | None) -> str:
    return "no stack yet" if stack is None else stack.status
