"""How long Redis may take, and when it is asked at all.

A timeout of a socket is one of a single read, and a look-up of a name has none. So each call is made by a thread of ours,
and whoever needs the reply waits for as long as the request's allowance lasts and not longer. What comes later is thrown
away: the scripts that are sent are fenced, so it does no harm that they were carried out.

* **Never a queue.** A call takes an idle thread, or a new one while there are few, or is given up at once.
* **Nobody is starved for good.** A thread that does not come back in time is written off, another may take its place, and
  the connections are ended under it. That ends whatever it waits for but a look-up, and a look-up ends by itself.
* **Slow to begin.** The libraries take 0.1 s to import. `warm` does that in the background, and until it is over nothing is
  read from Redis. What is to be done in the background is kept so long: a mark that a young function makes would be lost else,
  and with each function that begins.
* **Failing in a row** opens the circuit. What fails is the call as a whole, or every command of it for a reason that is
  not about its key or about memory: a full Redis still answers, and says so.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import Any

from core.cache.allowance import Allowance
from core.cache.circuit import Circuit
from core.cache.commands import CacheFailed, Command, Redis, Refused
from core.cache.pending import Pending, Settled
from core.figures import Figures

_MOST_THREADS = 8
_MOST_LOST = 8
_BACKGROUND_S = 1.0
_WARM_S = 2.0
# Of a call's limit: connecting, writing and reading may each take the whole of it.
_WRITTEN_OFF_AFTER = 3.0
_MOST_EARLY = 4
_CLOSING_S = 1.0
_PATIENCE_S = 0.02
_NOT_OF_THE_SERVER = {"OOM", "WRONGTYPE", "NOSCRIPT"}


class Call:
    """One round trip, and where its replies are waited for."""

    __slots__ = ("_over", "began", "commands", "is_judged", "limit_s", "otherwise", "replies")

    def __init__(self, commands: Sequence[Command], otherwise: Sequence[Command], limit_s: float, now: float):
        self.commands = commands
        self.otherwise = otherwise
        self.limit_s = limit_s
        self.began = now
        self.is_judged = False
        self.replies: list[Any] | None = None
        # A lock is the cheapest thing to wait for with a time; it is released when the call is over.
        self._over = threading.Lock()
        self._over.acquire()

    def end(self) -> None:
        self._over.release()

    def wait(self, seconds: float) -> bool:
        if not self._over.acquire(timeout=min(seconds, self.limit_s)):
            return False
        self._over.release()
        return True

    def join(self, allowance: Allowance) -> bool:
        with allowance.waiting() as left_s:
            is_over = self.wait(left_s)
        return is_over and self.replies is not None and not _refusals(self.replies)


class Guard:
    """Between us and a Redis. Nothing here raises."""

    def __init__(
        self, redis: Redis, budget_s: float, figures: Figures, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = redis
        self._budget_s = budget_s
        self._figures = figures
        self._clock = clock
        self._is_warm = False
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        """Also anew after a fork, which takes no threads along, and may leave a lock behind that nobody holds."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._circuit = Circuit()
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._idle = 0
        self._busy: dict[threading.Thread, Call] = {}
        self._threads: set[threading.Thread] = set()
        self._lost: set[threading.Thread] = set()
        self._warming: Call | None = None
        # Begun before the libraries were there.
        self._early: list[Call] = []

    @property
    def kind(self) -> str:
        return self._redis.kind

    @property
    def state(self) -> str:
        """ "closed" is well; "open" and "half-open" are after failures; "warming" is before the first call."""
        return self._circuit.state(self._clock()) if self._is_warm else "warming"

    def run(self, commands: Sequence[Command], allowance: Allowance) -> list[Any] | None:
        """None: failed, given up, not asked, or nothing left of the allowance."""
        if allowance.left_s() <= 0:
            self._figures.count("cache.skipped", "allowance")
            return None
        call = self._start(Call(commands, (), self._budget_s, self._clock()), may_wait=False)
        if call is None:
            return None
        with allowance.waiting() as left_s:
            is_over = call.wait(left_s)
        if not is_over:
            self._give_up(call)
        return call.replies if is_over else None

    def later(self, commands: Sequence[Command], *, otherwise: Sequence[Command] = ()) -> Pending:
        """Begun now, and joined whenever it suits. `otherwise` is sent where Redis refused one of the commands."""
        limit_s = max(self._budget_s, _BACKGROUND_S)
        call = self._start(Call(commands, otherwise, limit_s, self._clock()), may_wait=True)
        return Settled(arrived=False) if call is None else call

    def warm(self) -> None:
        """Loads the library, connects, and says hello, all in the background."""
        self._same_process()
        with self._lock:
            if not self._is_warm and not self._is_closed and self._warming is None:
                self._warming = Call([("PING",)], (), _WARM_S, self._clock())
                self._spawn(self._warming)

    def close(self) -> None:
        """Every thread ends that can; one within a look-up of a name ends by itself and keeps nobody."""
        self._same_process()
        with self._lock:
            self._is_closed = True
            self._let_go_of_the_early()
            threads = self._threads | self._lost
            for _ in threads:
                self._calls.put(None)
        give_up_at = time.monotonic() + _CLOSING_S
        while threads and time.monotonic() < give_up_at:
            self._redis.close()  # again and again, as one may be just about to connect
            for thread in threads:
                thread.join(_PATIENCE_S)
            threads = {thread for thread in threads if thread.is_alive()}
        self._redis.close()

    # --- beginning a call

    def _start(self, call: Call, *, may_wait: bool) -> Call | None:
        self._same_process()
        if not self._is_warm:
            self.warm()
        with self._lock:
            self._write_off(call.began)
            if may_wait and self._is_early():
                self._early.append(call)
                return call
            why = self._obstacle(call.began)
            if why is None:
                self._hand_over(call)
        if why is not None:
            self._figures.count("cache.skipped", why)
            return None
        return call

    def _is_early(self) -> bool:
        return self._warming is not None and not self._is_closed and len(self._early) < _MOST_EARLY

    def _obstacle(self, now: float) -> str | None:
        """The circuit is asked last: what it lets through must be made."""
        if self._is_closed:
            return "closed"
        if not self._is_warm:
            return "warming"
        if self._idle == 0 and (len(self._threads) >= _MOST_THREADS or len(self._lost) >= _MOST_LOST):
            return "crowded"
        return None if self._circuit.lets_through(now) else "circuit"

    def _hand_over(self, call: Call) -> None:
        if self._idle > 0:
            self._idle -= 1
            self._calls.put(call)
        else:
            self._spawn(call)

    def _spawn(self, call: Call) -> None:
        thread = threading.Thread(target=self._work, args=(call,), name="cache", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the machine has no more of them
            self._threads.discard(thread)
            self._warming = None
            self._settle(call, "defect", self._clock())
            call.end()

    def _let_go_of_the_early(self) -> None:
        """They are sent, or given up. Under the lock."""
        early, self._early = self._early, []
        for call in early:
            call.began = self._clock()
            why = self._obstacle(call.began)
            if why is None:
                self._hand_over(call)
            else:
                self._figures.count("cache.skipped", why)
                call.end()

    def _same_process(self) -> None:
        if self._pid != os.getpid():
            self._begin()

    # --- in a thread

    def _work(self, first: Call) -> None:
        me = threading.current_thread()
        call: Call | None = first
        while call is not None:
            with self._lock:
                self._busy[me] = call
            call.replies = self._carried_out(call)
            with self._lock:
                self._busy.pop(me, None)
                goes_on = me not in self._lost and not self._is_closed
                self._idle += goes_on
            call.end()  # idle and judged before anybody hears of it: who asks again at once finds this thread
            call = self._calls.get() if goes_on else None
        with self._lock:
            self._threads.discard(me)
            self._lost.discard(me)

    def _carried_out(self, call: Call) -> list[Any] | None:
        failure: str | None = None
        replies: list[Any] | None = None
        try:
            replies = self._redis.run(call.commands, call.limit_s)
            if call.otherwise and _refusals(replies):
                self._redis.run(call.otherwise, call.limit_s)
        except CacheFailed as failed:
            failure = failed.kind
        except Exception:  # of a client, of its library: an answer must not fall with it
            failure = "defect"
        self._judge(call, replies, failure)
        return replies

    # --- what becomes of it

    def _judge(self, call: Call, replies: list[Any] | None, failure: str | None) -> None:
        now = self._clock()
        for refused in _refusals(replies or ()):
            self._figures.count("cache.refused", refused.code)
        if replies is not None and call is not self._warming:
            self._figures.took("cache.latency", now - call.began)
        with self._lock:
            was_warming = call is self._warming
            if was_warming:
                self._is_warm, self._warming = True, None
            elif failure is None and now - call.began > call.limit_s:
                failure = "timeout"
            if failure is None and _is_about_the_server(replies or ()):
                failure = "refused"
            self._settle(call, failure, now)
            if was_warming:
                self._let_go_of_the_early()

    def _settle(self, call: Call, failure: str | None, now: float) -> None:
        """Once for each call, by whoever knows first. Under the lock."""
        if call.is_judged:
            return
        call.is_judged = True
        if failure is None:
            self._circuit.succeeded()
            return
        self._figures.count("cache.failures", failure)
        if self._circuit.failed(now):
            self._figures.count("cache.circuit_openings")

    def _give_up(self, call: Call) -> None:
        """It is no failure of Redis that somebody had little time left."""
        self._figures.count("cache.given_up")
        with self._lock:
            now = self._clock()
            if now - call.began >= call.limit_s:
                self._settle(call, "timeout", now)

    def _write_off(self, now: float) -> None:
        """Threads that did not come back. Under the lock."""
        overdue = [
            thread
            for thread, call in self._busy.items()
            if now - call.began > call.limit_s * _WRITTEN_OFF_AFTER and call is not self._warming
        ]
        for thread in overdue:
            self._settle(self._busy.pop(thread), "timeout", now)
            self._threads.discard(thread)
            self._lost.add(thread)
            self._figures.count("cache.threads_lost")
        if overdue:
            self._redis.close()


def _refusals(replies: Iterable[Any]) -> list[Refused]:
    return [reply for reply in replies if isinstance(reply, Refused)]


def _is_about_the_server(replies: Sequence[Any]) -> bool:
    """Nothing but errors, such as NOPERM, READONLY or a quota that is used up: no use to go on asking."""
    return bool(replies) and all(
        isinstance(reply, Refused) and reply.code not in _NOT_OF_THE_SERVER for reply in replies
    )
