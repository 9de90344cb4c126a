"""Images for tests: whole ones that any reader takes, as small as can be, of every kind and of any size."""

import base64
import struct
import zlib
from typing import Any


def png(width: int = 1, height: int = 1, extra: bytes = b"") -> bytes:
    """One that can be seen: every pixel of it is there."""
    rows = (b"\0" + bytes(-(-width // 8))) * height
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tEXt", b"x\0" + extra), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def gif(width: int = 1, height: int = 1) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + b"\x3b"


def jpeg(width: int = 1, height: int = 1, *, frame: int = 0xC0, before: bytes = b"") -> bytes:
    app0 = b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0\1\1\0\0\1\0\1\0\0"
    table = b"\xff\xc4" + struct.pack(">H", 4) + b"\0\0"
    head = b"\xff" + bytes([frame]) + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8" + app0 + before + table + b"\xff" + head + b"\xff\xda\0\2\0\xff\xd9 and a film"


def webp(width: int = 1, height: int = 1, kind: str = "VP8 ") -> bytes:
    match kind:
        case "VP8X":
            body = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        case "VP8L":
            body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)
        case _:
            body = bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", width, height)
    chunk = kind.encode() + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def image(data: bytes | None = None, media_type: str = "image/png") -> dict[str, Any]:
    """A block of a message."""
    encoded = base64.b64encode(png() if data is None else data).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": encoded}}


def document(data: str, **more: str) -> dict[str, Any]:
    source = {"type": "text", "media_type": "text/plain", "data": data}
    return {"type": "document", "source": source, **more}
