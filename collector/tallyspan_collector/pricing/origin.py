"""Where a line of a price file stands, and where its figure comes from."""

from dataclasses import dataclass
from typing import Any

from tallyspan_collector.files.strict_yaml import KeyPath, Lines

NOTES = ("source", "checked", "evidence", "note")
"""Keys for people: where a figure comes from, when that was checked, how sure it is."""


@dataclass(frozen=True, slots=True)
class Origin:
    """File and line (0: it has none), and what the line says in NOTES; empty: nothing."""

    file: str
    line: int = 0
    source: str = ""
    checked: str = ""
    evidence: str = ""
    note: str = ""

    @property
    def place(self) -> str:
        """Return file and line as editors and people name them."""
        return f"{self.file}:{self.line}" if self.line else self.file


def origin(entry: dict[str, Any], at: KeyPath, lines: Lines) -> Origin:
    """Return the origin of an entry of a price file."""
    notes = {name: str(entry[name]) for name in NOTES if name in entry}
    return Origin(lines.path.name, lines.line(at), **notes)
