"""What an image counts as: by its width and height, as the real one does, and not by how many bytes it came in."""

from __future__ import annotations

import base64
from typing import Any

from core.images import size_of

_MOST_TOKENS = 1_600
_PIXELS_A_TOKEN = 750
_LONGEST_SIDE = 1_568


def tokens(block: dict[str, Any]) -> int:
    source = block["source"]
    if source["type"] != "base64":
        return _MOST_TOKENS
    width, height = size_of(base64.b64decode(source["data"]))
    # A larger one is made smaller before the model sees it.
    scale = min(1.0, _LONGEST_SIDE / max(width, height))
    return min(_MOST_TOKENS, max(1, round(width * scale * height * scale / _PIXELS_A_TOKEN)))
