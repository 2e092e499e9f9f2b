"""Which entries a bill is about, and to whom goes what only the bill has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from tallyspan_collector.bills.kept_settings import KeptSettings
from tallyspan_collector.reconcile.bill import Bill
from tallyspan_collector.reconcile.rule import SHARE, Rule

OF_BILLS = "bill:"
"""How the column `source` of their entries begins."""
EDGE = timedelta(days=2)
"""More than a day of any zone and its place in a month of UTC are apart."""


@dataclass(frozen=True, slots=True)
class Scope(KeptSettings):
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
        ours, theirs = self.endpoint, other.endpoint
        is_there = not (ours and theirs) or _have_one_in_common(ours, theirs)
        return is_there and self.is_of_provider_of(other)

    def is_of_provider_of(self, other: "Scope") -> bool:
        """Return whether both are of a provider, whatever the endpoints are."""
        ours, theirs = {*self.providers}, {*other.providers}
        return not (ours and theirs) or bool(ours & theirs)


def _have_one_in_common(ours: str, theirs: str) -> bool:
    """Return whether a text fits both patterns; `*` is any text, of any length."""
    places, seen = [(0, 0)], set[tuple[int, int]]()
    while places:
        i, j = place = places.pop()
        if place in seen or i > len(ours) or j > len(theirs):
            continue
        seen.add(place)
        a, b = ours[i : i + 1], theirs[j : j + 1]
        if not a and not b:
            return True
        if a == "*":
            places += [(i + 1, j), (i, j + 1)]
        if b == "*":
            places += [(i, j + 1), (i + 1, j)]
        if a == b:
            places.append((i + 1, j + 1))
    return False
