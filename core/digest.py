"""The digest of a text: to tell whether it is the same one, without keeping it."""

import hashlib


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
