"""What a newcomer reads."""

from typing import Any

import pytest

from dev.demo_model.arguments import fill
from dev.demo_model.memory import Memory, given_name
from dev.demo_model.persona import speak
from dev.demo_model.tool_call import choose
from tests.demo_model.raw import TOOL, ask, tool_result, tool_use, user

Json = dict[str, Any]


def talk(*lines: str) -> list[str]:
    """The answers to each line, in one conversation."""
    said: list[str] = []
    for line in lines:
        said += [line, speak(ask(*said, line)).content[-1]["text"]]
    return said[1::2]


def test_a_first_conversation_makes_sense() -> None:
    hello, name, whose, joke = talk("Hi", "My name is Ada.", "What is my name?", "Tell me a joke")
    assert hello.startswith("Hello!")
    assert 'your first message in this conversation: "Hi".' in hello
    assert name.startswith("Nice to meet you, Ada.")
    assert whose.startswith("Your name is Ada:")
    assert "walks into a bar" in joke
    assert 'I have seen 4 messages of yours in this conversation: just now "Tell me a joke", ' in joke
    assert 'and first of all "Hi".' in joke
    for answer in (hello, name, whose, joke):
        assert "I am the demo model, not Claude" in answer
        assert "Set ANTHROPIC_API_KEY" in answer


def test_every_answer_is_short() -> None:
    long = "Supercalifragilistic " * 100
    for answer in talk(f"My name is {'A' * 300}", long, "x" * 5000, "What is my name?", "Tell me a joke"):
        assert len(answer) <= 420


def test_emoji_and_right_to_left_text_are_quoted_as_they_came() -> None:
    assert '"שלום 👩‍👩‍👧"' in talk("שלום 👩‍👩‍👧")[0]


def test_a_name_that_was_never_told_is_not_known() -> None:
    assert talk("What's my name?")[0].startswith("You have not told me your name")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("My name is Ada Lovelace and I count.", "Ada Lovelace"),
        ("hi, my name is ada", "ada"),
        ("I am Ada, hello", "Ada"),
        ("I'm Ada", "Ada"),
        ("Please call me Ada.", "Ada"),
        ("My name's O’Neil", "O’Neil"),
        ("my name is דנה", "דנה"),
        ("I am tired", None),
        ("I AM TIRED", None),
        ("call me tomorrow", None),
        ("My name is what?", None),
    ],
)
def test_a_name_is_heard_where_one_was_given(said: str, name: str | None) -> None:
    assert given_name(said) == name


def test_the_latest_name_counts() -> None:
    assert talk("I am Ada", "Call me Grace", "Who am I?")[2].startswith("Your name is Grace")


def test_an_image_alone_is_answered_too() -> None:
    answer = speak(ask(user({"type": "image", "source": {}}))).content[0]["text"]
    assert "You sent no text" in answer


def test_several_results_are_all_told() -> None:
    calls = {"role": "assistant", "content": [tool_use(), tool_use("toolu_2", name="find")]}
    results = user(tool_result("toolu_2", [{"type": "text", "text": "a\n b"}]), tool_result(content=""))
    told = speak(ask("Hi", calls, results)).content[0]["text"]
    assert told == 'The tool find returned: "a b". The tool get_weather returned and gave no text.'


OTHER: Json = {
    "name": "bookRoom",
    "description": "Reserve a room in a hotel",
    "input_schema": {"type": "object"},
}


@pytest.mark.parametrize(
    ("said", "called"),
    [
        ("What is the weather in Oslo?", "get_weather"),
        ("WEATHER!", "get_weather"),
        ("I want a book", "bookRoom"),
        ("Reserve something in a hotel", "bookRoom"),
        ("Is there a hotel?", None),
        ("Which city? Say.", None),
        ("The weather in that room", "get_weather"),
        ("Tell me a joke", None),
        ("weathering the rooms", None),
    ],
)
def test_a_tool_is_called_when_enough_words_meet(said: str, called: str | None) -> None:
    tool = choose(ask(said, tools=[TOOL, OTHER]), said)
    assert (tool and tool["name"]) == called


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "none"}, None),
        ({"type": "any"}, "get_weather"),
        ({"type": "tool", "name": "bookRoom"}, "bookRoom"),
        ({"type": "auto"}, None),
    ],
)
def test_the_tool_choice_is_kept(choice: Json, called: str | None) -> None:
    content = speak(ask("Hello", tools=[TOOL, OTHER], tool_choice=choice)).content
    assert content[-1].get("name") == called


HAND_OVER: Json = {
    "name": "hand_over",
    "description": "Hands the conversation over to a colleague, who goes on with it at once.\n\n"
    "- kitchen: Orders of food; can change an order.\n- night_porter: Keys and rooms: opens a room.",
    "input_schema": {
        "type": "object",
        "properties": {
            "to": {"type": "string", "enum": ["kitchen", "night_porter"]},
            "reason": {"type": "string"},
        },
        "required": ["to", "reason"],
    },
}
HANDED_OVER = user(tool_result(content="The conversation is yours."))


@pytest.mark.parametrize(
    ("said", "to"),
    [
        ("I lost my keys.", "night_porter"),
        ("Change the order, and bring the food up to my room.", "kitchen"),
        ("I want the night porter.", "night_porter"),
        ("Go on with the conversation at once, colleague.", None),
        ("Hello, my name is Ada.", None),
        ("What is my name?", None),
    ],
)
def test_a_choice_that_a_tool_lists_is_made_by_what_stands_behind_it(said: str, to: str | None) -> None:
    content = speak(ask(said, tools=[HAND_OVER, OTHER])).content
    assert (content[-1].get("name"), content[-1].get("input", {}).get("to")) == (to and "hand_over", to)


