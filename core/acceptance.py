"""Acceptance: a client's message as blocks that the model's API takes, or a clear refusal before anything is stored.

What the API would refuse later must not get in: it would stand in the history, and be refused with every message after it.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from core.content import Block, Blocks, says_something
from core.errors import FieldProblem, ImageTooLarge, InvalidRequest, MessageTooLarge
from core.images import NotWhole, kind_of, size_of

# The API's own limits, as platform.claude.com/docs/en/build-with-claude/vision gives them.
MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
MOST_IMAGE_BYTES = 10 * 1024 * 1024  # of its base64
MOST_PIXELS = 8_000  # a side
LONGEST_TITLE = 500

_TEXT = '{"type": "text", "text": "..."}'
_IMAGE = '{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "..."}}'
_DOCUMENT = '{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "..."}}'
_NO_ADDRESS = (
    "must hold the data itself, as base64: an address is not fetched, as what is behind it may change, and would be "
    "fetched for whoever names it"
)


def accept(message: object, max_bytes: int, max_images: int = 0) -> Blocks:
    blocks = _as_blocks(message)
    texts = list(_texts(blocks))
    images = sum(block["type"] == "image" for block in blocks)
    if images > max_images:
        raise _wrong(f"holds {images} images; at most {max_images} are taken")
    if not images and not any(map(str.strip, texts)):
        raise _wrong("is empty; send at least one character that can be seen")
    if any("\0" in text for text in texts):
        raise _wrong("holds a NUL character (\\u0000), which cannot be part of a text")
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    if size > max_bytes:
        raise MessageTooLarge(
            f"The message has {size} bytes; at most {max_bytes} are taken. Nothing was stored."
        )
    return [block for block in blocks if says_something(block)]


def _as_blocks(message: object) -> Blocks:
    if isinstance(message, str):
        return [{"type": "text", "text": message}]
    if not isinstance(message, list):
        raise _wrong("must be a text, or a list of blocks")
    return [_block(block, f"message[{number}]") for number, block in enumerate(message)]


def _block(given: object, field: str) -> Block:
    """With its fields in the API's order and none beside them."""
    block = given if isinstance(given, dict) else {}
    match block.get("type"):
        case "text":
            return _text(block, field)
        case "image":
            return _image(block, field)
        case "document":
            return _document(block, field)
    raise _wrong(f"must look like {_TEXT}, {_IMAGE} or {_DOCUMENT}", field)


def _text(block: Block, field: str) -> Block:
    if block.keys() != {"type", "text"}:
        raise _wrong(f"must look like {_TEXT}", field)
    return {"type": "text", "text": _string(block["text"], f"{field}.text")}


def _image(block: Block, field: str) -> Block:
    source = _source(block, field, "base64", _IMAGE)
    if block.keys() != {"type", "source"}:
        raise _wrong(f"must look like {_IMAGE}", field)
    if source["media_type"] not in MEDIA_TYPES:
        raise _wrong(f"must be one of: {', '.join(MEDIA_TYPES)}", f"{field}.source.media_type")
    _check_image(source, f"{field}.source.data")
    return {"type": "image", "source": source}


def _document(block: Block, field: str) -> Block:
    source = _source(block, field, "text", _DOCUMENT)
    if not {"type", "source"} <= block.keys() <= {"type", "source", "title"}:
        raise _wrong(f"must look like {_DOCUMENT}, with or without a `title`", field)
    if source["media_type"] != "text/plain":
        raise _wrong("must be text/plain", f"{field}.source.media_type")
    if not source["data"].strip():
        raise _wrong("is empty", f"{field}.source.data")
    document = {"type": "document", "source": source}
    if "title" in block:
        title = _string(block["title"], f"{field}.title")
        if not title.strip() or len(title) > LONGEST_TITLE:
            raise _wrong(f"must have 1 to {LONGEST_TITLE} characters", f"{field}.title")
        document["title"] = title
    return document


def _source(block: Block, field: str, kind: str, like: str) -> Block:
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") in ("url", "file"):
        raise _wrong(_NO_ADDRESS, f"{field}.source")
    if (
        not isinstance(source, dict)
        or source.keys() != {"type", "media_type", "data"}
        or source["type"] != kind
    ):
        raise _wrong(f"must be as in {like}", f"{field}.source")
    return {
        "type": kind,
        "media_type": _string(source["media_type"], f"{field}.source.media_type"),
        "data": _string(source["data"], f"{field}.source.data"),
    }


def _check_image(source: Block, field: str) -> None:
    if len(source["data"]) > MOST_IMAGE_BYTES:
        raise ImageTooLarge(
            f"{field} has {len(source['data'])} bytes of base64; at most {MOST_IMAGE_BYTES} are taken. Nothing was stored."
        )
    data = _decoded(source["data"], field)
    kind = kind_of(data)
    if kind != source["media_type"]:
        raise _wrong(
            f"is {kind or 'no image that can be read'}, and media_type says {source['media_type']}", field
        )
    try:
        width, height = size_of(data)
    except NotWhole:
        raise _wrong("is an image that was cut off or is damaged", field) from None
    if max(width, height) > MOST_PIXELS:
        raise ImageTooLarge(
            f"{field} has {width} x {height} pixels; at most {MOST_PIXELS} x {MOST_PIXELS} are taken. Nothing was stored."
        )


def _decoded(data: str, field: str) -> bytes:
    if data.startswith("data:"):
        raise _wrong("must be the base64 alone, without `data:...;base64,` before it", field)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong("is not valid base64", field) from None


def _texts(blocks: Blocks) -> Iterator[str]:
    """All that counts towards the size of a message, and must be text."""
    for block in blocks:
        if block["type"] == "text":
            yield block["text"]
        elif block["type"] == "document":
            yield from (block["source"]["data"], block.get("title", ""))


def _string(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise _wrong("must be a text", field)
    return value


def _wrong(problem: str, field: str = "message") -> InvalidRequest:
    return InvalidRequest(errors=(FieldProblem(field, problem),))
