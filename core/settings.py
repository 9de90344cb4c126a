"""The one place that reads the environment.

`read_settings` gives one frozen value, or one error that names every wrong variable at once: what was given (never a
secret) and what is accepted.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from core.values import dataclass


class Secret:
    """A string that shows itself only when asked to: not in a repr, a log, a traceback or an f-string."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


class SettingsError(Exception):
    """Some settings are wrong; the message has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        # By name, for whoever may not see what was given.
        self.variables = [name for name, _ in variables() if re.search(rf"\b{name}\b", " ".join(problems))]
        super().__init__("Wrong settings:\n" + "\n".join(f"  {problem}" for problem in problems))


# What HMAC with SHA-256 is to be given at the least.
_SHORTEST_KEY = 32
_DOLLARS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


class _NotAccepted(Exception):
    """What a parser raises; its text says what would have been accepted."""


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(given: str) -> int:
        if given.isascii() and given.isdecimal() and low <= int(given[:20]) <= high:
            return int(given)
        raise _NotAccepted(f"a whole number from {low} to {high}")

    return parse


def _web_address(given: str) -> str:
    parts = _split(given)
    if (
        parts is None
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.username is not None
    ):
        raise _NotAccepted("an http:// or https:// address without a user or password in it")
    return given.rstrip("/")


def _postgres_address(given: str) -> Secret:
    accepted = "an address that begins with postgresql:// (or postgres://, or postgresql+psycopg2://)"
    scheme, _, rest = given.partition("://")
    parts = _split(given)
    if scheme not in ("postgresql", "postgres", "postgresql+psycopg2") or not rest or parts is None:
        raise _NotAccepted(accepted)
    if parts.netloc.count("@") > 1:
        # What stands behind the first would be taken for the host, and the driver says which host it does not find.
        raise _NotAccepted(f"{accepted}, with a password in which @ is written as %40")
    return Secret(f"postgresql+psycopg2://{rest}")


def _redis_address(given: str) -> Secret:
    parts = _split(given)
    if parts is None or parts.scheme not in ("redis", "rediss", "unix") or not (parts.hostname or parts.path):
        raise _NotAccepted("an address that begins with redis://, rediss:// or unix://")
    return Secret(given)


def _token(given: str) -> Secret:
    if not given.isascii() or not given.isprintable() or " " in given:
        raise _NotAccepted("printable ASCII characters without spaces")
    return Secret(given)


def _tokens(given: str) -> Mapping[str, Secret]:
    accepted = _NotAccepted('a JSON object of names and tokens, such as {"calendar": "..."}')
    try:
        found = json.loads(given)
    except ValueError:
        raise accepted from None
    if not isinstance(found, dict) or not all(isinstance(value, str) and value for value in found.values()):
        raise accepted
    return MappingProxyType({name: _token(value) for name, value in found.items()})


def _keys(given: str) -> Mapping[str, Secret]:
    """In their order: the first one signs."""
    accepted = _NotAccepted(
        'a JSON object of names and secrets of at least 32 characters, such as {"2026-11": "..."}'
    )
    try:
        found = _tokens(given)
    except _NotAccepted:
        raise accepted from None
    if not found or any(not name or len(secret.reveal()) < _SHORTEST_KEY for name, secret in found.items()):
        raise accepted
    return found


def _long_token(given: str) -> Secret:
    if len(given) < _SHORTEST_KEY:
        raise _NotAccepted("at least 32 printable ASCII characters without spaces")
    return _token(given)


def _origins(given: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in given.split(",") if origin.strip())
    if origins == ("*",):
        return origins
    for origin in origins:
        parts = _split(origin)
        if (
            parts is None
            or parts.scheme not in ("http", "https")
            or f"{parts.scheme}://{parts.netloc}" != origin
        ):
            raise _NotAccepted("origins such as https://app.example.com, with commas between them, or *")
    return origins


def _text(given: str) -> str:
    if not given.isprintable() or len(given) > 300:
        raise _NotAccepted("at most 300 printable characters")
    return given


def _name(given: str) -> str:
    if not given.isascii() or not given.isprintable() or len(given) > 100 or " " in given:
        raise _NotAccepted("a name of at most 100 printable ASCII characters without spaces")
    return given


def _dollars(given: str) -> int:
    """In millionths of a dollar."""
    if not _DOLLARS.fullmatch(given) or not float(given):
        raise _NotAccepted("dollars from 0.000001 to 999999999, such as 0.50")
    whole, _, part = given.partition(".")
    return int(whole) * 1_000_000 + int(part.ljust(6, "0"))


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(given: str) -> str:
        if given in choices:
            return given
        raise _NotAccepted(" or ".join(choices))

    return parse


def _split(address: str) -> Any:
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        return None
    return parts


def _setting(variable: str, parse: Callable[[str], Any], default: Any = None, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"variable": variable, "parse": parse, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, its variable and its default. A default holds for a variable that is unset or empty."""

    database_url: Secret | None = _setting("DATABASE_URL", _postgres_address, secret=True)
    # For migrations, where DATABASE_URL goes through a pooler.
    migration_database_url: Secret | None = _setting("MIGRATION_DATABASE_URL", _postgres_address, secret=True)
    database_pool_size: int = _setting("DATABASE_POOL_SIZE", _whole(1, 100), 1)
    database_connect_timeout_s: int = _setting("DATABASE_CONNECT_TIMEOUT_S", _whole(1, 30), 3)
    database_statement_timeout_s: int = _setting("DATABASE_STATEMENT_TIMEOUT_S", _whole(1, 60), 10)

    # What is answered while the database is away: an error, or the manager's answer to the one message that it was sent.
    without_database: str = _setting("WITHOUT_DATABASE", _one_of("error", "stateless"), "error")

    # How long the active agent keeps a conversation, and how long a session lives that nobody uses.
    default_session_ttl_s: int = _setting("DEFAULT_SESSION_TTL", _whole(1, 31_536_000), 86_400)
    session_ttl_s: int = _setting("SESSION_TTL", _whole(1, 31_536_000), 1_800)

    lease_ttl_s: int = _setting("LEASE_TTL_S", _whole(5, 900), 30)
    # How long a request works on a turn itself, and how long a worker does.
    turn_budget_s: int = _setting("TURN_BUDGET_S", _whole(1, 890), 25)
    worker_budget_s: int = _setting("WORKER_BUDGET_S", _whole(10, 890), 300)
    model_timeout_s: int = _setting("MODEL_TIMEOUT_S", _whole(1, 800), 120)
    # How many messages a turn may add, and after how many dead functions it is given up.
    longest_turn: int = _setting("LONGEST_TURN", _whole(2, 10_000), 100)
    most_crashes: int = _setting("MOST_CRASHES", _whole(1, 100), 3)
    # How often one message may be handed over from agent to agent.
    most_handovers: int = _setting("MOST_HANDOVERS", _whole(1, 100), 4)
    # How many tokens (as estimated) and messages the model is told before the conversation is compacted.
    compact_at_tokens: int = _setting("COMPACT_AT_TOKENS", _whole(10_000, 900_000), 100_000)
    compact_at_messages: int = _setting("COMPACT_AT_MESSAGES", _whole(10, 10_000), 200)
    # What a message, a conversation, and a day (UTC) of a user and of an organisation may cost. None: without end.
    budget_turn_micros: int | None = _setting("BUDGET_TURN_USD", _dollars)
    budget_turn_tokens: int | None = _setting("BUDGET_TURN_TOKENS", _whole(1, 10**15))
    budget_session_micros: int | None = _setting("BUDGET_SESSION_USD", _dollars)
    budget_session_tokens: int | None = _setting("BUDGET_SESSION_TOKENS", _whole(1, 10**15))
    budget_user_micros: int | None = _setting("BUDGET_USER_DAY_USD", _dollars)
    budget_user_tokens: int | None = _setting("BUDGET_USER_DAY_TOKENS", _whole(1, 10**15))
    budget_org_micros: int | None = _setting("BUDGET_ORG_DAY_USD", _dollars)
    budget_org_tokens: int | None = _setting("BUDGET_ORG_DAY_TOKENS", _whole(1, 10**15))
    approval_ttl_s: int = _setting("APPROVAL_TTL_S", _whole(1, 31_536_000), 3_600)
    # How long a person has to say what came of a call whose outcome nobody knows.
    outcome_ttl_s: int = _setting("OUTCOME_TTL_S", _whole(1, 31_536_000), 604_800)
    key_ttl_s: int = _setting("KEY_TTL_S", _whole(60, 31_536_000), 86_400)
    # A photograph of 3.8 MB as base64; Lambda takes 6 MB, and the gateway's event escapes each quote of the body.
    max_body_bytes: int = _setting("MAX_BODY_BYTES", _whole(1_024, 10_000_000), 5_242_880)
    # Of all texts of a message; its images count towards the body alone.
    max_message_bytes: int = _setting("MAX_MESSAGE_BYTES", _whole(1, 10_000_000), 131_072)
    # Of a message; 20 are what one request to the model may hold if they are photographs.
    max_images: int = _setting("MAX_IMAGES", _whole(0, 20), 10)

    # Who may speak for a device: whoever knows its ID, whoever has its token, or whom a user's token names.
    access_mode: str = _setting("ACCESS_MODE", _one_of("open", "bound", "jwt"), "bound")
    # The first one signs devices' tokens, all of them check: put a new one first, and take the old one away when its tokens have run out.
    device_token_keys: Mapping[str, Secret] | None = _setting("DEVICE_TOKEN_KEYS", _keys, secret=True)
    device_token_ttl_s: int = _setting("DEVICE_TOKEN_TTL_S", _whole(60, 31_536_000), 2_592_000)
    # Of users' tokens (HS256). None: the gateway's authorizer has checked them, and nobody signs in elsewhere.
    jwt_keys: Mapping[str, Secret] | None = _setting("JWT_KEYS", _keys, secret=True)
    jwt_issuer: str | None = _setting("JWT_ISSUER", _text)
    jwt_audience: str | None = _setting("JWT_AUDIENCE", _text)
    # What operators show. None: the operators' calls are not there.
    admin_token: Secret | None = _setting("ADMIN_TOKEN", _long_token, secret=True)
    # Which web pages of other origins may call.
    cors_origins: tuple[str, ...] | None = _setting("CORS_ORIGINS", _origins)
    # How many messages a device, and all devices of a network, may send: in a minute, and at once. 0: as many as they like.
    rate_device_per_minute: int = _setting("RATE_DEVICE_PER_MINUTE", _whole(0, 100_000), 60)
    rate_device_burst: int = _setting("RATE_DEVICE_BURST", _whole(1, 100_000), 20)
    rate_address_per_minute: int = _setting("RATE_ADDRESS_PER_MINUTE", _whole(0, 1_000_000), 600)
    rate_address_burst: int = _setting("RATE_ADDRESS_BURST", _whole(1, 1_000_000), 200)
    # How long one stream goes on before its client comes back for more.
    stream_s: int = _setting("STREAM_S", _whole(5, 3_600), 300)
    # For how long a merge and a rewind can be taken back.
    undo_s: int = _setting("UNDO_S", _whole(60, 31_536_000), 86_400)
    # Which of several deployments this is: in its logs and metrics.
    stage: str = _setting("STAGE", _name, "local")
    # A secret of AWS Secrets Manager, by name or ARN: a JSON object of the variables here that are secrets. Read at first use.
    secrets_id: str | None = _setting("SECRETS_ID", _text)
    secrets_ttl_s: int = _setting("SECRETS_TTL_S", _whole(1, 86_400), 300)
    # The SQS queue (FIFO) that wakes workers. None: nobody goes on with what a request leaves behind but the clean-up.
    queue_url: str | None = _setting("QUEUE_URL", _web_address)
    # The S3 bucket that holds what was archived.
    archive_bucket: str | None = _setting("ARCHIVE_BUCKET", _name)

    anthropic_api_key: Secret | None = _setting("ANTHROPIC_API_KEY", _token, secret=True)
    anthropic_base_url: str = _setting("ANTHROPIC_BASE_URL", _web_address, "https://api.anthropic.com")
    anthropic_model: str = _setting("ANTHROPIC_MODEL", _name, "claude-sonnet-5-5")

    # By the name of the MCP server that takes it.
    mcp_tokens: Mapping[str, Secret] | None = _setting("MCP_TOKENS", _tokens, secret=True)

    redis_url: Secret | None = _setting("REDIS_URL", _redis_address, secret=True)
    upstash_redis_rest_url: str | None = _setting("UPSTASH_REDIS_REST_URL", _web_address)
    upstash_redis_rest_token: Secret | None = _setting("UPSTASH_REDIS_REST_TOKEN", _token, secret=True)
    # How long a request waits for Redis, all in all.
    cache_budget_ms: int = _setting("CACHE_BUDGET_MS", _whole(1, 5_000), 150)
    # What every key begins with: services that share a Redis must not share their keys.
    cache_prefix: str = _setting("CACHE_PREFIX", _name, "")
    # Several instances look at what they share; a single one that keeps the sessions itself only backs them up.
    session_cache: str = _setting(
        "SESSION_CACHE", _one_of("sync-on-access", "write-only-backup"), "sync-on-access"
    )
    # Application sessions, in one namespace.
    most_sessions_per_user: int = _setting("MOST_SESSIONS_PER_USER", _whole(1, 10_000), 100)


