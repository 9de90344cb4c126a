"""What every storage of sessions must do. A storage of somebody else's keeps it too if it passes this with a `rig` of its own."""

from tests.sessions.contract_changes import Changes
from tests.sessions.contract_content import Contents
from tests.sessions.contract_times import Times
from tests.sessions.contract_users import Users


class Contract(Changes, Times, Users, Contents):
    pass
