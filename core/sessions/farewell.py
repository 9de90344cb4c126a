"""Farewell: what ended in the rows ends in the cache as well, before anybody is told that it did."""

from core.cache.allowance import allowance
from core.cache.shelf import Shelf
from core.ids import SessionId
from core.sessions.layered import LayeredStorage
from core.store.endings import EndedSession
from core.values import dataclass


def conversation_key(session_id: SessionId) -> str:
    return f"session:{session_id}"


@dataclass(slots=True)
class Farewell:
    shelf: Shelf
    wait_s: float
    # Where application sessions lie on the shelf too.
    layered: LayeredStorage | None = None

    def __call__(self, ended: EndedSession) -> None:
        """No reader that was slow can put any of it back."""
        waits = allowance(self.wait_s)
        self.shelf.mark(conversation_key(ended.session_id), ended.lease_epoch, 0, waits, ended=True)
        if self.layered is not None:
            for namespace, epoch in ended.beside:
                self.layered.forget(namespace, ended.session_id, epoch)
