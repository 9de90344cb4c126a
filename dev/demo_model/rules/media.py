"""Images and documents: where they come from, whether they are what they say, how big they may be."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ..fields import Shape
from ..refusal import Refusal
from . import shape

MAX_IMAGE_BYTES = 5 * 1024 * 1024

_BASE64 = Shape.of("data media_type type")
_URL = Shape.of("type url")
_FILE = Shape.of("file_id type")
_IMAGE_SOURCES = {"base64": _BASE64, "url": _URL, "file": _FILE}
_DOCUMENT_SOURCES = {
    "base64": _BASE64,
    "text": _BASE64,
    "content": Shape.of("content type"),
    "url": _URL,
    "file": _FILE,
}
_MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def check_image(block: dict[str, Any], where: str) -> None:
    source = shape.obj(block["source"], f"{where}.source")
    kind = shape.tagged(source, _IMAGE_SOURCES, f"{where}.source")
    where += f".source.{kind}"
    if kind != "base64":
        _check_reference(kind, source, where)
        return
    declared = shape.one_of(source["media_type"], _MEDIA_TYPES, f"{where}.media_type")
    data = _decode(source["data"], f"{where}.data")
    if len(data) > MAX_IMAGE_BYTES:
        raise Refusal(f"{where}: image exceeds 5 MB maximum: {len(data)} bytes > {MAX_IMAGE_BYTES} bytes")
    seen = _sniff(data)
    if seen is None:
        raise Refusal(f"{where}.data: Could not process image")
    if seen != declared:
        raise Refusal(
            f"{where}.data: The image was specified using the {declared} media type, "
            f"but the image appears to be a {seen} image"
        )


def check_document(block: dict[str, Any], where: str) -> None:
    source = shape.obj(block["source"], f"{where}.source")
    kind = shape.tagged(source, _DOCUMENT_SOURCES, f"{where}.source")
    where += f".source.{kind}"
    if kind == "base64":
        shape.one_of(source["media_type"], ("application/pdf",), f"{where}.media_type")
        if not _decode(source["data"], f"{where}.data").startswith(b"%PDF-"):
            raise Refusal(f"{where}.data: The PDF specified was not valid.")
    elif kind == "text":
        shape.one_of(source["media_type"], ("text/plain",), f"{where}.media_type")
        shape.string(source["data"], f"{where}.data")
    elif kind != "content":
        _check_reference(kind, source, where)


def _check_reference(kind: str, source: dict[str, Any], where: str) -> None:
    if kind == "file":
        shape.string(source["file_id"], f"{where}.file_id")
    elif not shape.string(source["url"], f"{where}.url").startswith(("https://", "http://")):
        raise Refusal(f"{where}.url: Only HTTP and HTTPS URLs are supported")


def _decode(value: object, where: str) -> bytes:
    try:
        data = base64.b64decode(shape.string(value, where), validate=True)
    except (binascii.Error, ValueError) as broken:
        raise Refusal(f"{where}: invalid base64 data") from broken
    if not data:
        raise Refusal(f"{where}: data must be non-empty")
    return data


def _sniff(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None
