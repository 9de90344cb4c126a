"""The names that the API takes, as the parameter types of the `anthropic` SDK list them.

Written down, because the server runs without the SDK; a test compares every line with the installed one. A name
that ends in "?" may also be null.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """Which fields an object must have, may have, and may have as null."""

    required: tuple[str, ...]
    accepted: frozenset[str]
    nullable: frozenset[str]

    @classmethod
    def of(cls, required: str, optional: str = "") -> Shape:
        names = optional.split()
        bare = [name.rstrip("?") for name in names]
        nullable = frozenset(name[:-1] for name in names if name.endswith("?"))
        return cls(tuple(required.split()), frozenset([*required.split(), *bare]), nullable)


# The SDK dropped the sampling parameters (newer models ignore them); the HTTP API still reads them.
SAMPLING = "temperature top_k top_p"

REQUEST = Shape.of(
    "model messages",
    "cache_control? container? diagnostics? inference_geo? max_tokens metadata output_config service_tier "
    "speed? stop_sequences stream system thinking tool_choice tools " + SAMPLING,
)
BETA_REQUEST = Shape.of(
    "model messages",
    "billing_policy? cache_control? compaction? container? context_management? diagnostics? "
    "fallback_credit_token? fallbacks? inference_geo? max_tokens mcp_servers metadata output_config "
    "service_tier speed? stop_sequences stream system thinking thread? tool_choice tools " + SAMPLING,
)
CACHE_CONTROL = Shape.of("type", "ttl")
MESSAGE = Shape.of("role content")
BETA_SYSTEM_MESSAGE = Shape.of("role", "clear_at? content output_config?")
MCP_SERVER = Shape.of("name type url", "authorization_token? tool_configuration?")

THINKING = {
    "enabled": Shape.of("budget_tokens type", "display?"),
    "adaptive": Shape.of("type", "display?"),
    "between_tools": Shape.of("type"),
    "disabled": Shape.of("type"),
}
TOOL_CHOICE = {
    "auto": Shape.of("type", "disable_parallel_tool_use"),
    "any": Shape.of("type", "disable_parallel_tool_use"),
    "tool": Shape.of("name type", "disable_parallel_tool_use"),
    "none": Shape.of("type"),
}

_RESULT = Shape.of("content tool_use_id type", "cache_control?")
_CALLED_RESULT = Shape.of("content tool_use_id type", "cache_control? caller")

BLOCKS = {
    "text": Shape.of("text type", "cache_control? citations?"),
    "image": Shape.of("source type", "cache_control? transformations?"),
    "document": Shape.of("source type", "cache_control? citations? context? title?"),
    "search_result": Shape.of("content source title type", "cache_control? citations"),
    "thinking": Shape.of("signature thinking type"),
    "redacted_thinking": Shape.of("data type"),
    "tool_use": Shape.of("id input name type", "cache_control? caller toolset_name?"),
    "tool_result": Shape.of("tool_use_id type", "cache_control? content is_error toolset_name?"),
    "server_tool_use": Shape.of("id input name type", "cache_control? caller"),
    "web_search_tool_result": _CALLED_RESULT,
    "web_fetch_tool_result": _CALLED_RESULT,
    "code_execution_tool_result": _RESULT,
    "bash_code_execution_tool_result": _RESULT,
    "text_editor_code_execution_tool_result": _RESULT,
    "tool_search_tool_result": _RESULT,
    "container_upload": Shape.of("file_id type", "cache_control?"),
}
BETA_BLOCKS = {
    "advisor_tool_result": _RESULT,
    "mcp_tool_use": Shape.of("id input name server_name type", "cache_control?"),
    "mcp_tool_result": Shape.of("tool_use_id type", "cache_control? content is_error"),
    "compaction": Shape.of("type", "cache_control? content? encrypted_content? signature? tool_changes?"),
    "tool_addition": Shape.of("tool type", "cache_control?"),
    "tool_removal": Shape.of("tool type", "cache_control?"),
    "mcp_tool_listing": Shape.of("mcp_server_name tools type"),
    "fallback": Shape.of("from to type", "trigger"),
}
# What a tool_result's content may hold besides text, image, document and search_result.
RESULT_CONTENT = {
    "tool_reference": Shape.of("tool_name type", "cache_control?"),
    "browser_state": Shape.of("tabs type", "cache_control? state_changes?"),
}

CUSTOM_TOOL = Shape.of(
    "input_schema name",
    "allowed_callers cache_control? defer_loading description eager_input_streaming? input_examples strict type?",
)
_TOOLSET = Shape.of("type", "cache_control? configs?")


def _server_tool(optional: str = "", required: str = "") -> Shape:
    return Shape.of(
        f"name type {required}", f"allowed_callers cache_control? defer_loading strict {optional}"
    )


_SEARCH = "allowed_domains? blocked_domains? max_uses? user_location?"
_FETCH = "allowed_domains? blocked_domains? citations? max_content_tokens? max_uses? url_sources?"
_SCREEN = "display_height_px display_width_px"

TOOLS = {
    "bash_20250124": _server_tool("input_examples"),
    "code_execution_20250522": _server_tool(),
    "code_execution_20250825": _server_tool(),
    "code_execution_20260120": _server_tool(),
    "code_execution_20260521": _server_tool(),
    "browser_toolset_20260801": _TOOLSET,
    "memory_20250818": _server_tool("input_examples"),
    "computer_toolset_20260801": _TOOLSET,
    "text_editor_20250124": _server_tool("input_examples"),
    "text_editor_20250429": _server_tool("input_examples"),
    "text_editor_20250728": _server_tool("input_examples max_characters?"),
    "web_search_20250305": _server_tool(_SEARCH),
    "web_search_20260209": _server_tool(_SEARCH),
    "web_search_20260318": _server_tool(_SEARCH + " response_inclusion"),
    "web_fetch_20250910": _server_tool(_FETCH),
    "web_fetch_20260209": _server_tool(_FETCH),
    "web_fetch_20260309": _server_tool(_FETCH + " use_cache"),
    "web_fetch_20260318": _server_tool(_FETCH + " response_inclusion use_cache"),
    "tool_search_tool_bm25_20251119": _server_tool(),
    "tool_search_tool_regex_20251119": _server_tool(),
}
BETA_TOOLS = {
    "bash_20241022": _server_tool("input_examples"),
    "computer_20241022": _server_tool("display_number? input_examples", _SCREEN),
    "computer_20250124": _server_tool("display_number? input_examples", _SCREEN),
    "computer_20251124": _server_tool("display_number? enable_zoom input_examples", _SCREEN),
    "text_editor_20241022": _server_tool("input_examples"),
    "advisor_20260301": _server_tool("caching? max_tokens? max_uses?", "model"),
    "mcp_toolset": Shape.of("mcp_server_name type", "cache_control? configs? default_config tools?"),
}
