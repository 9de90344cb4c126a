"""A stage: one deployment of the service, as config/<stage>.yml describes it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from core.settings import secret_variables
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
    return Stage(name, said["region"], _settings(name, said.get("settings") or {}))


def _settings(name: str, said: Mapping[str, Any]) -> dict[str, str]:
    """They become the functions' environment, which whoever may look at a function can read."""
    if told := sorted(said.keys() & secret_variables()):
        raise Stopped(
            f"config/{name}.yml holds what is secret: {', '.join(told)}.",
            f"take it out, there and wherever else that file has gone; make secret STAGE={name} puts it where it belongs",
        )
    if wrong := sorted(variable for variable, value in said.items() if not isinstance(value, str)):
        raise Stopped(
            f"config/{name}.yml has something other than a text under settings: {', '.join(wrong)}.",
            'write it in quotes, such as SESSION_TTL: "600"',
        )
    return dict(said)


def _known(root: Path) -> set[str]:
    params = re.search(r"(?ms)^params:\n(.*?)^\S", (root / "serverless.yml").read_text())
    return set(re.findall(r"(?m)^  ([a-z0-9-]+): \$\{file\(", params[1] if params else ""))
