"""Claude over the Messages API, with the SDK's traps closed.

* Importing `anthropic` takes about a second, so it is imported when first needed, on a thread, while the claim runs.
* The SDK's own retries sleep as long as a server tells them to, and do not know our deadline: they are off, and the
  loop here tries again only while there is time.
* Its timeout counts from one read to the next, so a server that sends a byte now and then is never late, and a name
  lookup has no timeout at all: asking runs on a thread of its own, which whoever waits for it can leave behind.
* A stream that ends early looks like a short reply. Only one that said `message_stop`, with a stop reason, is a reply.
"""

import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from core.attendance import on_a_thread
from core.deadline import Deadline
from core.errors import (
    ModelBilling,
    ModelFailed,
    ModelOverloaded,
    ModelRejectedCredentials,
    ModelRejectedRequest,
    ModelTimeout,
    ModelUnavailable,
    PromptTooLong,
)
from core.model.bill import Bill
from core.model.prompt import Prompt
from core.model.reply import ModelReply, Sink
from core.settings import Secret

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
# Below this there is no use in asking again.
_SHORTEST_TRY_S = 1.0

# The API's error types to ours. A failure that may pass by itself is tried again while there is time.
_FAILURES: dict[str, type[ModelFailed]] = {
    "invalid_request_error": ModelRejectedRequest,
    "not_found_error": ModelRejectedRequest,
    "authentication_error": ModelRejectedCredentials,
    "permission_error": ModelRejectedCredentials,
    "billing_error": ModelBilling,
    "rate_limit_error": ModelOverloaded,
    "overloaded_error": ModelOverloaded,
    "api_error": ModelUnavailable,
    "timeout_error": ModelUnavailable,
}
_BY_STATUS: dict[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_PASSING = (ModelOverloaded, ModelUnavailable)
_QUOTED = re.compile(r"""(?<!\w)(["'`]).*\1|“.*”|‘.*’|\w+://\S*""", re.DOTALL)
_LONGEST_REASON = 300


class _PassingFailure(Exception):
    def __init__(self, failure: ModelFailed, retry_after_s: float | None) -> None:
        self.failure = failure
        self.retry_after_s = retry_after_s
        super().__init__(failure.code)


class Claude:
    def __init__(
        self,
        api_key: Secret | None,
        base_url: str,
        *,
        mcp_tokens: Mapping[str, Secret] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api_key = api_key
        self._base_url = base_url
        self._mcp_tokens = mcp_tokens or {}
        self._sleep = sleep
        self._client: Any = None
        self._making = threading.Lock()

    def warm(self) -> None:
        if self._client is None and self._api_key is not None:
            threading.Thread(target=self._ready_client, name="warm-model", daemon=True).start()

    def ask(
        self, prompt: Prompt, deadline: Deadline, bill: Bill | None = None, sink: Sink | None = None
    ) -> Future[ModelReply]:
        request = self._with_tokens(prompt.render())
        bill = bill or Bill(prompt.model)

        def reply() -> ModelReply:
            try:
                return self._reply(request, deadline, bill, sink)
            except ModelFailed as failure:
                failure.spent = bill.spent
                raise

        return on_a_thread(reply, "ask-model")

    def _with_tokens(self, request: dict[str, Any]) -> dict[str, Any]:
        """Here and nowhere else: so a token is in no digest, no row and no prompt that somebody may look at."""
        servers = request.get("mcp_servers", ())
        if not any(server["name"] in self._mcp_tokens for server in servers):
            return request
        opened = [
            {**server, "authorization_token": self._mcp_tokens[server["name"]].reveal()}
            if server["name"] in self._mcp_tokens
            else server
            for server in servers
        ]
        return {**request, "mcp_servers": opened}

    def _reply(
        self, request: dict[str, Any], deadline: Deadline, bill: Bill, sink: Sink | None
    ) -> ModelReply:
        client = self._ready_client()
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                if sink is not None:
                    sink.anew()
                return _ask(client, request, deadline, bill, sink)
            except _PassingFailure as passing:
                if bill.is_left:
                    raise passing.failure from passing
                wait_s = pause_s if passing.retry_after_s is None else passing.retry_after_s
                if wait_s > deadline.left_s() - _SHORTEST_TRY_S:
                    raise passing.failure from passing
                _log.warning("model: %s, trying again in %.1f s", passing.failure.code, wait_s)
                self._sleep(wait_s)
                if bill.is_left:
                    raise passing.failure from passing
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def close(self) -> None:
        with self._making:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _ready_client(self) -> Any:
        if self._api_key is None:
            raise ModelRejectedCredentials(
                "ANTHROPIC_API_KEY is not set: whoever runs this service must set it."
            )
        with self._making:
            if self._client is None:
                import anthropic

                self._client = anthropic.Anthropic(
                    api_key=self._api_key.reveal(), base_url=self._base_url, max_retries=0
                )
            return self._client


def _ask(
    client: Any, request: dict[str, Any], deadline: Deadline, bill: Bill, sink: Sink | None
) -> ModelReply:
    import anthropic
    import httpx2

    left_s = deadline.left_s()
    if not left_s:
        raise ModelTimeout
    try:
        return _read(
            client.with_options(timeout=httpx2.Timeout(left_s, connect=min(5.0, left_s))),
            request,
            deadline,
            bill,
            sink,
        )
    except anthropic.APIStatusError as error:
        raise _failure(error) from error
    except (anthropic.APITimeoutError, httpx2.TimeoutException) as error:
        # A connect that timed out early can be tried again; a read that did has used up the turn's time.
        raise _PassingFailure(ModelTimeout(), None) from error
    except (anthropic.APIConnectionError, httpx2.TransportError) as error:
        raise _PassingFailure(ModelUnavailable(), None) from error


def _read(
    client: Any, request: dict[str, Any], deadline: Deadline, bill: Bill, sink: Sink | None
) -> ModelReply:
    whole = False
    messages = client.beta.messages if "betas" in request else client.messages
    with messages.stream(**request) as stream, bill.under_way(lambda: _hang_up(stream)):
        for event in stream:
            if event.type == "message_start":
                bill.begin(event.message.usage.to_dict())
            elif event.type == "message_delta":
                bill.go_on(event.usage.to_dict())
            elif sink is not None:
                _tell(sink, event)
            whole = whole or event.type == "message_stop"
            if not whole and (bill.is_left or not deadline.left_s()):
                raise ModelTimeout
        message = stream.get_final_message() if whole else None
    if message is None or message.stop_reason is None:
        raise _PassingFailure(ModelUnavailable(), None)
    answer = message.to_dict()
    return ModelReply(answer["content"], answer["stop_reason"], answer["usage"], bill.spent)


def _tell(sink: Sink, event: Any) -> None:
    if event.type == "content_block_start" and event.content_block.type == "text":
        sink.say(event.index, event.content_block.text)
    elif event.type == "content_block_delta" and event.delta.type == "text_delta":
        sink.say(event.index, event.delta.text)


def _hang_up(stream: Any) -> None:
    """Closing alone would not wake the thread that reads: its socket is shut down under it, and it finds the connection ended."""
    with suppress(Exception):
        network = stream.response.extensions["network_stream"]
        network.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def _failure(error: Any) -> Exception:
    """What an error of the API means. In the middle of a stream its status is 200, so its type is what counts."""
    kind = error.type or _BY_STATUS.get(error.status_code, "api_error")
    if _is_too_long(kind, error.api_message):
        _log.warning("model: %s (request %s): %s", kind, error.request_id, _unquoted(error.api_message))
        return PromptTooLong()
    failure = _FAILURES.get(kind, ModelUnavailable if error.status_code >= 500 else ModelRejectedRequest)()
    _log.warning(
        "model: %s %s (request %s): %s",
        error.status_code,
        kind,
        error.request_id,
        _unquoted(error.api_message),
    )
    if isinstance(failure, _PASSING):
        return _PassingFailure(failure, _retry_after_s(error))
    return failure


def _is_too_long(kind: str, message: str | None) -> bool:
    """A request that is too long has no error type of its own."""
    said = (message or "").lower()
    return kind == "request_too_large" or (
        kind == "invalid_request_error" and ("prompt is too long" in said or "exceed context limit" in said)
    )


def _unquoted(message: str | None) -> str:
    """What the API says is wrong, without what it quotes of the request: that may be what somebody wrote."""
    return _QUOTED.sub("...", message or "")[:_LONGEST_REASON]


def _retry_after_s(error: Any) -> float | None:
    try:
        return max(0.0, float(error.response.headers.get("retry-after")))
    except (TypeError, ValueError):
        return None
