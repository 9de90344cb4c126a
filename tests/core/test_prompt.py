"""What is sent to the model is valid whatever is stored, and the standing part is the same byte for byte."""

from dataclasses import replace

from core.content import Message
from core.conversation import Conversation
from core.model.prompt import Prompt

PROMPT = Prompt(
    model="claude-test",
    system="Be brief.",
    max_tokens=100,
    thinking=False,
    conversation=Conversation([Message(1, "user", [{"type": "text", "text": "Hi"}])]),
)
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
TEXT = {"type": "text", "text": "Hello"}


def test_thinking_is_sent_only_behind_the_prefix_that_it_was_made_behind() -> None:
    said = Message(2, "assistant", [THOUGHT, TEXT], PROMPT.prefix_digest)
    same = replace(PROMPT, conversation=Conversation([said]))
    assert same.render()["messages"][0]["content"] == [THOUGHT, TEXT]
    for changed in (replace(same, system="Be long."), replace(same, model="claude-other")):
        assert changed.render()["messages"][0]["content"] == [TEXT]


def test_a_blank_text_of_the_model_is_kept_and_never_sent() -> None:
    said = (
        Message(2, "assistant", [{"type": "text", "text": " "}, TEXT], ""),
        Message(2, "assistant", [{"type": "text", "text": ""}], ""),
    )
    assert replace(PROMPT, conversation=Conversation(said)).render()["messages"] == [
        {"role": "assistant", "content": [TEXT]}
    ]


def test_the_longer_cache_mark_comes_first_and_nothing_of_it_is_in_the_messages() -> None:
    request = PROMPT.render()
    assert request["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert request["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in str(request["messages"])


def test_the_standing_part_does_not_depend_on_the_conversation() -> None:
    other = replace(PROMPT, conversation=Conversation())
    assert (other.render()["system"], other.prefix_digest) == (
        PROMPT.render()["system"],
        PROMPT.prefix_digest,
    )


def test_what_was_made_ready_grows_and_is_not_made_again() -> None:
    """A long conversation costs a warm process its new messages alone."""
    conversation = Conversation([Message(1, "user", [TEXT])])
    first = replace(PROMPT, conversation=conversation).render()["messages"]
    conversation.add(Message(2, "assistant", [TEXT], PROMPT.prefix_digest))
    second = replace(PROMPT, conversation=conversation).render()["messages"]
    assert [message["role"] for message in second] == ["user", "assistant"]
    assert second[0] is first[0]
    assert len(first) == 1


def test_an_agent_without_tools_can_follow_one_that_had_some() -> None:
    """The API refuses tool calls in a conversation that declares no tool."""
    called = Message(2, "assistant", [{"type": "tool_use", "id": "t", "name": "x", "input": {}}])
    request = replace(PROMPT, conversation=Conversation([called])).render()
    assert request["tools"]
    assert request["tool_choice"] == {"type": "none"}
    assert "tools" not in PROMPT.render()


def test_the_prefix_digest_covers_the_tools() -> None:
    with_tool = replace(PROMPT, tools=({"name": "x", "description": "", "input_schema": {"type": "object"}},))
    assert with_tool.prefix_digest != PROMPT.prefix_digest
