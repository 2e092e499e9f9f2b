"""What is left of the costs that a report states."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from tallyspan_collector.bills.billed import model_key
from tallyspan_collector.imports.gaps import Fine, Recorded, Remainder, fine, gaps
from tallyspan_collector.imports.report import Row, Weigh, shares, tokens


class Costs:
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
        self._take_fees_apart(left)
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

    def _take_fees_apart(self, left: dict[int, int]) -> None:
        """Give rows of models what fees inside their calls took from them; the sum stays.

        Where spans of a model cost more than all of its lines, they have fees in them. What is left
        of its use costs its part of the lines, and that much less is left of what has no model.
        """
        wanted: dict[int, int] = {}
        for key, numbers in self._numbers.items():
            spent = sum(each.cost_picousd for each in self._recorded.get(key, ()))
            if key and spent > sum(self._rows[n].cost_picousd or 0 for n in numbers):
                wanted |= {n: self._lacking(n, left[n]) for n in numbers if n in left}
        items = [n for n in self._numbers.get((), ()) if left[n]]
        moved = min(sum(wanted.values()), sum(left[n] for n in items))
        if not moved:
            return
        rest, _ = gaps([(left[n], ()) for n in items], {}, moved)
        left |= dict(zip(items, rest, strict=True))
        parts = shares(moved, [Fraction(amount) for amount in wanted.values()])
        for number, part in zip(wanted, parts, strict=True):
            left[number] += part

    def _lacking(self, number: int, left: int) -> int:
        """Return how much more than `left` the rest of a row costs, at the rate of its report."""
        row = self._rows[number]
        whole = self._weigh(row)
        rest = self._weigh(replace(row, usage=self._result[number].usage))
        if not whole or not rest:
            return 0
        return max((row.cost_picousd or 0) * rest // whole - left, 0)
