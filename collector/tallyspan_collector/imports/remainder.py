"""What a report has and spans do not: amounts by model, shared out to the rows of the report.

How much is decided by the model and day, where both sides know what they speak of; whose it is by
what both know beside that (tier, service, project, user). Spans that no row of the report fits
count against its rows all the same, so that nothing is booked twice.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from tallyspan.meters import BY_NAME
from tallyspan_collector.bills.billed import model_key
from tallyspan_collector.imports.costs import Costs
from tallyspan_collector.imports.gaps import Fine, Recorded, Remainder, fine, gaps
from tallyspan_collector.imports.report import Row, Weigh

_SHARED_DIMENSIONS = ("tier", "service", "project", "user")


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
    Costs(rows, recorded, dimensions, result, weigh).allot()
    return result


def _width(meter: str) -> tuple[int, str]:
    """Sort wider meters before their parts."""
    return (len(BY_NAME[meter].dimensions), meter)


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
