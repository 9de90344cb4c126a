"""Restoring: a conversation comes back out of the archive, under its own ID and owner, and goes on.

Twice is once: whoever finds it there only sees to it that it lives. What people said in it who have been erased since, or are being
erased, does not come back. A clean-up that takes it away again before it lives has put it into the archive before: so it is put back
once more.
"""

from typing import Final
from uuid import uuid4

from core.archive import Archive
from core.deadline import Deadline
from core.errors import NotArchived
from core.ids import SOMEBODY, SessionId, UserId
from core.store import restoring, traces
from core.store.database import Database
from core.transfer import backup
from core.tries import again_and_again
from core.values import dataclass

_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Restoring:
    database: Database
    archive: Archive

    def __call__(self, session_id: SessionId, user_id: UserId | None, deadline: Deadline) -> bool:
        """False: it was there already. `user_id`: whose it is; else it is looked for in the whole archive."""
        is_new = False
        while True:
            if restoring.owner(self.database, session_id) is None:
                is_new |= self._put_back(session_id, user_id, deadline)
            for gone in restoring.strangers(self.database, session_id, SOMEBODY):
                self._blot(session_id, gone)
            restoring.forget_strangers_own(self.database, session_id)
            lives = restoring.revive(self.database, session_id)
            if lives or restoring.owner(self.database, session_id) is not None:
                return is_new

    def _put_back(self, session_id: SessionId, user_id: UserId | None, deadline: Deadline) -> bool:
        owner = user_id or self.archive.find(session_id)
        if owner is None or not self.archive.has(owner, session_id):
            raise NotArchived
        # All of it, and known to be whole, before the transaction: that one waits for nobody else.
        lines = list(self.archive.read(owner, session_id))
        head = backup.head(lines[0] if lines else b"")
        rows = list(backup.rows(lines))
        return restoring.put_back(
            self.database,
            head.session_id,
            head.user_id,
            rows,
            at=head.at,
            deadline=deadline,
        )

    def _blot(self, session_id: SessionId, gone: UserId) -> None:
        # Their receipt is closed: what was never there needs no word in it.
        no_receipt = uuid4()
        again_and_again(
            Deadline.after(_PATIENCE_S),
            lambda: traces.blot(self.database, no_receipt, gone, session_id) or None,
        )
