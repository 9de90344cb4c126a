"""Why it does not go on."""


class Stopped(Exception):
    """What happened, what to do, and how things stand now: whoever reads it is in the middle of a deployment."""

    def __init__(self, what: str, to_do: str = "", stands: str = "") -> None:
        self.what, self.to_do, self.stands = what, to_do, stands
        super().__init__(what)

    def __str__(self) -> str:
        parts = [self.what]
        if self.to_do:
            parts.append(f"          What to do: {self.to_do}")
        if self.stands:
            parts.append(f"          As it stands: {self.stands}")
        return "\n".join(parts)


class Refused(Stopped):
    """AWS says that we may not."""
