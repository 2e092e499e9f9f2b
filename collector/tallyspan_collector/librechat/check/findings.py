"""What is found in the settings: how bad, what, which calls, the line to write."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is, the worst first."""

    LOST = "lost"
    """The cost of calls is not in the ledger, and nothing else brings it there."""
    INEXACT = "inexact"
    """Calls are counted, and what they cost is not known, or may be lost in rare moments."""
    NOTE = "note"
    """Nothing is lost."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is found.

    `place` is a file and line, `what` is wrong there, `calls` are the ones it is about, `write` is
    what to write, one line or several; empty: nothing to do there.
    """

    severity: Severity
    place: str
    what: str
    calls: str
    write: str = ""
