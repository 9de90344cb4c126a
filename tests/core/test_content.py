"""Message content: what is accepted, and that every text comes back as it went in."""

import json
from typing import Any

import pytest

from core.acceptance import accept
from core.content import dump, load_sendable, text_of
from core.errors import InvalidRequest, MessageTooLarge

HARD = ["plain", "", "\0", "\ud800", "a\udc00b", "😀", "שלום", '"\\/', "\u2028", "-0.0", "é" * 100]


@pytest.mark.parametrize("text", HARD)
def test_every_text_survives_the_way_to_postgres_and_back(text: str) -> None:
    stored = dump([{"type": "text", "text": text}])
    stored.encode()
    assert "\0" not in stored, "Postgres' text cannot hold a raw NUL"
    assert json.loads(stored) == [{"type": "text", "text": text}]


def test_key_order_and_number_forms_survive() -> None:
    as_it_came = '{"b":-0.0,"a":[1,1.0,1e+22],"c":{"z":null,"y":true}}'
    assert dump(json.loads(as_it_came)) == as_it_came


def test_text_stays_readable_where_utf8_can_carry_it() -> None:
    assert dump("é😀") == '"é😀"'


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\udc00", "\ufffd"),
        ("😀", "😀"),
        ("\ud800\ud800x", "\ufffd\ufffdx"),
        ("😀\ud83d", "😀\ufffd"),
    ],
)
def test_lone_surrogates_are_replaced_in_what_is_sent(text: str, sent: str) -> None:
    stored = dump({"k": [text, 1, None, {text: text}]})
    assert load_sendable(stored) == {"k": [sent, 1, None, {sent: sent}]}


def test_what_only_looks_like_a_surrogate_is_left_alone() -> None:
    assert load_sendable(dump("\\ud800 and 😀")) == "\\ud800 and 😀"


@pytest.mark.parametrize("message", ["Hello", [{"type": "text", "text": "Hello"}]])
def test_a_text_and_a_text_block_are_the_same_message(message: object) -> None:
    assert accept(message, 100) == [{"type": "text", "text": "Hello"}]


def test_blank_blocks_beside_a_text_are_left_out() -> None:
    blocks = [{"type": "text", "text": " "}, {"type": "text", "text": "x"}]
    assert text_of(accept(blocks, 100)) == "x"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "   \n\t\u00a0",
        [],
        [{"type": "text", "text": " "}],
        "a\0b",
        [{"type": "text", "text": "a\0"}],
        None,
        7,
        True,
        {"type": "text", "text": "x"},
        ["x"],
        [{"type": "text"}],
        [{"type": "text", "text": 5}],
        [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        [{"type": "image", "source": {}}],
        [{"type": "tool_result", "tool_use_id": "x"}],
    ],
)
def test_what_is_no_message_is_refused_with_the_field_named(message: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        accept(message, 100)
    assert caught.value.errors[0].field.startswith("message")


def test_the_size_is_counted_in_bytes() -> None:
    assert accept("é" * 50, 100)
    with pytest.raises(MessageTooLarge, match="102 bytes; at most 100"):
        accept("é" * 51, 100)
    with pytest.raises(MessageTooLarge):
        accept("\ud800" * 50, 100)
