"""What a span turned out to be."""

from dataclasses import dataclass
from enum import StrEnum

from tallyspan_collector.read.call import Call


class Kind(StrEnum):
    """A billed call, a span around calls, or nothing of ours."""

    CALL = "call"
    WRAPPER = "wrapper"
    NOTHING = "nothing"


@dataclass(slots=True)
class Reading:
    """A span, its dialect (empty: none), what it is and why, in words an operator understands.

    `call` is there for calls and for wrappers: of a wrapper only who it is for is used, and its
    usage where it `may_be_charged` (a remote agent whose own calls nobody reports).
    """

    kind: Kind
    dialect: str
    reason: str
    call: Call | None = None
    may_be_charged: bool = False
