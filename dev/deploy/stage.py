"""A stage: one deployment of the service, as config/<stage>.yml describes it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from dev.deploy.stopped import Stopped

ROOT: Final = Path(__file__).parent.parent.parent
SERVICE: Final = "latchkey"
# What CloudFormation and SQS allow in the names that are made of it.
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,19}")


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    region: str
    # Variables that are no secrets.
    settings: Mapping[str, str]

    @property
    def stack(self) -> str:
        return f"{SERVICE}-{self.name}"

    @property
    def secret(self) -> str:
        return f"{SERVICE}/{self.name}"

    def function(self, name: str) -> str:
        return f"{self.stack}-{name}"


def read_stage(name: str, root: Path = ROOT) -> Stage:
    known = sorted(_known(root))
    config = root / "config" / f"{name}.yml"
    if not name:
        raise Stopped(
            "No stage was named.", f"name one: make deploy STAGE={known[0]}. There are {', '.join(known)}."
        )
    if not _NAME.fullmatch(name):
        raise Stopped(
            f"{name!r} is no name for a stage.",
            "take at most 20 small letters, digits and dashes, such as staging",
        )
    if name not in known or not config.exists():
        raise Stopped(
            f"There is no stage {name!r}. There are {', '.join(known)}.",
            f"to add it, copy config/dev.yml to config/{name}.yml, say in it what is different, and name it in serverless.yml, "
            f"under `params`: {name}: ${{file(config/{name}.yml)}}",
        )
    said: dict[str, Any] = yaml.safe_load(config.read_text()) or {}
    if not isinstance(said.get("region"), str):
        raise Stopped(f"config/{name}.yml names no region.", "say one in it, such as region: eu-central-1")
    return Stage(name, said["region"], dict(said.get("settings") or {}))


def _known(root: Path) -> set[str]:
    params = re.search(r"(?ms)^params:\n(.*?)^\S", (root / "serverless.yml").read_text())
    return set(re.findall(r"(?m)^  ([a-z0-9-]+): \$\{file\(", params[1] if params else ""))
