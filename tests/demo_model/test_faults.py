"""What a product sees when the model fails, raw and through the SDK."""

import http.client
import json
import socket
import threading
import time
from typing import Any

import anthropic
import httpx2
import pytest

from dev.demo_model import DemoModel, Fault, Reply
from tests.demo_model.raw import Raw, ask

Json = dict[str, Any]


def read_stream(sdk: anthropic.Anthropic) -> anthropic.types.Message:
    with sdk.messages.stream(**ask()) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize(
    ("status", "type", "error"),
    [
        (401, "authentication_error", anthropic.AuthenticationError),
        (402, "billing_error", anthropic.PaymentRequiredError),
        (403, "permission_error", anthropic.PermissionDeniedError),
        (413, "request_too_large", anthropic.ContentTooLargeError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (503, "api_error", anthropic.ServiceUnavailableError),
        (504, "timeout_error", anthropic.GatewayTimeoutError),
        (529, "overloaded_error", anthropic.OverloadedError),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_a_status_becomes_the_error_that_the_sdk_has_for_it(
    model: DemoModel, sdk: anthropic.Anthropic, status: int, type: str, error: Any, streams: bool
) -> None:
    model.faults.add(Fault.status(status, retry_after=900, message="Not now."))
    with pytest.raises(error) as raised:
        read_stream(sdk) if streams else sdk.messages.create(**ask())
    failed = raised.value
    assert (failed.status_code, failed.type, failed.api_message) == (status, type, "Not now.")
    assert failed.response.headers["retry-after"] == "900"
    assert failed.request_id == model.requests[0].request_id
    assert (model.requests[0].status, model.requests[0].fault) == (status, f"status {status} {type}")
    assert sdk.messages.create(**ask()).stop_reason == "end_turn"


def test_any_type_can_go_with_any_status(model: DemoModel, raw: Raw) -> None:
    model.faults.add(Fault.status(418, type="teapot_error"))
    answer = raw.send(ask())
    assert (answer.status, answer.error["type"], "retry-after" in answer.headers) == (
        418,
        "teapot_error",
        False,
    )


def test_an_error_event_in_the_stream_is_an_error_with_status_200(
    model: DemoModel, sdk: anthropic.Anthropic
) -> None:
    model.faults.add(Fault.error_event(after=4))
    with pytest.raises(anthropic.APIStatusError) as raised:
        read_stream(sdk)
    assert (raised.value.status_code, raised.value.type) == (200, "overloaded_error")


def test_the_error_event_comes_after_as_many_events_as_were_asked_for(model: DemoModel, raw: Raw) -> None:
    model.faults.add(Fault.error_event(after=3, type="api_error", message="Oh"))
    kinds = [event["type"] for event in raw.send(ask(stream=True)).events]
    assert kinds == ["message_start", "ping", "content_block_start", "error"]


def test_without_a_stream_the_error_event_is_its_status(model: DemoModel, sdk: anthropic.Anthropic) -> None:
    model.faults.add(Fault.error_event(after=4))
    with pytest.raises(anthropic.OverloadedError):
        sdk.messages.create(**ask())


@pytest.mark.parametrize("after", [0, 1, 4, 99])
def test_a_cut_connection_is_a_protocol_error(model: DemoModel, sdk: anthropic.Anthropic, after: int) -> None:
    model.faults.add(Fault.cut(after=after))
    with pytest.raises(httpx2.RemoteProtocolError):
        read_stream(sdk)
    assert model.requests[0].fault == f"cut after={after}"
    assert read_stream(sdk).stop_reason == "end_turn"


def received_raw(model: DemoModel) -> bytes:
    body = json.dumps(ask(stream=True)).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nx-api-key: k\r\nanthropic-version: v\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(model.url.rsplit(":", 1)[1])), timeout=10) as sock:
        sock.sendall(head.encode() + body)
        return b"".join(iter(lambda: sock.recv(65_536), b""))


def test_a_cut_is_in_the_middle_of_an_event(model: DemoModel) -> None:
    model.faults.add(Fault.cut(after=2))
    received = received_raw(model)
    assert received.count(b"\n\n") == 2
    assert b"event: content_block_start\ndata: {" in received.rpartition(b"\n\n")[2]


def test_a_cut_with_reset_is_a_reset(model: DemoModel) -> None:
    model.faults.add(Fault.cut(after=2, reset=True))
    with pytest.raises(ConnectionResetError):
        received_raw(model)


def test_a_reset_connection_is_a_network_error(model: DemoModel, sdk: anthropic.Anthropic) -> None:
    model.faults.add(Fault.cut(after=3, reset=True))
    with pytest.raises((httpx2.NetworkError, httpx2.RemoteProtocolError, anthropic.APIConnectionError)):
        read_stream(sdk)


def test_a_plain_answer_can_be_cut_too(model: DemoModel, sdk: anthropic.Anthropic) -> None:
    model.faults.add(Fault.cut(), Fault.end_early())
    with pytest.raises((httpx2.RemoteProtocolError, anthropic.APIConnectionError)):
        sdk.messages.create(**ask())
    with pytest.raises(json.JSONDecodeError):
        sdk.messages.create(**ask())


def test_a_stream_that_ends_early_gives_a_partial_message_and_no_error(
    model: DemoModel, sdk: anthropic.Anthropic
) -> None:
    """The trap that every client must know: the SDK raises nothing, only the stop reason is missing."""
    model.replies.add(Reply("One two three four five six seven eight nine ten."))
    model.faults.add(Fault.end_early(after=4))
    with sdk.messages.stream(**ask()) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert "message_stop" not in kinds
    assert message.stop_reason is None
    assert message.content[0].to_dict()["text"] == "One two three "


def test_a_delay_comes_before_the_first_byte(model: DemoModel, sdk: anthropic.Anthropic) -> None:
    model.faults.add(Fault.delay(60))
    with pytest.raises(anthropic.APITimeoutError):
        sdk.with_options(timeout=0.05).messages.create(**ask())
    assert model.requests[0].fault == "delay delay_s=60"


def test_a_delayed_answer_is_the_plain_one(model: DemoModel, raw: Raw) -> None:
    plain = raw.send(ask()).data
    model.faults.add(Fault.delay(0.02))
    started = time.monotonic()
    assert raw.send(ask()).data == plain
    assert time.monotonic() - started >= 0.02


def test_a_gate_holds_the_plain_answer_until_it_opens(model: DemoModel) -> None:
    gate, answers = threading.Event(), []
    model.faults.add(Fault.gate(gate))

    def call() -> None:
        with Raw(model.url) as raw:
            answers.append(raw.send(ask()).status)

    caller = threading.Thread(target=call)
    caller.start()
    assert model.requests.wait_for(1)
    assert answers == []
    gate.set()
    caller.join(10)
    assert answers == [200]


def test_a_drip_is_the_same_answer_in_single_bytes(model: DemoModel, sdk: anthropic.Anthropic) -> None:
    plain = read_stream(sdk)
    model.faults.add(Fault.drip(0))
    assert read_stream(sdk) == plain


def test_a_drip_is_slower_than_any_patience(model: DemoModel, sdk: anthropic.Anthropic) -> None:
    model.faults.add(Fault.drip(5))
    with pytest.raises(anthropic.APITimeoutError):
        sdk.with_options(timeout=0.05).messages.create(**ask())


def test_a_hanging_model_never_answers(model: DemoModel, sdk: anthropic.Anthropic) -> None:
    model.faults.add(Fault.hang())
    with pytest.raises(anthropic.APITimeoutError):
        sdk.with_options(timeout=0.05).messages.create(**ask())
    assert (model.requests[0].status, model.requests[0].fault) == (0, "hang")


@pytest.mark.parametrize(
    "fault",
    [
        Fault.hang(),
        Fault.delay(600),
        Fault.drip(600),
        Fault.status(529, delay_s=600),
        Fault.gate(threading.Event()),
    ],
)
def test_stopping_the_server_ends_what_hangs(fault: Fault) -> None:
    failures: list[BaseException] = []

    def call(url: str) -> None:
        with Raw(url) as raw:
            try:
                raw.send(ask())
            except (OSError, http.client.HTTPException) as failure:
                failures.append(failure)

    with DemoModel() as model:
        model.faults.add(fault)
        caller = threading.Thread(target=call, args=(model.url,))
        caller.start()
        assert model.requests.wait_for(1)
        started = time.monotonic()
    assert time.monotonic() - started < 2
    caller.join(10)
    assert len(failures) == 1


def test_faults_are_taken_in_order_and_keep_the_scripted_reply_for_the_retry(
    model: DemoModel, raw: Raw
) -> None:
    model.faults.add(Fault.status(529), Fault.status(429))
    model.replies.add(Reply("Scripted."))
    assert [raw.send(ask()).status for _ in range(2)] == [529, 429]
    assert raw.send(ask()).body["content"][0]["text"] == "Scripted."


def test_counting_tokens_takes_no_fault(model: DemoModel, raw: Raw) -> None:
    model.faults.add(Fault.status(529))
    assert raw.send(ask(max_tokens=None), path="/v1/messages/count_tokens").status == 200
    assert len(model.faults) == 1
