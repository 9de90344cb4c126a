"""What a tool returned, as the model reads it: a text, no longer than the tool may say."""

import json

# The model is sent no empty text.
_NOTHING = "(The tool returned nothing.)"


class NotSendable(Exception):
    """A tool returned what is neither a text nor a JSON value."""


def readable(returned: object, most_characters: int) -> str:
    text = _as_text(returned)
    return _cut(text, most_characters) if text.strip() else _NOTHING


def _as_text(returned: object) -> str:
    if returned is None:
        return ""
    if isinstance(returned, str):
        return returned
    try:
        return json.dumps(returned, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        # What json says of it may quote what it holds.
        raise NotSendable(f"returned {type(returned).__name__}; accepted: a text, or a JSON value") from None


def _cut(text: str, most: int) -> str:
    """No more than so many characters, and a sentence that says so."""
    if len(text) <= most:
        return text
    # Two lone surrogates in a row are one character once they are sent.
    kept = most - 1 if _is_high(text[most - 1]) and _is_low(text[most]) else most
    return f"{text[:kept]}\n\n(This result was cut: it has {len(text)} characters, of which these are the first {kept}.)"


def _is_high(character: str) -> bool:
    return "\ud800" <= character <= "\udbff"


def _is_low(character: str) -> bool:
    return "\udc00" <= character <= "\udfff"
