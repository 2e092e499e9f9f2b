"""Usage that no rule reads: a new billing fact is seen on its first day, by its path.

Only names are kept, never values.
"""

import re
from collections.abc import Container, Iterable, Mapping
from fnmatch import translate
from functools import lru_cache

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
        and _any_of(dialect.usage).match(place) is not None
        and not place.startswith(dialect.tags)
        and _any_of((*dialect.counted, *dialect.harmless)).match(place) is None
    )


@lru_cache(maxsize=256)
def _any_of(patterns: Names) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)) if patterns else r"(?!)")


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
    first = sorted({path for path in paths if isinstance(path, str) and path})[:MAX_UNREAD]
    return tuple(sorted({_ODD.sub("?", path[:MAX_PATH_CHARACTERS]) for path in first}))
