"""What a span turned out to be."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tallyspan_collector.read.call import Call


class Kind(StrEnum):
    """A billed call, a span around calls, or nothing of ours."""

    CALL = "call"
    WRAPPER = "wrapper"
    NOTHING = "nothing"


class BatchPart(NamedTuple):
    """Which batch a reading is of, as the provider names it.

    `event`: created, state or results. `batch_id` is empty where only the file is known that
    results were read from. `files` are those that the batch itself names. `each`: what a result
    bills where it does not say so itself, as pairs of a meter or condition and its value.
    """

    event: str
    batch_id: str
    file_id: str
    files: tuple[str, ...] = ()
    each: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Reading:
    """A span, its dialect (empty: none), what it is and why, in words an operator understands.

    `call` is there for calls and for wrappers: of a wrapper only who it is for is used, and its
    usage where it `may_be_charged` (a remote agent whose own calls nobody reports). `batch`: it is
    a result of a batch, the sum of one (calls), or says who created one; None: of no batch.
    """

    kind: Kind
    dialect: str
    reason: str
    call: Call | None = None
    may_be_charged: bool = False
    batch: BatchPart | None = None
