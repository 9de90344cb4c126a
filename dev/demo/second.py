"""The second server: the same service on the same Postgres, whose model speaks slowly, and whose post office is slow.

It stands for the function that a message lands on by chance, and is there to be killed in the middle of what it does. Its listening
socket is its starter's, by number, so what is sent to it before it is up waits in line.
"""

import contextlib
import os
import socket
import sys
import threading
from dataclasses import replace
from typing import Any

from core.agents.agent import Agent
from core.agents.clinic.billing import BILLING
from core.agents.clinic.manager import MANAGER
from core.agents.clinic.scheduling import SCHEDULING, send_reminder
from core.agents.roster import Roster
from core.agents.tool import Arguments, ToolContext
from core.settings import read_settings
from dev import serve
from dev.demo_model import DemoModel, Fault

# Of a reply of the demo model, as events.
_BYTES = 3_000
_PIECES_PER_S = 50
# How long it takes to say what it is asked, one after the other: Chloe's first, while two more come in; those two; Hugo's call of a tool.
_ANSWERED_S = (2.5, 0.4, 0.4)
# What comes then is to be stopped, or cut off, in the middle, also on a machine that is busy.
_NEVER_ANSWERED = 100
_CUT_OFF_S = 6.0
# Longer than it lives.
_FOR_EVER_S = 60
# It goes on with what it was sent, and never looks around: what else is in that database is not the demo's, and how that is cleaned up
# (whether it is archived first, say) is for the running service's settings to say, which are not known here.
_NEVER_SWEEPS_S = 86_400.0


def main() -> None:
    number = int(sys.argv[1])
    environ = dict(os.environ)
    with contextlib.ExitStack() as running:
        model = running.enter_context(DemoModel())
        model.faults.add(*map(_taking, _ANSWERED_S), *[_taking(_CUT_OFF_S)] * _NEVER_ANSWERED)
        environ |= {"ANTHROPIC_API_KEY": "demo", "ANTHROPIC_BASE_URL": model.url}
        roster = Roster.of(MANAGER, _with_slow_post(SCHEDULING), BILLING)
        server = serve._server(read_settings(environ), running, roster, _NEVER_SWEEPS_S)
        server.run(sockets=[running.enter_context(socket.socket(fileno=number))])


def _taking(reply_s: float) -> Fault:
    return Fault.drip(1 / _PIECES_PER_S, size=max(1, round(_BYTES / (_PIECES_PER_S * reply_s))))


def _with_slow_post(agent: Agent) -> Agent:
    """The reminder goes out, and the post office takes its time to say so."""

    def send(context: ToolContext, arguments: Arguments) -> object:
        said: Any = send_reminder.run(context, arguments)
        threading.Event().wait(_FOR_EVER_S)
        return said

    slow = replace(send_reminder, run=send, time_limit_s=_FOR_EVER_S)
    return replace(agent, tools=tuple(slow if one is send_reminder else one for one in agent.tools))


if __name__ == "__main__":
    main()
