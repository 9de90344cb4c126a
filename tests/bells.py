"""Who stands in for workers: nobody who hears, and one who writes down who was woken."""

from core.ids import SessionId


class Deaf:
    def wake(self, session_id: SessionId) -> None:
        pass

    def recover(self, session_id: SessionId, epoch: int) -> bool:  # noqa: ARG002 - of its shape
        return True


class Bell:
    """Who is woken by it, and under which epoch the sweep found those that it woke."""

    def __init__(self) -> None:
        self.woken: list[SessionId] = []
        self.epochs: list[int] = []

    def wake(self, session_id: SessionId) -> None:
        self.woken.append(session_id)

    def recover(self, session_id: SessionId, epoch: int) -> bool:
        self.woken.append(session_id)
        self.epochs.append(epoch)
        return True
