"""Usage that no rule reads: a new billing fact is seen on its first day, by its path.

Only names are kept, never values.
"""

import re
from collections.abc import Container, Iterable, Mapping
from fnmatch import fnmatchcase

from tallyspan_collector.dialects.table import Dialect, Names
from tallyspan_collector.read.call import MAX_UNREAD

MAX_PATH_CHARACTERS = 120
_ODD = re.compile(r"[^A-Za-z0-9_.\-\[\]#:/]")
_WITHOUT_VALUE = frozenset(
    {"", "0", "0.0", "false", "none", "null", "nan", "{}", "[]"}
    # a tier or geo at its standard: prices are for that
    | {"standard", "default", "global", "not_available"}
)
_MAX_WITHOUT_VALUE = max(map(len, _WITHOUT_VALUE))


def is_unread(place: str, dialect: Dialect, read: Container[str]) -> bool:
    """Whether the place holds usage, is none of the places that are read, and may matter.

    A place is an attribute's name, or `name#path` within a blob.
    """
    return (
        place not in read
        and any(fnmatchcase(place, pattern) for pattern in dialect.usage)
        and not place.startswith((*dialect.tags, *dialect.units))
        and not any(
            fnmatchcase(place, pattern) for pattern in (*dialect.counted, *dialect.harmless)
        )
    )


def has_value(value: object) -> bool:
    """Whether the value is something; 0, false, empty, words for nothing or standard are not."""
    if isinstance(value, str):
        short = value.strip()
        return len(short) > _MAX_WITHOUT_VALUE or short.lower() not in _WITHOUT_VALUE
    return bool(value)


def with_value(values: Mapping[str, object], names: Iterable[str]) -> list[str]:
    """Return those of the names that have a value."""
    return [name for name in names if has_value(values.get(name))]


def kept(paths: Iterable[object]) -> Names:
    """Return the paths as a call keeps them: sorted, so many, so long, with plain characters."""
    clean = {
        _ODD.sub("?", path[:MAX_PATH_CHARACTERS])
        for path in paths
        if isinstance(path, str) and path
    }
    return tuple(sorted(clean)[:MAX_UNREAD])