def test_a_tool_that_fits_better_than_any_choice_is_called() -> None:
    content = speak(ask("Book a hotel room", tools=[HAND_OVER, OTHER])).content
    assert content[-1]["name"] == "bookRoom"


def handed_over(said: str, *tools: Json, result: Json = HANDED_OVER) -> list[Json]:
    calls = {
        "role": "assistant",
        "content": [tool_use(name="hand_over", input={"to": "kitchen", "reason": said})],
    }
    return speak(ask(said, calls, result, tools=list(tools))).content


def test_who_was_handed_a_conversation_acts_on_what_was_said() -> None:
    *_, called = handed_over("What is the weather in Oslo? My keys are wet.", TOOL, HAND_OVER)
    assert (called["name"], called["input"]) == ("get_weather", {"city": "Oslo"})


def test_who_was_handed_a_conversation_does_not_hand_it_over_again() -> None:
    (said,) = handed_over("I lost my keys.", TOOL, HAND_OVER)
    assert said["text"] == 'The tool hand_over returned: "The conversation is yours.".'


def test_after_a_handover_and_a_call_the_result_is_told() -> None:
    first = {"role": "assistant", "content": [tool_use(name="hand_over")]}
    second = {"role": "assistant", "content": [tool_use("toolu_2")]}
    body = ask("Weather?", first, HANDED_OVER, second, user(tool_result("toolu_2")), tools=[TOOL, HAND_OVER])
    assert [block["type"] for block in speak(body).content] == ["text"]


def test_a_handover_that_failed_is_told() -> None:
    refused = user(tool_result(content="Nobody is there.", is_error=True))
    (said,) = handed_over("What is the weather in Oslo?", TOOL, HAND_OVER, result=refused)
    assert "reported an error" in said["text"]


def filled(said: str, properties: Json, *required: str, **root: Any) -> Json:
    schema = {"type": "object", "properties": properties, "required": list(required), **root}
    return fill(schema, Memory.of(ask("My name is Ada.", "Hello", said)))


STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("said", "name", "schema", "value"),
    [
        ("Rain in New York?", "city", STRING, "New York"),
        ("On 2026-03-04 at noon", "start_date", STRING, "2026-03-04"),
        ("Book it for tomorrow", "day", STRING, "tomorrow"),
        ("At 14:30 please", "startTime", STRING, "14:30"),
        ("Who?", "name", STRING, "Ada"),
        ('Write "buy milk" down', "note", STRING, "buy milk"),
        ("Note this", "note", STRING, "Note this"),
        ("With doctor Mary Ann, please", "doctor", STRING, "Mary Ann"),
        ("With a doctor, please", "doctor", STRING, "With a doctor, please"),
        ("Mail ada@example.org.", "email", STRING, "ada@example.org"),
        ("See https://example.org/a.", "url", STRING, "https://example.org/a"),
        ("Today", "at", {"type": "string", "format": "date-time"}, "2026-01-01T12:00:00Z"),
        ("Make it Dark now", "theme", {"enum": ["light", "dark"]}, "dark"),
        ("Make it nice", "theme", {"enum": ["light", "dark"]}, "light"),
        ("For 3 people", "people", {"type": "integer"}, 3),
        ("At -2.5 degrees", "degrees", {"type": "number"}, -2.5),
        ("On 2026-03-04", "people", {"type": "integer"}, 1),
        ("For 900", "people", {"type": "integer", "maximum": 10, "minimum": 2}, 2),
        ("Go", "sure", {"type": "boolean"}, True),
        ("Go", "list", {"type": "array", "items": STRING, "minItems": 1}, ["Go"]),
        ("Go", "list", {"type": "array", "items": STRING}, []),
        ("Go", "kind", {"const": "x"}, "x"),
        ("Go", "none", {"type": "null"}, None),
        ("For 3", "n", {"anyOf": [{"type": "null"}, {"type": "integer"}]}, 3),
        ("Longer", "code", {"type": "string", "maxLength": 4}, "Long"),
        ("Go", "deep", {"type": "object", "properties": {"a": STRING, "b": STRING}, "required": ["a"]}, {"a": "Go"}),
    ],
)  # fmt: skip
def test_a_required_argument_is_read_from_the_words_or_is_the_least(
    said: str, name: str, schema: Json, value: Any
) -> None:
    assert filled(said, {name: schema}, name) == {name: value}


def test_an_optional_argument_is_filled_only_from_the_words() -> None:
    properties = {"city": STRING, "date": STRING, "count": {"type": "integer"}, "sure": {"type": "boolean"}}
    assert filled("Rain in Oslo tomorrow?", properties, "city") == {"city": "Oslo", "date": "tomorrow"}


def test_each_number_and_quoted_text_is_used_once() -> None:
    number = {"type": "number"}
    assert filled("Add 2 and 3.5", {"a": number, "b": number}, "a", "b") == {"a": 2, "b": 3.5}
    said = "Rename 'old one' to 'new one'"
    assert filled(said, {"x": STRING, "y": STRING}, "x", "y") == {"x": "old one", "y": "new one"}


def test_references_are_followed_and_circles_end() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "required": ["next"]}
    value = filled("Go", {"root": {"$ref": "#/$defs/Node"}}, "root", **{"$defs": {"Node": node}})
    assert "next" in value["root"]
