"""Lambda on this machine: the unzipped artifact, under AWS's own runtime client, in processes with nothing else on the path.

    function.py      a function as the template declares it; what an invocation is given, and what comes of it
    runtime_api.py   the Runtime API of one process: where awslambdaric fetches its events and leaves its answers
    sandbox.py       one process: begun, frozen between two invocations, thawed, killed at its timeout
    fleet.py         all processes of one function: one request at a time each, so many at most, idle ones go
    host.py          all functions, by name
    runtime.py       awslambdaric itself, pinned, in an environment of its own
    gateway.py       HTTP API in front; gateway_events.py: its events and answers
    queue.py         the SQS event source; schedule.py: the clock that invokes one function again and again
    aws.py           AWS's services, by moto, and the record of who asked for what; calls.py: by which permission
    service.py       the whole of Latchkey on it: `make lambda`

What is like Lambda: initialisation within 10 s and once more within the invocation that needed it; the timeout that kills the whole
process group; SIGSTOP between two invocations and SIGCONT at the next; throttling beyond the concurrency; 6 MB each way; an
environment of nothing but what Lambda and the template set. What is not: memory is not limited, the disk may be written to by root,
and the machine is this one.
"""

from .fleet import Throttled
from .function import Answer, Function
from .host import LambdaHost

__all__ = ["Answer", "Function", "LambdaHost", "Throttled"]
