"""What a report has and spans do not, of one amount: how much, and in which rows."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tallyspan_collector.imports.report import Row, Usage, shares

Fine = tuple[Hashable, ...]
"""By what rows and spans of one model are told apart."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What spans tell of a day by model, tier, service, project and user; empty: nobody said."""

    model: str
    tier: str
    service: str
    project: str
    user: str
    usage: Usage
    cost_picousd: int


@dataclass(slots=True)
class Remainder:
    """What of a row is booked. `cost_picousd` None: by the price book.

    `is_apportioned`: spans cover a part of the report, and nothing says whose.
    """

    row: Row
    usage: dict[str, int] = field(default_factory=dict)
    cost_picousd: int | None = None
    is_apportioned: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left; requests without any use are nothing."""
        used = any(amount for meter, amount in self.usage.items() if meter != "requests")
        return not used and not self.cost_picousd


def fine(each: Row | Recorded, dimensions: Sequence[str]) -> Fine:
    """Return by what rows and spans are told apart inside a model."""
    values = (getattr(each, name) for name in dimensions)
    return tuple(value.lower() if isinstance(value, str) else value for value in values)


def gaps(
    amounts: Sequence[tuple[int, Fine]], recorded: Mapping[Fine, int], more: int = 0
) -> tuple[list[int], bool]:
    """Return how much of each amount is left, and whether it had to be apportioned.

    Together it is the sum of the amounts less all that is recorded (and `more`), or 0. `amounts`
    are 0 or more, each with its place; places without room for what is recorded there pass it on.
    """
    reported: dict[Fine, int] = defaultdict(int)
    rows_at: dict[Fine, int] = defaultdict(int)
    for amount, place in amounts:
        reported[place] += amount
        rows_at[place] += bool(amount)
    covered = {place: max(amount, 0) for place, amount in recorded.items()}
    left = max(sum(reported.values()) - sum(covered.values()) - more, 0)
    if not left:
        return [0] * len(amounts), False
    gap = {place: max(amount - covered.get(place, 0), 0) for place, amount in reported.items()}
    weights = [
        Fraction(amount * gap[place], reported[place]) if amount else Fraction(0)
        for amount, place in amounts
    ]
    is_guess = left != sum(gap.values()) or any(
        rows_at[place] > 1 and gap[place] < amount for place, amount in reported.items()
    )
    return shares(left, weights), is_guess
