"""The name that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches

MAX_CHARACTERS = 100  # of a name that is compared: the time grows with its length


def nearest(name: object, names: Iterable[str]) -> str | None:
    """Return the one of `names` that is most like `name`; None if none is like it."""
    matches = get_close_matches(str(name)[:MAX_CHARACTERS], list(names), n=1)
    return matches[0] if matches else None


def hint(name: object, names: Iterable[str]) -> str:
    """Return `did you mean 'x'?` if a name is like it, else `known: ` and all names."""
    match = nearest(name, names)
    return f"did you mean {match!r}?" if match else f"known: {', '.join(names)}"
