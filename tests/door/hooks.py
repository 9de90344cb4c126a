"""What schemathesis cannot know of our calls: how texts look that only we make."""

import base64
import re
from typing import Any

import schemathesis
from hypothesis import strategies as st

from tests import images

_IDS = st.uuids().map(str)
_SECRETS = st.text("ABCDEFGHIJabcdefghij0123456789-_", min_size=43, max_size=43)
_TAGS = st.text("0123456789abcdef", min_size=32, max_size=32).map('"{}"'.format)

schemathesis.openapi.format("share-link", st.tuples(_IDS, _SECRETS).map(".".join))
schemathesis.openapi.format(
    "session-version", st.tuples(_IDS, st.integers(0, 10**18 - 1).map(str)).map(".".join)
)
schemathesis.openapi.format(
    "entity-tags", st.just("*") | st.lists(_TAGS, min_size=1, max_size=3).map(", ".join)
)
schemathesis.openapi.format(
    "cursor",
    st.tuples(st.datetimes().map("{}+00:00".format).map(lambda at: at.replace(" ", "T")), _IDS).map(
        lambda place: base64.urlsafe_b64encode(" ".join(place).encode()).decode().rstrip("=")
    ),
)
schemathesis.openapi.format(
    "image", st.integers(1, 3).map(lambda side: base64.b64encode(images.png(side, side)).decode())
)
schemathesis.openapi.format("event-id", st.just("1-00000000-0-0---s-"))


@schemathesis.hook
def map_headers(_context: Any, headers: Any) -> Any:
    """A link that opens nothing hides what lies behind it: most requests go without, for they have none."""
    link = str((headers or {}).get("X-Share-Link", ""))
    if re.fullmatch(r"[0-9a-f-]{36}\.[A-Za-z0-9_-]{43}", link) and int(link[:2], 16) % 8:
        return {name: value for name, value in headers.items() if name != "X-Share-Link"}
    return headers


@schemathesis.serializer("application/x-ndjson")
def as_lines(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
