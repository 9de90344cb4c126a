"""What osls makes of serverless.yml, as CloudFormation will read it: functions of the template applied, conditions decided.

A resource's own name or address is not known before it is made; it stands as `<Queue>` or `<Queue.Arn>`.
"""

import json
import os
import re
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from core.settings import Settings, read_settings
from tests import left_out

ROOT: Final = Path(__file__).parent.parent.parent
OSLS: Final = ROOT / "node_modules" / ".bin" / "osls"
STAGES: Final = ("dev", "prod")
FUNCTIONS: Final = ("api", "worker", "cleanup", "migrate")

_AWS: Final = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "latchkey",
}
_NOTHING: Final = object()


@dataclass(frozen=True)
class Stack:
    stage: str
    file: Path

    @cached_property
    def template(self) -> dict[str, Any]:
        return dict(json.loads(self.file.read_text()))

    @cached_property
    def resources(self) -> dict[str, Any]:
        """Those that are made, with their properties as they will be."""
        return {
            name: {**resource, "Properties": self._read(resource.get("Properties", {}))}
            for name, resource in self.template["Resources"].items()
            if "Condition" not in resource or self._decide({"Condition": resource["Condition"]})
        }

    def of_type(self, type_: str) -> dict[str, Any]:
        return {
            name: resource["Properties"]
            for name, resource in self.resources.items()
            if resource["Type"] == type_
        }

    def function(self, name: str) -> dict[str, Any]:
        return dict(self.resources[f"{name.title()}LambdaFunction"]["Properties"])

    def statements(self, role: str) -> list[dict[str, Any]]:
        policies = self.resources[role]["Properties"].get("Policies", [])
        return [said for policy in policies for said in policy["PolicyDocument"]["Statement"]]

    def environment(self, function: str) -> dict[str, str]:
        found = self.function(function).get("Environment", {}).get("Variables", {})
        return {name: str(value) for name, value in found.items()}

    def settings(self, function: str) -> Settings:
        """As the function reads them. A queue that is not made yet has an address all the same."""
        environ = self.environment(function)
        return read_settings(
            {name: value.replace("<Queue>", "https://sqs.example.com/q") for name, value in environ.items()}
        )

    # ---- the template's own functions

    def _read(self, value: Any) -> Any:
        if isinstance(value, list):
            items = [self._read(item) for item in value]
            return [item for item in items if item is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._call(name, argument)
        read = {name: self._read(item) for name, item in value.items()}
        return {name: item for name, item in read.items() if item is not _NOTHING}

    def _call(self, name: str, argument: Any) -> Any:
        if name == "Ref":
            return _NOTHING if argument == "AWS::NoValue" else _AWS.get(argument, f"<{argument}>")
        if name == "Fn::GetAtt":
            return f"<{'.'.join(argument)}>"
        if name == "Fn::If":
            condition, yes, no = argument
            return self._read(yes if self._decide({"Condition": condition}) else no)
        if name == "Fn::Join":
            return argument[0].join(self._read(argument[1]))
        if name == "Fn::Sub":
            return self._substitute(argument)
        if name == "Fn::FindInMap":
            table, first, second = argument
            return self.template["Mappings"][table][first][second]
        raise NotImplementedError(name)

    def _substitute(self, argument: Any) -> str:
        text, given = (argument, {}) if isinstance(argument, str) else argument
        known = {**_AWS, **{name: self._read(value) for name, value in given.items()}}
        return re.sub(r"\$\{([^}]+)\}", lambda found: known.get(found[1], f"<{found[1]}>"), text)

    def _decide(self, condition: dict[str, Any]) -> bool:
        ((name, argument),) = condition.items()
        if name == "Condition":
            return self._decide(self.template["Conditions"][argument])
        if name == "Fn::Not":
            return not self._decide(argument[0])
        if name == "Fn::Equals":
            first, second = (self._read(side) for side in argument)
            return bool(first == second)
        raise NotImplementedError(name)


def pack(place: Path, stage: str, changes: dict[str, str] | None = None) -> Stack:
    """`osls package` as a stranger runs it: nothing in the environment but the path, no credentials, no artifact but an empty one.

    `changes`: lines that stand in the stage's config instead of those that begin with the same name.
    """
    for needed in ("serverless.yml", "config", "stack"):
        source = ROOT / needed
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place / needed)
    config = place / "config" / f"{stage}.yml"
    for name, value in (changes or {}).items():
        kept = re.sub(rf"(?m)^{name}:.*\n(^ .*\n)*", "", config.read_text())
        config.write_text(f"{kept}\n{name}: {value}\n")
    (place / "build").mkdir()
    with zipfile.ZipFile(place / "build" / "latchkey-arm64.zip", "w") as stub:
        stub.writestr("nothing", "")
    done = run(place, "package", "--stage", stage)
    assert done.returncode == 0, done.stdout + done.stderr
    return Stack(stage, place / ".serverless" / "cloudformation-template-update-stack.json")


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if not OSLS.exists():
        left_out.leave_out(
            "osls is not installed; `make test` installs it where there are node (20.19 or later) and npm"
        )
    command = [*_cut_off(), str(OSLS), *arguments]
    environ = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        command, cwd=place, env=environ, capture_output=True, text=True, timeout=100, check=False
    )


@cache
def _cut_off() -> list[str]:
    """What takes the network away from a command, on a machine that lets us."""
    apart = ["unshare", "--map-root-user", "--net"]
    try:
        tried = subprocess.run([*apart, "true"], capture_output=True, timeout=20, check=False)
    except OSError:
        return []
    return [] if tried.returncode else apart
