"""What keeps a zip from being made."""


class CannotPackage(Exception):
    """A sentence or a few: what is wrong, and what to do."""
