"""AWS's own runtime client, pinned in runtime.txt, in an environment of its own for the target's Python: made once, kept under
`.latchkey/lambda/`. Nothing else is in it, as the artifact has to bring along whatever it needs.
"""

import fcntl
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from dev.package.target import interpreter

PINNED = Path(__file__).with_name("runtime.txt")
HOME = Path(__file__).parents[2] / ".latchkey" / "lambda"


class RuntimeMissing(Exception):
    """One sentence: what could not be made, and why."""


def runtime_python(home: Path = HOME) -> Path:
    """The Python that runs functions. Several that ask at once get the same."""
    base = interpreter()
    named = sha256(f"{base}\n{PINNED.read_text()}".encode()).hexdigest()[:12]
    place = home / f"runtime-{named}"
    python = place / "bin" / "python"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "runtime.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            _run(str(base), "-m", "venv", "--without-pip", str(place))
            install = [
                sys.executable,
                "-m",
                "uv",
                "pip",
                "install",
                "-q",
                "--no-deps",
                "--only-binary",
                ":all:",
            ]
            _run(*install, "--python", str(python), "-r", str(PINNED))
            (place / "complete").touch()
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise RuntimeMissing(f"Lambda's runtime client cannot be installed: {said}")
