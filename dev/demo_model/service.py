"""One request after another: refuse it, or answer it, with the fault that is next in the queue."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dev.http.wire import Connection, RawRequest

from . import rules, thinking
from .answer import answer
from .delivery import send_error, send_json, send_stream
from .faults import Fault
from .prefix import Link, chain
from .prompt_cache import PromptCache
from .record import Record, Recorded, without_secrets
from .refusal import Refusal
from .request import Request, too_large
from .script import Queue, Reply

MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"


@dataclass(frozen=True, slots=True)
class Settings:
    delay_s: float
    text_beside_results: bool


@dataclass(frozen=True, slots=True)
class _Call:
    """One request on its way: whom to answer, and under which id."""

    connection: Connection
    raw: RawRequest
    request_id: str


class Service:
    def __init__(
        self,
        settings: Settings,
        cache: PromptCache,
        faults: Queue[Fault],
        replies: Queue[Reply],
        record: Record[Recorded],
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._faults = faults
        self._replies = replies
        self._record = record
        self._numbers = itertools.count()

    def handle(self, connection: Connection, raw: RawRequest) -> bool:
        """Answer; False when the connection is over."""
        call = _Call(connection, raw, self._request_id(raw))
        try:
            try:
                request = self._accept(raw)
                links = chain(request.body)
                thinking.verify(links)
            except Refusal as refusal:
                self._note(call, refusal.status, _lenient(raw.body), refusal=refusal.message)
                return send_error(connection, refusal.type, refusal.message, call.request_id, refusal.status)
            if request.counts_only:
                return self._count(call, request, links)
            return self._answer(call, request, links)
        except OSError:
            raise
        except Exception as bug:
            # A bug of the demo model itself: say so loudly, lest a product's test chase a ghost.
            traceback.print_exc(file=sys.stderr)
            self._note(call, 500, _lenient(raw.body), refusal=f"bug in the demo model: {bug!r}")
            return send_error(
                connection, "api_error", f"bug in the demo model: {bug!r}", call.request_id, 500
            )

    def _accept(self, raw: RawRequest) -> Request:
        path = raw.path.partition("?")[0]
        if raw.method != "POST" or path not in (MESSAGES, COUNT_TOKENS):
            raise Refusal(
                f"Not found: {raw.method} {path}. The demo model serves POST {MESSAGES} and POST {COUNT_TOKENS}.",
                404,
            )
        if raw.too_large:
            raise too_large()
        request = Request.read(raw.headers, raw.body, counts_only=path == COUNT_TOKENS)
        rules.check(request, text_beside_results=self._settings.text_beside_results)
        return request

    def _count(self, call: _Call, request: Request, links: Sequence[Link]) -> bool:
        self._note(call, 200, request.body)
        return send_json(
            call.connection, {"input_tokens": sum(link.tokens for link in links)}, call.request_id
        )

    def _answer(self, call: _Call, request: Request, links: Sequence[Link]) -> bool:
        fault = self._faults.take()
        if fault and not request.streams:
            fault = fault.for_plain_json()
        if fault and not fault.shows_an_answer:
            return self._fail(call, request, fault)
        reply = self._replies.take()
        use = self._cache.look_up(links)
        message = answer(request, links, use, reply)
        self._cache.keep(use)
        self._note(call, 200, request.body, fault=fault)
        delay_s = self._settings.delay_s + (reply.delay_s if reply else 0) + (fault.delay_s if fault else 0)
        if not call.connection.pause(delay_s):
            return False
        if fault and fault.opens and not call.connection.wait_for(fault.opens):
            return False
        if request.streams:
            return send_stream(call.connection, message, call.request_id, fault)
        return send_json(call.connection, message, call.request_id, fault=fault)

    def _fail(self, call: _Call, request: Request, fault: Fault) -> bool:
        self._note(call, fault.status_code, request.body, fault=fault)
        if fault.kind == "hang":
            call.connection.wait_until_gone()
            return False
        if not call.connection.pause(self._settings.delay_s + fault.delay_s):
            return False
        return send_error(
            call.connection, fault.type, fault.message, call.request_id, fault.status_code, fault
        )

    def _note(
        self, call: _Call, status: int, body: Any, *, refusal: str | None = None, fault: Fault | None = None
    ) -> None:
        done = str(fault) if fault else None
        headers = without_secrets(call.raw.headers)
        self._record.add(
            Recorded(call.raw.method, call.raw.path, headers, body, status, refusal, done, call.request_id)
        )

    def _request_id(self, raw: RawRequest) -> str:
        """Different for every request, as logs need it, yet the same on every run."""
        digest = hashlib.blake2b(raw.body, digest_size=6).hexdigest()
        return f"req_01{next(self._numbers):08d}{digest}"


def _lenient(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
