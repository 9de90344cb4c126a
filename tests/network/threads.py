"""Which threads there are, but for those of servers that other tests share and leave running, such as the pretended AWS."""

import threading


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not _serves_others(thread)}


def _serves_others(thread: threading.Thread) -> bool:
    server = getattr(getattr(thread, "_target", None), "__self__", None)
    return type(server).__module__.startswith("werkzeug.")
