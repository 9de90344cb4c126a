"""The demo model: a stand-in for the Anthropic Messages API on 127.0.0.1, as strict as the real one.

    from dev.demo_model import DemoModel, Fault, Reply

    with DemoModel() as model:
        client = anthropic.Anthropic(api_key="demo", base_url=model.url, max_retries=0)

It needs no key and no network, and it is deterministic: no clock and no chance in what it says. It refuses what the
real API refuses (`rules`), signs its thinking (`thinking`), counts its prompt cache (`prompt_cache`) and otherwise
says what simple rules make it say (`persona`). A test can steer it:

    model.replies.add(Reply("Four."), Reply([{"type": "tool_use", "name": "add", "input": {"a": 2}}]))
    model.faults.add(Fault.status(529), Fault.cut(after=3))     # one for each next valid POST /v1/messages
    model.requests[-1].body, .status, .refusal, .fault          # what came, and what was done

The faults: `status`, `error_event`, `cut`, `end_early`, `delay`, `drip`, `gate`, `hang`; see `faults`. A request is checked
before a fault is taken, so an invalid one is always refused as such.

Alone: `python -m dev.demo_model --port 8001`, then point a client at it with ANTHROPIC_BASE_URL.
"""

from .faults import Fault
from .record import Recorded
from .script import Reply
from .server import DemoModel

__all__ = ["DemoModel", "Fault", "Recorded", "Reply"]
