"""Processes that end with whoever started them, also when that is killed.

The kernel sends the signal when the *thread* that started the child is over, so that thread has to live as long as the child may.
Linux only: elsewhere one ends them by hand after a `kill -9`.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Run by a Python of its own, which becomes the program: prctl must be called by the process that it is about. Whoever
# started it may be gone already; then nobody would send the signal any more.
DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("whoever started it has gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


def mortal(command: Sequence[str | Path]) -> list[str]:
    """The same command, which ends with us."""
    words = [str(word) for word in command]
    if sys.platform != "linux":
        return words
    return [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid()), *words]
