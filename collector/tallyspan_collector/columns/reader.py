"""Which reader of spans is used: the compiled one where it is there, else the one in Python.

A compiled module knows the digest of the source it was made from. One that was made from another
source than the one beside it (files of two versions, an installation that was not built anew) is
refused, because it might read differently.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

from tallyspan_collector.columns import python_reader
from tallyspan_collector.columns.identities import Remainders
from tallyspan_collector.columns.part import Part
from tallyspan_collector.columns.shapes import Shapes
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.read.envelope import Search, has_any

SOURCE = Path(__file__).with_name("_reader.pyx")
MISSING, VERSION = "missing", "version"
"""Why there is no compiled reader: it was not built, or from another source."""
_MODULE = "tallyspan_collector.columns._reader"


class Decoder(Protocol):
    """Gathers the columns of the spans of several requests.

    `refused` counts the spans that left, by reason; `not_calls` those that are no calls.
    """

    not_calls: int

    @property
    def refused(self) -> Counter[str]:
        """Return how many spans left, by reason."""

    @property
    def rows(self) -> int:
        """Return how many rows there are since the last `take`."""

    def add(self, body: bytes, request: int) -> list[bytes]:
        """Take a request's spans in; return requests of those that are to be read one by one."""

    def take(self) -> list[Part]:
        """Return the columns of every shape that has some, and begin anew."""


class SpanReader(NamedTuple):
    """A reader by its name, python or compiled.

    `remainders` are those of rows' ids by a prime (see `identities.py`), `has_any` is that of
    `envelope.py`: whether a part of a body may have calls. `refusal` is why the
    compiled one is not used: MISSING, VERSION, or empty.
    """

    name: str
    decoder: Callable[[Shapes], Decoder]
    remainders: Remainders
    has_any: Search
    refusal: str = ""


PYTHON = SpanReader("python", python_reader.Decoder, python_reader.remainders, has_any)


@cache
def compiled() -> SpanReader | str:
    """Return the compiled reader, or why there is none: MISSING or VERSION."""
    try:
        module = import_module(_MODULE)
    except ImportError:
        return MISSING
    if not SOURCE.exists() or hashlib.sha256(SOURCE.read_bytes()).hexdigest() != module.SOURCE:
        return VERSION
    return SpanReader("compiled", module.Decoder, module.remainders, module.has_any)


def choose(wanted: str) -> SpanReader:
    """Return the reader for the setting `reader`: auto, compiled or python.

    Raises `ConfigError` where the compiled one is wanted and cannot be used.
    """
    if wanted == "python":
        return PYTHON
    reader = compiled()
    if isinstance(reader, SpanReader):
        return reader
    if wanted == "compiled":
        why = "is not installed" if reader == MISSING else "was built from another version's source"
        raise ConfigError(
            f"reader compiled: the compiled reader {why}; install Tallyspan again where there is "
            "a C compiler, or set reader to auto"
        )
    return PYTHON._replace(refusal=reader)
