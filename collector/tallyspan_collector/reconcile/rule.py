"""Whose what is that only a bill has: the key `true_up` of a reconciliation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SHARE, UNATTRIBUTED = "share", "unattributed"
RESTS = (SHARE, UNATTRIBUTED)


@dataclass(frozen=True, slots=True)
class Rule:
    """`departments` are those of owners (projects, keys) of the bill; `rest` is one of `RESTS`.

    share: to the departments, in proportion to what the ledger has of the same day and model;
    unattributed: to none.
    """

    departments: Mapping[str, str] = field(default_factory=dict)
    rest: str = SHARE
