"""osls: what makes CloudFormation of serverless.yml and sends it."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.deploy.account import Account
from dev.deploy.stage import ROOT
from dev.deploy.stopped import Stopped
from dev.steps import say

OSLS: Final = ROOT / "node_modules" / ".bin" / "osls"


@dataclass(frozen=True, slots=True)
class Osls:
    command: Sequence[str | Path] = (OSLS,)

    def version(self) -> str:
        """`osls 4.3.1`."""
        try:
            said = subprocess.run(
                [*self.command, "--version"],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
                cwd=ROOT,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Stopped(
                "osls, which deploys, does not run.",
                "it needs node (20.19 or later) and npm on the path; `npm ci` here installs it",
            ) from error
        return f"osls {said.stdout.split()[-1].lstrip('v')}" if said.stdout.split() else "osls"

    def run(self, command: str, account: Account) -> None:
        """Its words are shown as they come; they are the end of it if it fails."""
        with subprocess.Popen(
            [*self.command, command, "--stage", account.stage.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=account.environ(),
        ) as running:
            assert running.stdout is not None
            for line in running.stdout:
                if line.strip():
                    say(f"              {line.rstrip()}")
        if running.returncode:
            raise Stopped(f"osls {command} failed.", "see what it says above")
