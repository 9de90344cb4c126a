"""Money as people read it."""


def dollars(cents: int) -> str:
    return f"${cents // 100}.{cents % 100:02}"
