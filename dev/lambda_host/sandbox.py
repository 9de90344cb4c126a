"""A sandbox: one process of a function, from its initialisation to its end.

It lives in a process group of its own, which is frozen, thawed and killed as a whole, and ends with us. Its environment is made
from nothing: what Lambda sets, and what the template sets. What it writes is collected line by line.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dev.children import mortal
from dev.package.target import PYTHON

from .function import REGION, Answer, Function, Invocation, failed
from .logs import Logs
from .runtime_api import RuntimeApi

_COMES_BACK_S = 1.0


class InitFailed(Exception):
    """It did not come as far as to ask for work; `kind` and the message are Lambda's."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Place:
    """Where processes run: the unzipped artifact, and the Python of the runtime. `spawner` starts them: a thread that outlives them."""

    task_root: Path
    python: Path
    spawner: Executor


class Sandbox:
    """`idle` is called whenever it is ready for a request, frozen already; `over` when it is no more, maybe twice."""

    def __init__(
        self,
        function: Function,
        place: Place,
        number: int,
        logs: Logs,
        *,
        idle: Callable[["Sandbox"], None],
        over: Callable[["Sandbox"], None],
    ) -> None:
        self.function = function
        self.number = number
        self.idle_since = time.monotonic()
        self.served = 0
        self._place = place
        self._logs = logs
        self._idle = idle
        self._over = over
        self._api = RuntimeApi(self._asked)
        self._process: subprocess.Popen[bytes] | None = None
        # What is killed while it is being started must not come to life after that.
        self._spawning = threading.Lock()
        self._killed = False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_over(self) -> bool:
        return self._api.is_gone

    # ---- its life

    def start(self, within_s: float) -> None:
        """Returns when it asks for work; InitFailed if it does not, and then it is over."""
        begun = time.monotonic()
        with self._spawning:
            if self._killed:
                raise InitFailed("Runtime.ExitError", "the host has stopped")
            self._api.start()
            self._process = self._place.spawner.submit(self._spawn).result()
        threading.Thread(target=self._watch, name=f"{self.function.name}-{self.number}", daemon=True).start()
        if self._api.wait_until_asked(within_s):
            self._say(f"INIT_REPORT Init Duration: {(time.monotonic() - begun) * 1000:.2f} ms")
            return
        error = self._api.init_error
        timed_out = error is None and not self.is_over
        self.kill()
        if error is not None:
            self._say(f"INIT_REPORT Status: error Error Type: {error.get('errorType')}")
            raise InitFailed(str(error.get("errorType")), str(error.get("errorMessage")))
        if timed_out:
            self._say(f"INIT_REPORT Status: timeout Init Duration: {within_s * 1000:.2f} ms")
            raise InitFailed("Sandbox.Timedout", f"Task timed out after {within_s:.2f} seconds")
        self._say("INIT_REPORT Status: error Error Type: Runtime.ExitError")
        raise InitFailed("Runtime.ExitError", f"Runtime exited with error: {self._how_it_ended()}")

    def serve(self, invocation: Invocation) -> Answer:
        """One at a time: who calls this has taken it for itself."""
        self.thaw()
        self._say(f"START RequestId: {invocation.request_id} Version: $LATEST")
        begun = time.monotonic()
        self.served += 1
        self._api.give(invocation)
        answer = self._api.wait_for_answer(invocation)
        took = (
            f"REPORT RequestId: {invocation.request_id} Duration: {(time.monotonic() - begun) * 1000:.2f} ms"
        )
        if answer is not None:
            self._say(took)
            # A client that goes on at once finds it here again, as it nearly always does over a network.
            self._api.wait_until_back(_COMES_BACK_S)
            return answer
        if self.is_over:
            how = f"Runtime exited with error: {self._how_it_ended()}"
            self._say(f"{took} Status: error Error Type: Runtime.ExitError {how}")
            return failed("Runtime.ExitError", how, invocation.request_id)
        self.kill()
        how = f"Task timed out after {self.function.timeout_s:.2f} seconds"
        self._say(f"{took} Status: timeout {invocation.request_id} {how}")
        return failed("Sandbox.Timedout", how, invocation.request_id)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def time_out(self) -> None:
        """For tests, which have no five minutes: the time of the invocation that it serves is over now."""
        self._api.be_late()

    def kill(self) -> None:
        """At once, and all that it started; returns when it is over."""
        with self._spawning:
            self._killed = True
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self._over(self)
        self._api.gone()
        self._api.stop()

    # ---- how

    def _asked(self) -> None:
        if self._process is None or self._api.is_gone:
            return
        self.freeze()
        self.idle_since = time.monotonic()
        self._idle(self)

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            mortal([self._place.python, "-m", "awslambdaric", self.function.handler]),
            cwd=self._place.task_root,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )

    def _environment(self) -> dict[str, str]:
        name, key = self.function.name, self.function.access_key
        return {
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LAMBDA_TASK_ROOT": str(self._place.task_root),
            "_HANDLER": self.function.handler,
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{PYTHON}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.function.memory_mb),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_LOG_LEVEL": "INFO",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[$LATEST]{self.number:032x}",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "moto-looks-at-none",
            "AWS_SESSION_TOKEN": "moto-looks-at-none",
            "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
            **self.function.environment,
        }

    def _watch(self) -> None:
        """Until it is over, and all that it started with it."""
        assert self._process is not None
        assert self._process.stdout is not None
        collecting = threading.Thread(target=self._collect, args=(self._process.stdout,), daemon=True)
        collecting.start()
        self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        collecting.join(5)
        self._over(self)
        self._api.gone()

    def _collect(self, output: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError), output:
            for line in output:
                self._say(line.decode(errors="replace").rstrip("\n"))

    def _say(self, line: str) -> None:
        self._logs.add(self.function.name, self.number, line)

    def _how_it_ended(self) -> str:
        code = None if self._process is None else self._process.poll()
        if code is None or code >= 0:
            return f"exit status {code}"
        return f"signal: {signal.Signals(-code).name.removeprefix('SIG').lower()}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
