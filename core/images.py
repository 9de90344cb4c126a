"""What an image's first bytes say: its kind, and how wide and high it is. No imaging library: it would outweigh all else
that ships, and nothing here needs to see a pixel.
"""

import struct

# A JPEG's frame headers; C4, C8 and CC look like them and are tables.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length: TEM, RST0 to RST7, SOI.
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
# A photograph has some dozens before its frame; one that is made of nothing else would be read for a second.
_MOST_SEGMENTS = 10_000


class NotWhole(ValueError):
    """It begins like an image of that kind, and cannot be one."""


def kind_of(data: bytes) -> str | None:
    """The media type that the bytes are of, whatever was declared."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height in pixels; NotWhole for bytes that end too early to be read."""
    try:
        width, height = _READERS[kind_of(data) or ""](data)
    except (KeyError, IndexError, struct.error):
        raise NotWhole from None
    if not width or not height:
        raise NotWhole
    return width, height


def _png(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR" or b"IEND" not in data:
        raise NotWhole
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    # Phones put more behind the end of the picture (a thumbnail, a film), so the end is looked for, and not at the end.
    if b"\xff\xd9" not in data:
        raise NotWhole
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if data[at] != 0xFF:
            raise NotWhole
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    raise NotWhole


def _webp(data: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise NotWhole
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = struct.unpack_from("<I", data, 21)[0]
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    raise NotWhole


_READERS = {"image/png": _png, "image/gif": _gif, "image/jpeg": _jpeg, "image/webp": _webp}
