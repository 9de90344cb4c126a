"""Lines of the log: what is known of a request, a worker's record or a clean-up stands in every line of it."""

from typing import Any


def known() -> dict[str, Any]:
    return {}
