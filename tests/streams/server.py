"""The service as a process of its own, as `make run` starts it, on a database and a model that a test has."""

import contextlib
import os
import sys

from core.settings import read_settings
from dev import serve


def main() -> None:
    with contextlib.ExitStack() as running:
        listening = running.enter_context(serve._listen(int(sys.argv[1])))
        server = serve._server(read_settings(dict(os.environ)), running)
        server.run(sockets=[listening])


if __name__ == "__main__":
    main()
