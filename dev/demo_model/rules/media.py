"""Images and documents: where they come from, whether they are what they say, how big they may be."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from core.images import NotWhole, kind_of, size_of

from ..fields import Shape
from ..refusal import Refusal
from . import shape

# Of its base64; the sides in pixels, and those of each image in a request of many.
MAX_IMAGE_BYTES = 10 * 1024 * 1024
MAX_SIDE = 8_000
MAX_SIDE_OF_MANY = 2_000
MANY_IMAGES = 20
# 600 for models of a longer context: a product that keeps to this keeps to both.
MAX_IMAGES = 100

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
    size = len(shape.string(source["data"], f"{where}.data"))
    if size > MAX_IMAGE_BYTES:
        raise Refusal(f"{where}: image exceeds 10 MB maximum: {size} bytes > {MAX_IMAGE_BYTES} bytes")
    data = _decode(source["data"], f"{where}.data")
    seen = kind_of(data)
    if seen is None:
        raise Refusal(f"{where}.data: Could not process image")
    if seen != declared:
        raise Refusal(
            f"{where}.data: The image was specified using the {declared} media type, "
            f"but the image appears to be a {seen} image"
        )
    if max(_size(data, where)) > MAX_SIDE:
        raise Refusal(
            f"{where}.data: At least one of the image dimensions exceed max allowed size: {MAX_SIDE} pixels"
        )


def check_together(images: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """All images of a request, each with its place."""
    if len(images) > MAX_IMAGES:
        raise Refusal(f"Too many images and documents: {len(images)} + 0 > {MAX_IMAGES}")
    if len(images) <= MANY_IMAGES:
        return
    for where, block in images:
        source = block["source"]
        if (
            source["type"] == "base64"
            and max(_size(base64.b64decode(source["data"]), where)) > MAX_SIDE_OF_MANY
        ):
            raise Refusal(
                f"{where}.image.source.base64.data: At least one of the image dimensions exceed max allowed size "
                f"for many-image requests: {MAX_SIDE_OF_MANY} pixels"
            )


def _size(data: bytes, where: str) -> tuple[int, int]:
    try:
        return size_of(data)
    except NotWhole as broken:
        raise Refusal(f"{where}.data: Could not process image") from broken


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
