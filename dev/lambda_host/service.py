"""Latchkey as it is deployed, on this machine: the four functions of the artifact, and what stands around them.

Its settings are told apart as the template tells them apart: what is secret is in Secrets Manager, all else in the environment.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.settings import Settings

from . import stack
from .aws import LocalAws
from .calls import Call
from .declared import CLEANUP_EVERY_S, DECLARED, VISIBILITY_S, Resources, functions
from .function import INIT_TIMEOUT_S
from .gateway import Gateway
from .host import LambdaHost
from .logs import Line
from .queue import QueueSource
from .schedule import Schedule

# Made by the template, or by us.
_OURS = {"STAGE", "SECRETS_ID", "QUEUE_URL", "ARCHIVE_BUCKET"}


class NotMigrated(Exception):
    """The migrate function has failed; the message is what it said."""


def told_apart(environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Of these variables those that are Latchkey's: what is no secret, and what is."""
    plain: dict[str, str] = {}
    secret: dict[str, str] = {}
    for spec in Settings.__dataclass_fields__.values():
        variable = spec.metadata["variable"]
        if (given := environ.get(variable, "")).strip() and variable not in _OURS:
            (secret if spec.metadata["secret"] else plain)[variable] = given
    return plain, secret


class LambdaService:
    """`environ` holds the settings, secrets too. Nothing is served before `open`; what is started ends with `stop`."""

    def __init__(
        self,
        task_root: Path,
        environ: Mapping[str, str],
        *,
        port: int = 0,
        cleanup_every_s: float = CLEANUP_EVERY_S,
        visibility_s: int = VISIBILITY_S,
        init_timeout_s: float = INIT_TIMEOUT_S,
        idle_s: float = 300.0,
        tell: Callable[[Line], None] = lambda _line: None,
        python: Path | None = None,
    ) -> None:
        self._task_root = task_root
        self._settings, self._secrets = told_apart(environ)
        self._cleanup_every_s = cleanup_every_s
        self._visibility_s = visibility_s
        self._init_timeout_s = init_timeout_s
        self._idle_s = idle_s
        self._tell = tell
        self._python = python
        self._port = port
        self._running = ExitStack()
        self.aws = LocalAws()
        self._resources: Resources | None = None
        self._host: LambdaHost | None = None
        self._gateway: Gateway | None = None
        self._queue: QueueSource | None = None

    @property
    def host(self) -> LambdaHost:
        assert self._host is not None
        return self._host

    @property
    def url(self) -> str:
        assert self._gateway is not None
        return self._gateway.url

    @property
    def queue(self) -> QueueSource:
        assert self._queue is not None
        return self._queue

    @property
    def queue_url(self) -> str:
        assert self._resources is not None
        return self._resources.queue_url

    # ---- its life

    def start(self) -> Self:
        """AWS, and the functions, of which none runs yet."""
        self._running.enter_context(self.aws)
        self._resources = stack.make(self.aws, self._secrets, visibility_s=self._visibility_s)
        settings = {**self._settings, "AWS_ENDPOINT_URL": self.aws.url}
        declared = functions(self._resources, settings, init_timeout_s=self._init_timeout_s)
        self._host = self._running.enter_context(
            LambdaHost(self._task_root, declared, idle_s=self._idle_s, tell=self._tell, python=self._python)
        )
        return self

    def migrate(self, command: str = "upgrade", **more: Any) -> dict[str, Any]:
        """As a deployment does it: by the function."""
        answer = self.host.invoke("migrate", {"command": command, **more})
        if answer.function_error is not None:
            raise NotMigrated(answer.json.get("errorMessage", ""))
        done: dict[str, Any] = answer.json
        return done

    def open(self) -> None:
        """The gateway in front, the queue and the clock behind. OSError if the port is taken."""
        gateway = Gateway(self.host, "api", port=self._port)
        self._gateway = self._running.enter_context(gateway)
        sqs = self.aws.client("sqs", "event-source")
        arn = stack.arn_of(self.aws, self.queue_url)
        most = DECLARED["worker"].most_at_once
        self._queue = QueueSource(self.host, "worker", sqs, self.queue_url, arn, most_at_once=most).start()
        self._running.callback(self._queue.stop)
        schedule = Schedule(self.host, "cleanup", every_s=self._cleanup_every_s).start()
        self._running.callback(schedule.stop)

    def stop(self) -> None:
        self._running.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # ---- what it did

    def calls_by_function(self) -> dict[str, set[Call]]:
        return self.aws.calls_by(DECLARED)
