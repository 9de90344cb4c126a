"""Attachments: what the API takes goes in as it came, what it would refuse is refused before it is stored."""

import base64
import dataclasses
import json
from typing import Any
from uuid import UUID

import pytest

from core.acceptance import MOST_IMAGE_BYTES, accept
from core.content import Message, dump
from core.conversation import Conversation
from core.digest import digest
from core.errors import ImageTooLarge, InvalidRequest, LatchkeyError, MessageTooLarge
from core.gallery import LEFT_OUT, MOST_BYTES, MOST_IMAGES
from core.house import House, build_house
from core.model.prompt import Prompt
from core.settings import Settings
from core.store.claims import Arrival
from dev.demo_model import DemoModel, Fault, Reply
from tests.bells import Deaf
from tests.conversations import answer, arrival, refusals, statuses
from tests.databases import run
from tests.images import document, gif, image, jpeg, png, webp

TEXT = {"type": "text", "text": "What is this?"}


def bringing(device: UUID, *blocks: dict[str, Any], **more: Any) -> Arrival:
    content = dump(accept(list(blocks), 10_000, 20))
    return dataclasses.replace(arrival(device, **more), content=content, body_digest=digest(content))


# ---- what is accepted


@pytest.mark.parametrize(
    "block",
    [
        image(),
        image(jpeg(8_000, 8_000), "image/jpeg"),
        image(gif(), "image/gif"),
        image(webp(), "image/webp"),
        document("Dear Ada,"),
        document("Dear Ada,", title="Letter"),
    ],
)
def test_an_attachment_comes_through_as_it_came(block: dict[str, Any]) -> None:
    assert accept([block], 100, 1) == [block]
    assert accept([TEXT, block], 100, 1) == [TEXT, block]


def test_the_fields_go_in_one_order_whatever_order_they_came_in() -> None:
    """So that a retry by another client is the same message."""
    there = image()
    turned = {"source": dict(reversed(there["source"].items())), "type": "image"}
    assert dump(accept([turned], 100, 1)) == dump([there])


WRONG: list[tuple[Any, str, str]] = [
    ({"type": "image"}, "message[1].source", "must be as in"),
    ({"type": "image", "source": {"type": "url", "url": "https://x"}}, "message[1].source", "not fetched"),
    ({"type": "image", "source": {"type": "file", "file_id": "x"}}, "message[1].source", "not fetched"),
    ({**image(), "cache_control": {"type": "ephemeral"}}, "message[1]", "must look like"),
    (image(media_type="image/bmp"), "message[1].source.media_type", "image/jpeg, image/png"),
    (image(media_type="image/gif"), "message[1].source.data", "is image/png, and media_type says image/gif"),
    (image(b"words"), "message[1].source.data", "no image that can be read"),
    (image(b""), "message[1].source.data", "no image that can be read"),
    (image(png()[:-20]), "message[1].source.data", "cut off"),
    (document(" "), "message[1].source.data", "is empty"),
    (document("x", title=" "), "message[1].title", "1 to 500"),
    (document("x", title="x" * 501), "message[1].title", "1 to 500"),
    (document("x", context="y"), "message[1]", "must look like"),
    (document("a\0b"), "message", "NUL"),
    (document("x", title="\0"), "message", "NUL"),
    ({"type": "document", "source": {"type": "base64"}}, "message[1].source", "must be as in"),
    ({"type": "video"}, "message[1]", "must look like"),
]


def with_data(data: Any) -> dict[str, Any]:
    there = image()
    return {**there, "source": {**there["source"], "data": data}}


@pytest.mark.parametrize(
    ("block", "field", "problem"),
    [
        *WRONG,
        (with_data("%%%"), "message[1].source.data", "not valid base64"),
        (with_data("YQ"), "message[1].source.data", "not valid base64"),
        (with_data("é"), "message[1].source.data", "not valid base64"),
        (with_data("data:image/png;base64,YQ=="), "message[1].source.data", "the base64 alone"),
        (with_data(7), "message[1].source.data", "must be a text"),
    ],
)
def test_what_the_api_would_refuse_is_refused_with_its_field(block: Any, field: str, problem: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        accept([TEXT, block], 1_000, 2)
    (found,) = caught.value.errors
    assert found.field == field
    assert problem in found.problem
    assert base64.b64encode(png()).decode()[:20] not in found.problem, "a refusal does not repeat the data"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (image(png(8_001, 1)), "8001 x 1 pixels; at most 8000 x 8000"),
        (with_data("A" * (MOST_IMAGE_BYTES + 4)), "10485764 bytes of base64; at most 10485760"),
    ],
)
def test_an_image_above_the_limits_is_too_large(block: Any, said: str) -> None:
    with pytest.raises(ImageTooLarge, match=said) as caught:
        accept([block], 100, 1)
    assert (caught.value.status, caught.value.code) == (413, "image_too_large")
    assert caught.value.detail.startswith("message[0].source.data")


