"""How a file is read as a bill: whose days, which rates, which columns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from tallyspan_collector.bills.exchange import ONLY_USD, Exchange


class Seen:
    """Knows which lines of a bill stood in it before."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def again(self, values: Iterable[object]) -> bool:
        """Whether a line with these values was asked about before."""
        before = len(self._hashes)
        self._hashes.add(hash(tuple(map(str, values))))
        return len(self._hashes) == before


@dataclass(frozen=True, slots=True)
class FileTerms:
    """How the files of one bill are read.

    `columns` are those of a CSV of one's own; `zone` is that of the days of the bill. `seen` are
    the lines of its files so far.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    exchange: Exchange = ONLY_USD
    zone: tzinfo = UTC
    seen: Seen = field(default_factory=Seen)
