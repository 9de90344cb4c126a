"""The names that the demo model takes are the names that the installed SDK can send."""

import re
import typing
from typing import Any

import pytest
from anthropic.types import ThinkingConfigParam, ToolChoiceParam, ToolUnionParam, message_create_params
from anthropic.types.beta import BetaToolUnionParam
from anthropic.types.beta import message_create_params as beta_create_params
from anthropic.types.beta.beta_content_block_param import BetaContentBlockParam
from anthropic.types.content_block_param import ContentBlockParam

from dev.demo_model import fields
from dev.demo_model.fields import Shape

# What the SDK's methods take as arguments but send as headers, and what only the server's own checks ask for.
HEADERS = {"user_profile_id", "workspace_id", "betas"}


def annotations(param: Any) -> dict[str, str]:
    return {
        name: hint.__forward_arg__ if isinstance(hint, typing.ForwardRef) else str(hint)
        for name, hint in param.__annotations__.items()
    }


def shape_of(param: Any) -> Shape:
    hints = annotations(param)
    required = sorted(name for name, hint in hints.items() if "Required[" in hint)
    if not required:  # a TypedDict in functional form, for names such as "from"
        required = sorted(param.__required_keys__)
    nullable = frozenset(name for name, hint in hints.items() if hint.startswith("Optional["))
    return Shape(tuple(required), frozenset(hints), nullable)


def tag_of(param: Any) -> str:
    found = re.search(r"Literal\[['\"]([^'\"]+)", annotations(param)["type"])
    assert found
    return found[1]


def members(union: Any) -> dict[str, Any]:
    typed = [param for param in typing.get_args(union) if hasattr(param, "__required_keys__")]
    return {tag_of(param): param for param in typed}


def assert_same(ours: Shape, param: Any) -> None:
    theirs = shape_of(param)
    assert sorted(ours.required) == sorted(theirs.required)
    assert ours.accepted == theirs.accepted
    assert ours.nullable == theirs.nullable


@pytest.mark.parametrize(
    ("ours", "union"),
    [
        (fields.BLOCKS, ContentBlockParam),
        ({**fields.BLOCKS, **fields.BETA_BLOCKS}, BetaContentBlockParam),
        ({"custom": fields.CUSTOM_TOOL, **fields.TOOLS}, ToolUnionParam),
        ({"custom": fields.CUSTOM_TOOL, **fields.TOOLS, **fields.BETA_TOOLS}, BetaToolUnionParam),
        (fields.THINKING, ThinkingConfigParam),
        (fields.TOOL_CHOICE, ToolChoiceParam),
    ],
    ids=["blocks", "beta blocks", "tools", "beta tools", "thinking", "tool choice"],
)
def test_every_type_of_a_union_has_the_fields_of_the_sdk(ours: dict[str, Shape], union: Any) -> None:
    theirs = members(union)
    assert set(ours) == set(theirs)
    for tag, shape in ours.items():
        assert_same(shape, theirs[tag])


@pytest.mark.parametrize(
    ("ours", "params"),
    [(fields.REQUEST, message_create_params), (fields.BETA_REQUEST, beta_create_params)],
    ids=["stable", "beta"],
)
def test_the_request_has_the_fields_of_the_sdk_and_the_sampling_ones(ours: Shape, params: Any) -> None:
    theirs: set[str] = set()
    for name in ("MessageCreateParamsBase", "MessageCreateParamsStreaming"):
        theirs |= set(getattr(params, name).__annotations__)
    assert ours.accepted == (theirs - HEADERS) | set(fields.SAMPLING.split())
