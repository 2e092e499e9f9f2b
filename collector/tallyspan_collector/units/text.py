"""Text of senders, for people."""


def printable(value: object) -> str:
    """Return the value as text that controls neither a terminal nor the direction of a line.

    A user id is any text that a span names; an escape sequence in it is shown as its code.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value))
