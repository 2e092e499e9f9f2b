"""What a report has and spans do not: amounts by model, shared out to the rows of the report.

How much is decided by the model and day, where both sides know what they speak of; whose it is by
what both know beside that (tier, service, project, user). Spans that no row of the report fits
count against its rows all the same, so that nothing is booked twice.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tallyspan.meters import BY_NAME
from tallyspan_collector.bills.billed import model_key
from tallyspan_collector.imports.report import Row, Usage, Weigh, shares, tokens

_SHARED_DIMENSIONS = ("tier", "service", "project", "user")
Fine = tuple[Hashable, ...]


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


def remainders(rows: Sequence[Row], recorded: Sequence[Recorded], weigh: Weigh) -> list[Remainder]:
    """Return what is to be booked of each row, in their order.

    By model and meter: what the report has less what spans have, never below 0; then what spans
    of models have that the report does not name at all. `weigh` prices rows without a stated cost.
    """
    dimensions = [
        name
        for name in _SHARED_DIMENSIONS
        if all(any(getattr(each, name) for each in side) for side in (rows, recorded))
    ]
    result = [Remainder(row) for row in rows]
    shared = _Shared(rows, recorded, dimensions, result)
    for meter in sorted({meter for row in rows for meter in row.usage}, key=_width):
        shared.allot(meter)
    _keep_parts_inside(result)
    _Costs(rows, recorded, dimensions, result, weigh).allot()
    return result


def _width(meter: str) -> tuple[int, str]:
    """Sort wider meters before their parts."""
    return (len(BY_NAME[meter].dimensions), meter)


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


class _Shared:
    """Shares out one meter after the other."""

    def __init__(
        self,
        rows: Sequence[Row],
        recorded: Sequence[Recorded],
        dimensions: Sequence[str],
        result: Sequence[Remainder],
    ) -> None:
        self._result = result
        self._numbers: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            if row.key:
                self._numbers[row.key].append(number)
        self._rows = rows
        self._dimensions = dimensions
        self._recorded: dict[tuple[str, ...], list[Recorded]] = defaultdict(list)
        for each in recorded:
            key = model_key(each.model)
            self._recorded[key if key in self._numbers else ()].append(each)

    def allot(self, meter: str) -> None:
        """Set what is left of the meter in each row."""
        self._share(
            lambda row: row.usage.get(meter, 0),
            lambda each: each.usage.get(meter, 0),
            lambda number, left: self._result[number].usage.__setitem__(meter, left),
        )

    def _share(
        self,
        reported: Callable[[Row], int],
        recorded: Callable[[Recorded], int],
        put: Callable[[int, int], None],
    ) -> None:
        left: dict[int, int] = {}
        for key, numbers in self._numbers.items():
            places: dict[Fine, int] = defaultdict(int)
            for each in self._recorded.get(key, ()):
                places[fine(each, self._dimensions)] += recorded(each)
            amounts = [
                (reported(self._rows[n]), fine(self._rows[n], self._dimensions)) for n in numbers
            ]
            parts, is_guess = gaps(amounts, places)
            for number, share in zip(numbers, parts, strict=True):
                left[number] = share
                if share and is_guess:
                    self._result[number].is_apportioned = True
        unnamed = sum(recorded(each) for each in self._recorded.get((), ()))
        if unnamed > 0 and any(left.values()):
            numbers = [*left]
            parts, _ = gaps([(left[n], ()) for n in numbers], {}, unnamed)
            for number, share in zip(numbers, parts, strict=True):
                if share != left[number]:
                    self._result[number].is_apportioned = True
                left[number] = share
        for number, share in left.items():
            if share:
                put(number, share)


def _keep_parts_inside(result: Sequence[Remainder]) -> None:
    """Cut parts that are larger than what is left of their whole, as spans name parts rarely."""
    for each in result:
        usage = each.usage
        for meter in sorted(usage, key=_width):
            wider = [
                usage.get(other.name, 0)
                for other in BY_NAME.values()
                if BY_NAME[meter].is_part_of(other) and other.name in each.row.usage
            ]
            usage[meter] = min([usage[meter], *wider])
        read = usage.get("cache_read_tokens", 0)
        if "cache_write_tokens" in usage:
            room = usage.get("input_tokens", 0) - read
            usage["cache_write_tokens"] = min(usage["cache_write_tokens"], room)
            hour = usage.get("cache_write_1h_tokens", 0)
            if hour:
                usage["cache_write_1h_tokens"] = min(hour, usage["cache_write_tokens"])
        each.usage = {meter: amount for meter, amount in usage.items() if amount}


class _Costs:
    """Shares out stated costs.

    A model whose use spans cover is not booked for a cost that differs: that is a price, which
    `tallyspan reconcile` tells of. Of what has no model, spans cover what they cost beyond their
    models' lines: fees of searches stand in the calls that used them.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        recorded: Sequence[Recorded],
        dimensions: Sequence[str],
        result: Sequence[Remainder],
        weigh: Weigh,
    ) -> None:
        self._rows = rows
        self._dimensions = dimensions
        self._result = result
        self._weigh = weigh
        self._numbers: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            self._numbers[row.key].append(number)
        self._recorded: dict[tuple[str, ...], list[Recorded]] = defaultdict(list)
        named = {key for key in self._numbers if key}
        for each in recorded:
            key = model_key(each.model)
            self._recorded[key if key in named else ()].append(each)

    def allot(self) -> None:
        """Set the cost that is left of each row that states one."""
        beyond = 0
        left: dict[int, int] = {}
        for key, numbers in self._numbers.items():
            if key:
                beyond += self._of_model(key, numbers, left)
        unnamed = sum(each.cost_picousd for each in self._recorded.get((), ()))
        total = sum(left.values())
        if unnamed > 0 and total:
            numbers = [*left]
            parts, _ = gaps([(left[n], ()) for n in numbers], {}, unnamed)
            left = dict(zip(numbers, parts, strict=True))
        self._of_items(left, max(unnamed - total, 0) if total else unnamed, beyond)
        for number, amount in left.items():
            self._result[number].cost_picousd = amount

    def _of_model(self, key: tuple[str, ...], numbers: list[int], left: dict[int, int]) -> int:
        """Add what is left of the model's rows; return what spans cost beyond its lines."""
        costs = {number: self._rows[number].cost_picousd for number in numbers}
        is_stated = any(cost is not None for cost in costs.values())
        priced = {
            number: self._weigh(self._rows[number]) if cost is None else cost
            for number, cost in costs.items()
        }
        spent = sum(each.cost_picousd for each in self._recorded.get(key, ()))
        if any(cost is None for cost in priced.values()):
            beyond = 0  # nobody knows what the use costs that the report states
        else:
            beyond = max(spent - sum(cost or 0 for cost in priced.values()), 0)
        if not is_stated:
            return beyond
        places: dict[Fine, int] = defaultdict(int)
        for each in self._recorded.get(key, ()):
            places[fine(each, self._dimensions)] += each.cost_picousd
        open_rows = [n for n in numbers if self._result[n].usage or not self._rows[n].usage]
        # Rows that spans cover keep their cost: it is what those spans cost.
        amounts = [(max(priced[n] or 0, 0), fine(self._rows[n], self._dimensions)) for n in numbers]
        parts, _ = gaps(amounts, places)
        amount = sum(parts) if open_rows else 0
        weights = [
            Fraction(part if number in open_rows else 0)
            for number, part in zip(numbers, parts, strict=True)
        ]
        if not any(weights):
            weights = [
                Fraction(max(tokens(self._result[n].usage), 1) if n in open_rows else 0)
                for n in numbers
            ]
        parts = shares(amount, weights)
        left |= {
            number: part
            for number, part in zip(numbers, parts, strict=True)
            if costs[number] is not None
        }
        return beyond

    def _of_items(self, left: dict[int, int], unnamed: int, beyond: int) -> None:
        numbers = self._numbers.get((), [])
        if not numbers:
            return
        costs = [self._rows[number].cost_picousd or 0 for number in numbers]
        places: dict[Fine, int] = defaultdict(int)
        if unnamed == sum(each.cost_picousd for each in self._recorded.get((), ())):
            for each in self._recorded.get((), ()):
                places[fine(each, self._dimensions)] += each.cost_picousd
        else:
            beyond += unnamed
        credited = -sum(cost for cost in costs if cost < 0)
        amounts = [
            (max(cost, 0), fine(self._rows[number], self._dimensions))
            for number, cost in zip(numbers, costs, strict=True)
        ]
        parts, is_guess = gaps(amounts, places, beyond + credited)
        for number, share in zip(numbers, parts, strict=True):
            left[number] = share
            self._result[number].is_apportioned = is_guess and bool(share)