# How much earlier than it runs out a holder stops trusting its lease.
LEASE_MARGIN_S = 3

# What a worker needs beside one answer of the model: tools, commits, and time to hand over.
WORKER_RESERVE_S = 30


def read_settings(
    environ: Mapping[str, str] | None = None, *, secrets: Mapping[str, str] | None = None
) -> Settings:
    """`secrets`: what the environment does not hold, as variables. Where SECRETS_ID is set and they are not given yet, what
    stands and falls with one of them is not judged.
    """
    environ = {**(os.environ if environ is None else environ), **(secrets or {})}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, spec in Settings.__dataclass_fields__.items():
        given = environ.get(spec.metadata["variable"], "").strip()
        if not given:
            continue
        try:
            values[name] = spec.metadata["parse"](given)
        except _NotAccepted as accepted:
            problems.append(
                _problem(spec.metadata["variable"], given, str(accepted), spec.metadata["secret"])
            )
    settings = Settings(**values)
    problems += _clashes(settings, is_whole=settings.secrets_id is None or secrets is not None)
    problems += _no_budgets(environ)
    if problems:
        raise SettingsError(problems)
    return settings


def variables() -> list[tuple[str, Any]]:
    """Each variable's name and its default, as the README lists them."""
    return [(spec.metadata["variable"], spec.default) for spec in Settings.__dataclass_fields__.values()]


