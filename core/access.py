"""Access: what somebody is in a conversation, and what that is enough for."""

from enum import StrEnum


class Role(StrEnum):
    """From the least to the most: whoever is more may do whatever those who are less may."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OWNER = "owner"

    def suffices_for(self, needed: "Role") -> bool:
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)
