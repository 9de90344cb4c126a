"""What schemathesis cannot know of our calls: how texts look that only we make."""

import schemathesis
from hypothesis import strategies as st

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
