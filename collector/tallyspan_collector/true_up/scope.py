"""Which entries a bill is about, and to whom goes what only the bill has."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Self

from tallyspan_collector.reconcile.bill import Bill
from tallyspan_collector.reconcile.rule import SHARE, Rule

OF_BILLS = "bill:"
"""How the column `source` of their entries begins."""
EDGE = timedelta(days=2)
"""More than a day of any zone and its place in a month of UTC are apart."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What of the ledger a bill is about.

    `providers` (none: of any), `endpoint` (exact, or a glob). Days are those of `zone`.
    `recorded_as` is what the ledger has the owners (projects, keys) of the bill in: a label of
    `reconcile.recorded`, or nothing. What only the bill has goes to the department that
    `departments` names for its owner, else by `rest`: shared out by use, or left to nobody.
    """

    bill: str
    providers: tuple[str, ...] = ()
    endpoint: str = ""
    zone: str = "UTC"
    recorded_as: str = ""
    departments: Mapping[str, str] = field(default_factory=dict)
    rest: str = SHARE

    @classmethod
    def of(cls, bill: Bill, rule: Rule) -> Self:
        """Return the scope of a bill."""
        return cls(
            bill=bill.name or bill.provider,
            providers=tuple(bill.ledger_providers),
            endpoint=bill.endpoint,
            zone=bill.zone,
            recorded_as=bill.recorded_as,
            departments=dict(rule.departments),
            rest=rule.rest,
        )

    @property
    def label(self) -> str:
        """Return the column `source` of its entries."""
        return f"{OF_BILLS}{self.bill}"

    def overlaps(self, other: "Scope") -> bool:
        """Return whether an entry may be on both bills."""
        is_one = not (self.providers and other.providers) or bool(
            {*self.providers} & {*other.providers}
        )
        ours, theirs = self.endpoint, other.endpoint
        is_there = not (ours and theirs) or fnmatchcase(ours, theirs) or fnmatchcase(theirs, ours)
        return is_one and is_there

    def to_json(self) -> str:
        """Return it as text, to be read by `from_json`."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote; what another version wrote beside it is left out."""
        values = json.loads(text)
        fields = {each: values[each] for each in cls.__dataclass_fields__ if each in values}
        return cls(**fields | {"providers": tuple(values["providers"])})
