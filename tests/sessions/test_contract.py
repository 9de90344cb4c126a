"""All five storages, and the layer in both modes on both shelves, keep one contract."""

from tests.sessions.contract import Contract


class TestContract(Contract):
    pass
