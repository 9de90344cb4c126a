"""Signatures of thinking blocks: each binds its text to everything that came before it.

The model that wrote a block must find the same conversation in front of it: change the model, the system prompt, a
tool or an earlier message, and the block is refused. `redacted_thinking` carries the same proof in its `data`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

from .prefix import Json, Link
from .refusal import Refusal

# A fixed key: a restarted demo model still knows the blocks that it wrote before.
_KEY = b"latchkey demo model"
_PROOF = {"thinking": "signature", "redacted_thinking": "data"}


def is_on(body: Json, *, after_results: bool) -> bool:
    kind = (body.get("thinking") or {}).get("type", "disabled")
    return kind in ("enabled", "adaptive") or (kind == "between_tools" and after_results)


def signed(block: Json, before: bytes) -> Json:
    """The block with its proof, unless a script gave it one already."""
    proof = _PROOF.get(block["type"])
    if proof is None or block.get(proof):
        return block
    return {**block, proof: _sign(block, before)}


def verify(links: Iterable[Link]) -> None:
    for link in links:
        proof = _PROOF.get(link.block.get("type", ""))
        if proof is None or not link.place.startswith("messages."):
            continue
        expected = _sign(link.block, link.before)
        if not hmac.compare_digest(expected.encode(), str(link.block[proof]).encode()):
            kind = link.block["type"]
            raise Refusal(f"{link.place}: Invalid `{proof}` in `{kind}` block")


def _sign(block: Json, before: bytes) -> str:
    said = f"{block['type']}\0{block.get('thinking', '')}".encode()
    digest = hmac.new(_KEY, before + said, hashlib.sha256).digest()
    return base64.b64encode(b"\x01demo" + digest).decode()
