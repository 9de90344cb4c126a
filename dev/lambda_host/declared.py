"""The functions as `serverless.yml` declares them, and what it puts into their environment. A test compares the two."""

from collections.abc import Mapping
from dataclasses import dataclass

from .function import INIT_TIMEOUT_S, Function

STAGE = "local"
# What is made of it in AWS: see aws.py.
SECRET = f"latchkey/{STAGE}"

VISIBILITY_S = 660
MAX_RECEIVES = 5
CLEANUP_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Resources:
    """What the functions are told of: the rest of AWS they do not know."""

    queue_url: str
    archive_bucket: str


@dataclass(frozen=True, slots=True)
class Declared:
    handler: str
    timeout_s: float
    # Of the resources, those that its environment names.
    told: tuple[str, ...]
    most_at_once: int


DECLARED: Mapping[str, Declared] = {
    "api": Declared("functions.api.handler", 29, ("QUEUE_URL", "ARCHIVE_BUCKET"), 10),
    "worker": Declared("functions.worker.handler", 330, ("QUEUE_URL",), 2),
    "cleanup": Declared("functions.cleanup.handler", 120, ("QUEUE_URL", "ARCHIVE_BUCKET"), 2),
    "migrate": Declared("functions.migrate.handler", 300, (), 1),
}


def functions(
    resources: Resources,
    settings: Mapping[str, str],
    *,
    memory_mb: int = 1_024,
    init_timeout_s: float = INIT_TIMEOUT_S,
) -> list[Function]:
    """`settings` are variables that are no secrets, as config/<stage>.yml names them."""
    known = {"QUEUE_URL": resources.queue_url, "ARCHIVE_BUCKET": resources.archive_bucket}
    return [
        Function(
            name=name,
            handler=declared.handler,
            timeout_s=declared.timeout_s,
            init_timeout_s=init_timeout_s,
            memory_mb=memory_mb,
            most_at_once=declared.most_at_once,
            environment={
                **settings,
                "STAGE": STAGE,
                "SECRETS_ID": SECRET,
                **{variable: known[variable] for variable in declared.told},
            },
        )
        for name, declared in DECLARED.items()
    ]
