"""Matching: what a client saw of a thing before it changes it. `ETag` goes out, and comes back as `If-Match`."""

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Header

from core.content import dump
from core.digest import digest
from core.errors import IfMatchMalformed
from core.store.members import Member
from core.store.sessions import StoredSession
from functions.answers import JsonAnswer, moment, session_shape, version_header

_TAGS = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')


def session_tag(session: StoredSession) -> str:
    """Of what people edit of it; not of what changes by itself while somebody is answered."""
    edited = {
        "id": str(session.id),
        "metadata": session.metadata,
        "active_agent": session.active_agent,
        "locked_at": moment(session.locked_at),
        "session_ttl": session.session_ttl,
    }
    return _tag(edited)


def members_tag(members: Sequence[Member]) -> str:
    return _tag([[str(member.user_id), member.role] for member in members])


def _tag(of: object) -> str:
    return f'"{digest(dump(of))[:32]}"'


def session_answer(
    session: StoredSession, status: int = 200, headers: dict[str, str] | None = None
) -> JsonAnswer:
    version = version_header(session.id, session.version)
    return JsonAnswer(
        session_shape(session), status, {**version, "ETag": session_tag(session), **(headers or {})}
    )


class Seen:
    """What an `If-Match` says was seen: one of some tags, or whatever there is."""

    def __init__(self, given: str) -> None:
        self._any = given.strip() == "*"
        found = [_TAGS.fullmatch(part) for part in given.split(",")]
        if not self._any and not all(found):
            raise IfMatchMalformed
        # A weak tag never matches: two that are the same to it may differ.
        self._tags = {f'"{tag[2]}"' for tag in found if tag is not None and tag[1] is None}

    @property
    def tags(self) -> frozenset[str]:
        """`*` is among them if whatever there is was seen."""
        return frozenset({"*"}) if self._any else frozenset(self._tags)

    def session(self, session: StoredSession) -> bool:
        return self._any or session_tag(session) in self._tags

    def members(self, members: Sequence[Member]) -> bool:
        return self._any or members_tag(members) in self._tags


async def _if_match(
    if_match: Annotated[
        str | None,
        Header(
            description="The `ETag` of what was seen, or `*`. What was changed since is not changed: `412`.",
            json_schema_extra={"pattern": r'^(\*|"[0-9a-f]{32}"(, "[0-9a-f]{32}"){0,3})$'},
            examples=['"0f3c2a9d8b7e6f5a4c3b2a1908f7e6d5"'],
        ),
    ] = None,
) -> Seen | None:
    return None if if_match is None else Seen(if_match)


IfMatch = Annotated[Seen | None, Depends(_if_match)]
