"""Application sessions in Redis, native or over REST: the same scripts either way.

What Redis loses is lost: this is for teams whose Redis is kept (appendonly, or Upstash). It must not evict: with a
`maxmemory-policy` other than `noeviction`, sessions go before their time. A session here knows nothing of the conversation
that has its ID: it lives by its own time alone. Redis Cluster is not supported, as the scripts compute the names of keys.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from core.cache.commands import CacheFailed, Command, Redis, Refused
from core.errors import StorageUnavailable, TooManySessions
from core.sessions import scripts
from core.sessions.storage import Health, NewRecord, Record, Stamp, Swapped

_log = logging.getLogger(__name__)

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMEOUT_S: Final = 2.0
# How many keys one look through them asks for.
_LOOKED_AT: Final = 500


class RedisStorage:
    def __init__(self, redis: Redis, *, prefix: str = "", timeout_s: float = _TIMEOUT_S) -> None:
        self.kind = redis.kind
        self._redis = redis
        self._prefix = prefix
        self._timeout_s = timeout_s

    def create(self, namespace: str, new: NewRecord, most_per_user: int) -> Record:
        (made,) = self.store_many(namespace, [new], most_per_user)
        if made is None:
            raise TooManySessions
        return made

    def store_many(
        self, namespace: str, news: Sequence[NewRecord], most_per_user: int
    ) -> list[Record | None]:
        if not news:
            return []
        replies = self._run([self._create(namespace, new, most_per_user) for new in news])
        return [_found(new.session_id, reply) for new, reply in zip(news, replies, strict=True)]

    def load(
        self,
        namespace: str,
        session_id: UUID,
        *,
        extend: bool,
        certain: bool = False,  # noqa: ARG002 - it always is
    ) -> Record | None:
        return _found(session_id, self._ask(namespace, scripts.LOAD, session_id, int(extend)))

    def swap(self, namespace: str, session_id: UUID, seen: Stamp, body: str) -> Swapped:
        reply = self._ask(namespace, scripts.SWAP, session_id, seen.epoch, seen.version, body)
        found = _found(session_id, reply, body)
        return Swapped(found is not None and reply[0] == "done", found)

    def delete(self, namespace: str, session_ids: Sequence[UUID]) -> dict[UUID, int]:
        (reply,) = self._run(
            [("EVAL", scripts.DELETE, 0, self._front(namespace), *map(str, dict.fromkeys(session_ids)))]
        )
        return {UUID(id_): int(epoch) for id_, epoch in reply}

    def exists(self, namespace: str, session_id: UUID) -> bool:
        (reply,) = self._run([("EXISTS", self._key(namespace, session_id))])
        return bool(reply)

    def expire(self, namespace: str, session_id: UUID, ttl_s: int) -> Record | None:
        return _found(session_id, self._ask(namespace, scripts.EXPIRE, session_id, ttl_s))

    def left_s(self, namespace: str, session_id: UUID) -> float | None:
        (left_ms,) = self._run([("PTTL", self._key(namespace, session_id))])
        return None if left_ms < 0 else left_ms / 1000

    def of_user(self, namespace: str, user_id: UUID) -> list[UUID]:
        (reply,) = self._run([("EVAL", scripts.OF_USER, 0, self._front(namespace), str(user_id))])
        return [UUID(id_) for id_ in reply]

    def clean_up(self, namespace: str, user_id: UUID | None, limit: int) -> int:
        """Redis lets go of sessions by itself; this takes them out of their users' lists. For everybody's it looks through all
        keys, in as many round trips as that takes, or until `limit` were found.
        """
        cleaned = 0
        for indexes in self._indexes(namespace) if user_id is None else [[str(user_id)]]:
            front = self._front(namespace)
            if indexes:
                cleaned += sum(self._run([("EVAL", scripts.PRUNE, 0, front, user) for user in indexes]))
            if cleaned >= limit:
                break
        return cleaned

    def health(self) -> Health:
        try:
            (memory,) = self._run([("INFO", "memory")])
        except StorageUnavailable:
            return Health(self.kind, is_well=False)
        facts = dict(line.split(":", 1) for line in str(memory).splitlines() if ":" in line)
        used = facts.get("used_memory", "").strip()
        return Health(self.kind, is_well=True, size_bytes=int(used) if used.isdecimal() else None)

    def close(self) -> None:
        self._redis.close()

    def _front(self, namespace: str) -> str:
        return f"{self._prefix}{namespace}:" if namespace else self._prefix

    def _key(self, namespace: str, session_id: UUID) -> str:
        return f"{self._front(namespace)}session:{session_id}"

    def _create(self, namespace: str, new: NewRecord, most_per_user: int) -> Command:
        given = (new.user_id or "", new.body, new.ttl_s, most_per_user)
        return self._eval(namespace, scripts.CREATE, new.session_id, *map(str, given))

    def _eval(self, namespace: str, script: str, session_id: UUID, *arguments: str | int) -> Command:
        key, front = self._key(namespace, session_id), self._front(namespace)
        return ("EVAL", script, 1, key, front, str(session_id), *arguments)

    def _ask(self, namespace: str, script: str, session_id: UUID, *arguments: str | int) -> Any:
        return self._run([self._eval(namespace, script, session_id, *arguments)])[0]

    def _indexes(self, namespace: str) -> Iterator[list[str]]:
        """The users that have a list, some at a time."""
        front, cursor = f"{self._front(namespace)}user_sessions:", "0"
        while True:
            (reply,) = self._run([("SCAN", cursor, "MATCH", f"{_literal(front)}*", "COUNT", _LOOKED_AT)])
            cursor, keys = str(reply[0]), reply[1]
            yield [key.removeprefix(front) for key in keys]
            if cursor == "0":
                return

    def _run(self, commands: Sequence[Command]) -> list[Any]:
        try:
            replies = self._redis.run(commands, self._timeout_s)
        except CacheFailed as error:
            _log.warning("sessions in Redis: %s", error)
            raise StorageUnavailable from error
        refused = next((reply for reply in replies if isinstance(reply, Refused)), None)
        if refused is not None:
            # What it says may quote what was sent; its first word does not.
            _log.warning("sessions in Redis: refused with %s", refused.code)
            raise StorageUnavailable
        return replies


def _literal(pattern: str) -> str:
    return "".join(f"\\{character}" if character in "\\*?[]^-" else character for character in pattern)


def _found(session_id: UUID, reply: Any, body: str = "") -> Record | None:
    """`body`: what was just written, which Redis does not send back."""
    try:
        if reply[0] in ("gone", "full"):
            return None
        return replace(_record(session_id, body, *reply[1:]), is_new=reply[0] == "made")
    except (ValueError, TypeError, LookupError):
        _log.warning("sessions in Redis: what stands at a session's key is none")
        raise StorageUnavailable from None


def _record(
    session_id: UUID,
    body: str,
    user: str,
    epoch: str,
    version: str,
    stored: str,
    ttl: str,
    created: str,
    active: str,
) -> Record:
    return Record(
        session_id=session_id,
        user_id=UUID(user) if user else None,
        epoch=int(epoch),
        version=int(version),
        body=stored or body,
        ttl_s=int(ttl),
        created_at=_time(created),
        last_active_at=_time(active),
    )


def _time(microseconds: str) -> datetime:
    return _BEGINNING + timedelta(microseconds=int(microseconds))