def secret_variables() -> frozenset[str]:
    """Those that a secret of AWS may hold."""
    specs = Settings.__dataclass_fields__.values()
    return frozenset(spec.metadata["variable"] for spec in specs if spec.metadata["secret"])


def _problem(variable: str, given: str, accepted: str, secret: bool) -> str:
    shown = "a value that is not shown" if secret else repr(given if len(given) <= 80 else given[:77] + "...")
    return f"{variable} is {shown}; accepted: {accepted}"


def _no_budgets(environ: Mapping[str, str]) -> list[str]:
    """A budget under a wrong name limits nothing, and nobody would know before the invoice."""
    known = [variable for variable, _ in variables() if variable.startswith("BUDGET_")]
    given = (name for name, value in environ.items() if name.startswith("BUDGET_") and value.strip())
    return [f"{name} is no budget; accepted: {', '.join(known)}" for name in given if name not in known]


def _clashes(settings: Settings, *, is_whole: bool) -> list[str]:
    """Values that are fine alone and wrong together."""
    problems = []
    if is_whole and (settings.upstash_redis_rest_url is None) != (settings.upstash_redis_rest_token is None):
        problems.append(
            "UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN: one is given; accepted: both or neither"
        )
    if settings.redis_url is not None and settings.upstash_redis_rest_url is not None:
        problems.append("REDIS_URL and UPSTASH_REDIS_REST_URL: both are given; accepted: one of them")
    if settings.worker_budget_s < settings.model_timeout_s + WORKER_RESERVE_S:
        problems.append(
            f"WORKER_BUDGET_S is {settings.worker_budget_s} and MODEL_TIMEOUT_S is {settings.model_timeout_s}; accepted: "
            f"a worker that outlives one answer of the model by at least {WORKER_RESERVE_S} seconds"
        )
    if settings.max_message_bytes > settings.max_body_bytes:
        problems.append(
            f"MAX_MESSAGE_BYTES is {settings.max_message_bytes} and MAX_BODY_BYTES is {settings.max_body_bytes}; "
            "accepted: a message that fits into a body"
        )
    return problems
