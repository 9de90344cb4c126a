"""The service as a process of its own, with agents whose tools ask a person; by BUFFERS=1 with answers that go out in one piece."""

import contextlib
import os
import sys

import uvicorn

from core.agents.agent import Agent
from core.agents.roster import Roster
from core.house import build_house
from core.settings import read_settings
from dev import serve
from functions.app import build_app
from tests.agents import Workshop


def main() -> None:
    buffers = os.environ.pop("BUFFERS", "") == "1"
    (manager,) = Workshop().roster().listed
    helper = Agent(key="helper", prompt="You help.", description="Helps.", todos=True)
    with contextlib.ExitStack() as running:
        listening = running.enter_context(serve._listen(int(sys.argv[1])))
        house = build_house(read_settings(dict(os.environ)), Roster.of(manager, helper))
        running.callback(house.close)
        if not buffers:
            running.callback(house.start_workers(threads=2).stop)
        app = build_app(house, one_at_a_time=buffers)
        # What is a lot here, so that a test need not send megabytes.
        app.state.streams.most_bytes = 4_000
        uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None)).run(sockets=[listening])


if __name__ == "__main__":
    main()
