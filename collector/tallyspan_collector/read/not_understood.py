"""Requests to providers that no format knew, as the instrumentation counted them.

A sender may write anything: what is kept looks like a method, the host of a provider we know, and
a path without query, of a bounded length.
"""

import re
from collections.abc import Iterator, Mapping

from tallyspan import semconv
from tallyspan.recognise import provider_at

MAX_LINES = 100
_LINE = re.compile(
    r"(?P<requests>[1-9][0-9]{0,8}) (?P<request>[A-Z]{3,7} (?P<host>[a-z0-9.-]{1,100})"
    r"/[A-Za-z0-9_*:/-]{0,120})"
)


def not_understood(attributes: Mapping[str, object]) -> Iterator[tuple[str, str, int]]:
    """Yield provider, request (`POST host/path`) and how many of them a span tells of."""
    lines = attributes.get(semconv.NOT_UNDERSTOOD)
    if not isinstance(lines, list | tuple):
        return
    for line in lines[:MAX_LINES]:
        match = _LINE.fullmatch(line) if isinstance(line, str) else None
        provider = provider_at(match["host"]) if match else None
        if match and provider:
            yield provider.name, match["request"], int(match["requests"])
