"""Which permission a request to AWS needs, read off the request itself; whose it is, off the credentials that it is signed with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

_CREDENTIAL = re.compile(r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/")
_SERVICES = {"AmazonSQS": "sqs", "secretsmanager": "secretsmanager"}


@dataclass(frozen=True, slots=True, order=True)
class Call:
    access_key: str
    # As a role grants it: `s3:PutObject`.
    action: str
    # What it is about, as far as the request says: a bucket, a bucket and key, a queue's or a secret's name.
    resource: str


def call_of(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Call | None:
    """None where nobody signed it."""
    signed = _CREDENTIAL.search(headers.get("authorization", ""))
    if signed is None:
        return None
    key, service = signed.groups()
    if service == "s3":
        return Call(key, f"s3:{_s3(method, path, query, body)}", path.strip("/"))
    target, _, action = headers.get("x-amz-target", "").partition(".")
    text = body.decode(errors="replace")
    if not action:
        action = parse_qs(text).get("Action", ["Unknown"])[0]
    named = re.search(r'"(?:QueueUrl|QueueName|SecretId|Name)"\s*:\s*"([^"]*)"', text)
    resource = (
        named.group(1).rpartition("/")[2] if service == "sqs" and named else (named.group(1) if named else "")
    )
    return Call(key, f"{_SERVICES.get(target, service)}:{action}", resource)


def _s3(method: str, path: str, query: str, body: bytes) -> str:
    """The permission, which is not always named as the call: a HEAD needs GetObject, a listing ListBucket."""
    asked = parse_qs(query, keep_blank_values=True)
    has_key = "/" in path.strip("/")
    if not has_key:
        return _s3_bucket(method, asked, body)
    version = "Version" if "versionId" in asked else ""
    if method in ("GET", "HEAD"):
        return "ListMultipartUploadParts" if "uploadId" in asked else f"GetObject{version}"
    if method == "DELETE":
        return "AbortMultipartUpload" if "uploadId" in asked else f"DeleteObject{version}"
    return "PutObject"  # also each part of a long one, its beginning and its end


def _s3_bucket(method: str, asked: Mapping[str, object], body: bytes) -> str:
    if method == "POST" and "delete" in asked:
        return "DeleteObjectVersion" if b"<VersionId>" in body else "DeleteObject"
    if method in ("GET", "HEAD"):
        if "versions" in asked:
            return "ListBucketVersions"
        return "ListBucketMultipartUploads" if "uploads" in asked else "ListBucket"
    return {"PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(method, "Unknown")
