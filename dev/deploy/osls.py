"""osls: what makes CloudFormation of serverless.yml and sends it."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.deploy.stage import ROOT, Stage
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

    def run(self, command: str, stage: Stage) -> None:
        """Its words are shown as they come; they are the end of it if it fails."""
        arguments = [*self.command, command, "--stage", stage.name]
        last: list[str] = []
        with subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        ) as running:
            assert running.stdout is not None
            for line in running.stdout:
                if line.strip():
                    last.append(line.rstrip())
                    say(f"              {line.rstrip()}")
        if running.returncode:
            raise Stopped(f"osls {command} failed.", "see what it says above")
