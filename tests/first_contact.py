"""What a newcomer does, word for word: `make run`, paste the printed line, `kill -9`, `make run` again, talk on.

    python tests/first_contact.py CHECKOUT [--python PYTHON]

It needs nothing but Python, make and curl or not even that: the line is run by a shell if there is a curl, and otherwise
sent as what it says. CI runs it as root and as an ordinary user.
"""

import argparse
import atexit
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

INSTALL_PATIENCE_S = 600
SECOND_RUN_PATIENCE_S = 5.0
_HELD: list[str] = []


class Run:
    """One `make run`, and what it printed."""

    def __init__(self, checkout: Path, python: str, port: int, patience_s: float) -> None:
        self.process = subprocess.Popen(
            ["make", "--no-print-directory", "run", f"PYTHON={python}", f"PORT={port}"],
            cwd=checkout,
            env={
                name: value
                for name, value in os.environ.items()
                if name not in {"DATABASE_URL", "MAKEFLAGS", "ANTHROPIC_API_KEY"}
                and not name.startswith(("REDIS_", "UPSTASH_"))
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.data = ""
        self.told_of_redis = ""
        # The first address that is printed: what a newcomer opens.
        self.page = ""
        atexit.register(self._end_whatever_happens)
        self.curl = self._read_until_invited(time.monotonic() + patience_s)

    def _read_until_invited(self, until: float) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            print(f"    {line}", end="", flush=True)
            if data := re.search(r"data in (\S+)", line):
                self.data = data[1]
            if line.startswith("latchkey  redis "):
                self.told_of_redis = line
            if line.startswith("Latchkey is at "):
                self.page = line.split()[3]
            if line.startswith("curl "):
                return line
            if time.monotonic() > until:
                break
        raise SystemExit("first contact: `make run` did not come to its curl line")

    def paste(self, message: str | None = None) -> dict[str, Any]:
        """The printed line as it is, or with another message in it."""
        line = (
            self.curl
            if message is None
            else re.sub(r'"message": "[^"]*"', f'"message": "{message}"', self.curl)
        )
        if shutil.which("curl"):
            answer = subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout
        else:
            answer = _without_curl(shlex.split(line))
        turn: dict[str, Any] = json.loads(answer)
        print(f"    > {turn.get('reply')}", flush=True)
        return turn

    def get(self, path: str) -> dict[str, Any]:
        words = shlex.split(self.curl)
        base = next(word for word in words if word.startswith("http")).removesuffix("/v1/turns")
        found: dict[str, Any] = json.loads(
            _without_curl(["curl", base + path, *words[words.index("-H") :][:2]])
        )
        return found

    def server(self) -> int:
        """The process under make that serves."""
        return _children(self.process.pid)[0]

    def redis_servers(self) -> list[int]:
        return [pid for pid in _children(self.server()) if _name(pid) == "redis-server"]

    def end(self, signum: signal.Signals) -> None:
        os.kill(self.server(), signum)
        assert self.process.stdout is not None
        self.process.stdout.read()
        self.process.stdout.close()
        self.process.wait(30)

    def _end_whatever_happens(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)


def _without_curl(words: list[str]) -> str:
    url = next(word for word in words if word.startswith("http"))
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    data = words[words.index("-d") + 1].encode() if "-d" in words else None
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as answer:
        body: str = answer.read().decode()
    return body


def main() -> None:
    parser = argparse.ArgumentParser(description="Does what a newcomer does, and checks what comes of it.")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--python", default="python3", help="the interpreter that `make` shall use")
    given = parser.parse_args()
    port = _free_port()

    first = Run(given.checkout, given.python, port, INSTALL_PATIENCE_S)
    said = first.paste()
    check(said["status"] == "completed" and said["reply"], "the printed line gives a reply")
    with urllib.request.urlopen(first.page, timeout=30) as page:
        check('src="/web/chat.js"' in page.read().decode(), "the printed address is the chat page")
    first_redis = first.redis_servers()
    check(
        len(first_redis) == ("none. There is no redis-server" not in first.told_of_redis),
        "it brought a Redis along, or said that there is none",
    )
    first.end(signal.SIGKILL)
    check(_end(first_redis), "its Redis went with it")

    begun = time.monotonic()
    second = Run(given.checkout, given.python, port, INSTALL_PATIENCE_S)
    history = second.get("/v1/session/messages")["items"]
    check(
        [item["role"] for item in history[-2:]] == ["user", "assistant"], "both messages outlived `kill -9`"
    )
    check(history[-1]["turn_id"] == said["id"], "and they are the ones of that turn")
    answer = second.paste("What is my name?")
    took_s = time.monotonic() - begun
    check("Ada" in answer["reply"], "the next message is answered in their light")
    check(
        took_s < SECOND_RUN_PATIENCE_S, f"the second run's first reply was there within 5 s ({took_s:.1f} s)"
    )
    check(_left_behind(second.data), "its Postgres can be seen")
    second_redis = second.redis_servers()
    second.end(signal.SIGTERM)
    check(not _listening(port), "SIGTERM ended the server")
    check(not _left_behind(second.data) and _end(second_redis), "nothing that it started is left")
    print(f"first_contact: {len(_HELD)} passed, 0 failed")


def check(holds: object, what: str) -> None:
    if not holds:
        raise SystemExit(f"first contact: FAILED: {what}")
    _HELD.append(what)
    print(f"  ok: {what}", flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _name(pid: int) -> str:
    """Empty once it has ended, also if nobody has asked how."""
    try:
        about = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    name, _, rest = about.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] == "Z" else name


def _end(pids: list[int]) -> bool:
    """Within a moment: the kernel tells them right after their parent's end."""
    patience = time.monotonic() + 5
    while any(_name(pid) == "redis-server" for pid in pids):
        if time.monotonic() > patience:
            return False
    return True


def _left_behind(data: str) -> list[str]:
    """Processes that name the data folder: a Postgres does so on its command line."""
    left = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if data in command:
            left.append(command)
    return left


if __name__ == "__main__":
    main()