def test_the_texts_of_a_message_count_and_its_images_do_not() -> None:
    big = image(png(extra=bytes(500)))
    assert accept([TEXT, big], 13, 1)
    with pytest.raises(MessageTooLarge, match="14 bytes; at most 13"):
        accept([TEXT, document("x")], 13)
    with pytest.raises(MessageTooLarge):
        accept([document("x", title="y" * 13)], 13)


def test_a_message_takes_so_many_images() -> None:
    assert len(accept([image()] * 3, 100, 3)) == 3
    for most in (2, 0):
        with pytest.raises(InvalidRequest, match=f"holds 3 images; at most {most}"):
            accept([image()] * 3, 100, most)


def test_an_image_alone_is_a_message_and_a_blank_text_beside_it_is_left_out() -> None:
    assert accept([{"type": "text", "text": " "}, image()], 100, 1) == [image()]


# ---- how a conversation goes on with them


@pytest.fixture
def house(settings: Settings) -> Any:
    built = build_house(settings)
    yield built
    built.close()


def images_sent(model: DemoModel, number: int = -1) -> list[int]:
    """Of each message sent: how many images."""
    messages = model.requests[number].body["messages"]
    return [sum(block["type"] == "image" for block in message["content"]) for message in messages]


def test_an_image_is_stored_and_sent_as_it_came(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    blocks = [image(jpeg(640, 480), "image/jpeg"), document("Dear Ada", title="Letter"), TEXT]
    assert answer(house, bringing(device, *blocks)).status == "completed"
    assert model.requests[-1].body["messages"] == [{"role": "user", "content": blocks}]
    ((stored,),) = run(database_url, "SELECT content FROM messages WHERE role = 'user'")
    assert stored == dump(blocks)
    assert answer(house, bringing(device, image())).status == "completed", "alone, it is a message"
    assert images_sent(model) == [1, 0, 1]
    assert refusals(model) == []


def test_a_retry_with_the_same_image_is_the_same_message_and_with_another_it_is_not(
    house: House, model: DemoModel, device: UUID
) -> None:
    first = answer(house, bringing(device, image(png(1, 1)), key="k"))
    assert answer(house, bringing(device, image(png(1, 1)), key="k")).id == first.id
    with pytest.raises(LatchkeyError) as caught:
        answer(house, bringing(device, image(png(2, 1)), key="k"))
    assert caught.value.code == "idempotency_key_reused"
    assert len(model.requests) == 1


def test_waiting_messages_with_images_are_merged(house: House, model: DemoModel, device: UUID) -> None:
    house.turns.wakeups = Deaf()
    answer(house, arrival(device, "first"), 0)
    waiting = answer(house, bringing(device, image(png(1, 1)), TEXT), 0)
    answer(house, bringing(device, image(png(2, 1)), on_busy="merge"), 0)
    answer(house, bringing(device, TEXT, image(png(3, 1)), on_busy="merge"), 0)
    assert waiting.session_id is not None
    house.turns.work(waiting.session_id)
    assert model.requests[-1].body["messages"][-1]["content"] == [
        image(png(1, 1)),
        TEXT,
        image(png(2, 1)),
        TEXT,
        image(png(3, 1)),
    ]
    assert refusals(model) == []


def test_an_image_that_the_model_cannot_read_does_not_spoil_the_conversation(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    """It has a head like an image, and the API says no: so it would to every message after it."""
    answer(house, arrival(device, "My name is Ada."))
    model.faults.add(Fault.status(400, message="Could not process image"))
    turn = answer(house, bringing(device, TEXT, image()))
    assert (turn.status, turn.error and turn.error["code"]) == ("failed", "image_rejected")
    later = answer(house, arrival(device, "What is my name?"))
    assert later.reply is not None
    assert "Ada" in later.reply
    assert images_sent(model) == [0, 0, 0]
    assert run(database_url, "SELECT count(*) FROM messages WHERE content LIKE '%image/png%'") == [(1,)], (
        "it is still there to be read"
    )


def test_an_image_that_the_model_has_answered_to_is_not_to_blame(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    answer(house, bringing(device, TEXT, image()))
    model.faults.add(Fault.status(400))
    answer(house, arrival(device))
    assert statuses(database_url)[-1] == ("failed", "model_rejected_request")
    answer(house, arrival(device))
    assert images_sent(model) == [1, 0, 0, 0]


# ---- how many are shown


def shown(conversation: Conversation) -> list[int]:
    return [
        sum(block["type"] == "image" for block in message["content"]) for message in conversation.ready("")
    ]


def test_the_oldest_of_many_are_left_out_many_at_once() -> None:
    conversation, changes, before = Conversation(), 0, 0
    for seq in range(1, 101):
        conversation.add(Message(seq, "user", [TEXT, image()]))
        assert 1 <= sum(shown(conversation)) <= MOST_IMAGES
        assert sum(shown(conversation)) == seq - conversation.images_left_out
        changes += conversation.images_left_out > before
        before = conversation.images_left_out
    assert changes == 8
    assert conversation.ready("")[0]["content"] == [TEXT, LEFT_OUT]
    assert shown(Conversation([Message(seq, "user", [TEXT, image()]) for seq in range(1, 101)])) == shown(
        conversation
    ), "as a process finds them that reads them all at once"


def test_too_many_bytes_are_left_out_as_well() -> None:
    big = {**image(), "source": {**image()["source"], "data": "A" * (MOST_BYTES // 4)}}
    conversation = Conversation([Message(seq, "user", [big]) for seq in range(1, 5)])
    assert shown(conversation) == [1, 1, 1, 1]
    conversation.add(Message(5, "user", [big]))
    assert shown(conversation) == [0, 0, 0, 1, 1]


def test_of_a_new_message_as_much_is_shown_as_can_be() -> None:
    conversation = Conversation([Message(seq, "user", [image()]) for seq in range(1, 6)])
    conversation.add(Message(6, "user", [image()] * 20))
    assert shown(conversation) == [0, 0, 0, 0, 0, 20]
    conversation.add(Message(7, "user", [image()] * 33))
    assert shown(conversation) == [0, 0, 0, 0, 0, 0, 20]


def test_thinking_from_before_images_were_left_out_is_not_sent_behind_what_is_left() -> None:
    conversation = Conversation([Message(1, "user", [image()] * 20)])
    prompt = Prompt("claude-test", "Be brief.", 100, True, conversation)
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    conversation.add(Message(2, "assistant", [thought, TEXT], prompt.prefix_digest))
    assert thought in prompt.render()["messages"][1]["content"]
    conversation.add(Message(3, "user", [image()]))
    assert thought not in dataclasses.replace(prompt).render()["messages"][1]["content"]


def test_a_long_conversation_of_photographs_is_never_refused(
    house: House, model: DemoModel, device: UUID
) -> None:
    """With thinking, which is signed for all that stands before it, and larger than many in one request may be."""
    manager = dataclasses.replace(house.turns.roster.manager, thinking=True)
    house.turns.roster = type(house.turns.roster).of(manager)
    for number in range(9):
        photographs = [image(jpeg(4_000 + number, 3_000), "image/jpeg") for _ in range(5)]
        assert answer(house, bringing(device, TEXT, *photographs)).status == "completed"
        if number == 4:
            house.turns.reception.memory.__init__()  # type: ignore[misc]  # as in a new process
    assert refusals(model) == []
    assert sum(images_sent(model)) <= MOST_IMAGES


def test_the_cached_prefix_is_read_with_images_in_it(house: House, model: DemoModel, device: UUID) -> None:
    model.replies.add(Reply("I see."), Reply("So do I."))
    answer(house, bringing(device, TEXT, image(png(2_000, 1_500))))
    usage = answer(house, arrival(device)).usage
    assert usage["cache_read_input_tokens"] > 1_000
    assert usage["input_tokens"] < 1_000
    assert json.dumps(model.requests[-1].body).count("image/png") == 1
