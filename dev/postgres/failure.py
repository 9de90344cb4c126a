"""The one error."""


class PostgresFailed(Exception):
    """The embedded Postgres could not do what was asked; the message is all that a reader needs."""
