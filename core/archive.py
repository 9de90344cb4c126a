"""The archive: conversations as files in an S3 bucket, each under its user, so that all of a user's are found by one prefix.

What can go wrong, and why it cannot: *the bucket keeps older versions of what is deleted.* An erasure deletes every version. *A file is
cut on its way in.* S3 has all of it or nothing; and the file itself says where it ends.
"""

import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, Final
from uuid import UUID

from core.aws import client, translated
from core.errors import ArchiveUnavailable
from core.ids import SessionId, UserId
from core.values import dataclass

_IN_MEMORY_BYTES: Final = 8_000_000
_AT_ONCE: Final = 1_000
_USERS: Final = "users/"


@dataclass(frozen=True, slots=True)
class Archive:
    bucket: str

    def keep(self, user_id: UserId, session_id: SessionId, lines: Iterable[str]) -> None:
        """A file is as long as its conversation, so it waits on disk if it is long. The same again is a newer version of it."""
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file, translated(ArchiveUnavailable):
            for line in lines:
                file.write(f"{line}\n".encode())
            size = file.tell()
            file.seek(0)
            extra = {"ServerSideEncryption": "AES256", "ContentType": "application/x-ndjson"}
            if size <= _IN_MEMORY_BYTES:
                stored = client("s3").put_object(
                    Bucket=self.bucket, Key=_key(user_id, session_id), Body=file.read(), **extra
                )
                if not stored.get("ETag"):
                    # An answer that was cut behind its first line looks like a good one.
                    raise ArchiveUnavailable
            else:
                client("s3").upload_fileobj(file, self.bucket, _key(user_id, session_id), ExtraArgs=extra)

    def of_user(self, user_id: UserId) -> Iterator[SessionId]:
        with translated(ArchiveUnavailable):
            pages = client("s3").get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=_prefix(user_id)):
                for found in page.get("Contents", ()):
                    yield _session_id(found["Key"])

    def users(self, behind: UUID) -> list[UserId]:
        """Some of those who have anything in it, of whatever version: a thousand behind a place, and then from the beginning on."""
        with translated(ArchiveUnavailable):
            page = self._page(KeyMarker=f"{_USERS}{behind}")
            more = {} if page["IsTruncated"] else self._page()
        found = [prefix["Prefix"] for one in (page, more) for prefix in one.get("CommonPrefixes", ())]
        return [UserId(UUID(name)) for name in (prefix.split("/")[1] for prefix in found) if _is_uuid(name)]

    def _page(self, **behind: str) -> Any:
        return client("s3").list_object_versions(
            Bucket=self.bucket, Prefix=_USERS, Delimiter="/", MaxKeys=_AT_ONCE, **behind
        )

    def find(self, session_id: SessionId) -> UserId | None:
        """Whose it is, by looking through all that there is."""
        with translated(ArchiveUnavailable):
            pages = client("s3").get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=_USERS):
                for found in page.get("Contents", ()):
                    if found["Key"].endswith(f"/{session_id}.jsonl"):
                        return UserId(UUID(found["Key"].split("/")[1]))
        return None

    def has(self, user_id: UserId, session_id: SessionId) -> bool:
        with translated(ArchiveUnavailable):
            found = client("s3").list_objects_v2(
                Bucket=self.bucket, Prefix=_key(user_id, session_id), MaxKeys=1
            )
            return bool(found.get("Contents"))

    def read(self, user_id: UserId, session_id: SessionId) -> Iterator[bytes]:
        """Its lines."""
        with translated(ArchiveUnavailable):
            found = client("s3").get_object(Bucket=self.bucket, Key=_key(user_id, session_id))
            yield from found["Body"].iter_lines()

    def forget_user(self, user_id: UserId) -> int:
        """How many objects went, each with all of its versions. Sent again it finds none."""
        return self._forget(_prefix(user_id))

    def forget(self, user_id: UserId, session_id: SessionId) -> int:
        return self._forget(_key(user_id, session_id))

    def _forget(self, prefix: str) -> int:
        keys: set[str] = set()
        with translated(ArchiveUnavailable):
            pages = client("s3").get_paginator("list_object_versions")
            for page in pages.paginate(
                Bucket=self.bucket,
                Prefix=prefix,
                PaginationConfig={"PageSize": _AT_ONCE},
            ):
                versions = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                keys |= {version["Key"] for version in versions}
                self._delete([{"Key": found["Key"], "VersionId": found["VersionId"]} for found in versions])
        return len(keys)

    def _delete(self, objects: list[dict[str, str]]) -> None:
        for first in range(0, len(objects), _AT_ONCE):
            gone = client("s3").delete_objects(
                Bucket=self.bucket, Delete={"Objects": objects[first : first + _AT_ONCE], "Quiet": True}
            )
            if gone.get("Errors"):
                raise ArchiveUnavailable


def _prefix(user_id: UserId) -> str:
    return f"{_USERS}{user_id}/"


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _key(user_id: UserId, session_id: SessionId) -> str:
    return f"{_prefix(user_id)}{session_id}.jsonl"


def _session_id(key: str) -> SessionId:
    return SessionId(UUID(key.rpartition("/")[2].removesuffix(".jsonl")))
