"""Counts as text."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return the count with its noun: `1 call`, `1,200 calls`; `plural` if it is not noun + s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
