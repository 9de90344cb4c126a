"""The request's top level: which fields it has, the model, limits, thinking and features behind a beta."""

from __future__ import annotations

from typing import Any

from ..fields import BETA_REQUEST, REQUEST, THINKING
from ..refusal import Refusal
from ..request import Request
from . import shape

# What a request may only carry when a beta header names it.
BEHIND_BETA = {
    "context_management": ("context-management", "compact"),
    "compaction": ("compact",),
    "mcp_servers": ("mcp-client",),
}


def check(request: Request) -> None:
    body = request.body
    _check_names(request)
    _check_model(body["model"])
    _check_limits(request)
    _check_thinking(request)
    _check_stop_sequences(body.get("stop_sequences", []))
    if "stream" in body:
        shape.boolean(body["stream"], "stream")
    for name in ("temperature", "top_p"):
        if name in body:
            shape.number(body[name], name, 0, 1)
    if "top_k" in body:
        shape.whole(body["top_k"], "top_k", 0)


def _check_names(request: Request) -> None:
    for name, betas in BEHIND_BETA.items():
        if name in request.body and not request.has_beta(*betas):
            raise Refusal(f"{name}: Extra inputs are not permitted")
    shape.fields(request.body, BETA_REQUEST if request.betas else REQUEST)


def _check_model(model: object) -> None:
    name = shape.string(model, "model")
    if not name:
        raise Refusal("model: String should have at least 1 character")
    if not name.startswith("claude-"):
        raise Refusal(f"model: {name}", 404)


def _check_limits(request: Request) -> None:
    body = request.body
    if request.counts_only:
        for name in ("max_tokens", "stream"):
            if name in body:
                raise Refusal(f"{name}: Extra inputs are not permitted")
        return
    if "max_tokens" not in body:
        raise Refusal("max_tokens: Field required")
    shape.whole(body["max_tokens"], "max_tokens", 1)


def _check_thinking(request: Request) -> None:
    body = request.body
    if "thinking" not in body:
        return
    thinking = shape.obj(body["thinking"], "thinking")
    kind = thinking.get("type")
    if "block_binding" in thinking:
        # A beta of the real API: what to do with a block whose prefix changed. Here such a block is always an error.
        raise Refusal(f"thinking.{kind}.block_binding: the demo model does not implement this")
    shape.tagged(thinking, THINKING, "thinking")
    if thinking.get("display") is not None:
        choices = ("summarized", "omitted", "updates") if request.betas else ("summarized", "omitted")
        shape.one_of(thinking["display"], choices, f"thinking.{kind}.display")
    if kind == "enabled":
        _check_budget(thinking["budget_tokens"], body.get("max_tokens"))
    if kind in ("enabled", "adaptive"):
        _check_thinking_company(body)


def _check_budget(budget: object, max_tokens: Any) -> None:
    tokens = shape.whole(budget, "thinking.enabled.budget_tokens", 1024)
    if max_tokens is not None and tokens >= max_tokens:
        raise Refusal("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_thinking_company(body: dict[str, Any]) -> None:
    if body.get("temperature", 1) != 1:
        raise Refusal("`temperature` may only be set to 1 when thinking is enabled.")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        raise Refusal("Thinking may not be enabled when tool_choice forces tool use.")


def _check_stop_sequences(value: object) -> None:
    for index, sequence in enumerate(shape.array(value, "stop_sequences")):
        if not shape.string(sequence, f"stop_sequences.{index}").strip():
            raise Refusal("stop_sequences: each stop sequence must contain non-whitespace")
