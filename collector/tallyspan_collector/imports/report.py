"""The report of a day as rows: lines with usage, each with its cost where the report states one."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tallyspan.meters import BY_NAME
from tallyspan_collector.bills.billed import Billed, model_key
from tallyspan_collector.booked.shares import apportion
from tallyspan_collector.pricing.tier import tier_name

PARTS_OF_A_UNIT = 10**6
"""Units that are no tokens (seconds, pages) are counted in millionths: amounts are whole."""
PICO = 10**12
REQUESTS = "requests"
_BESIDE_TIER = ("service", "project", "api_key", "user", "conditions")
Usage = Mapping[str, int]
"""Meter -> how much, in tokens or in millionths of a unit."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose an amount of a report is, and of what; `item` names what has no model."""

    provider: str
    model: str
    item: str
    tier: str
    service: str
    operation: str
    project: str
    api_key: str
    user: str
    conditions: tuple[tuple[str, str], ...]
    is_long_context: bool


@dataclass(frozen=True, slots=True)
class Row(Owner):
    """What a report says of one owner, model and tier on a day.

    `cost_picousd` None: it states none, the price book says.
    """

    usage: Usage
    cost_picousd: int | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What makes its model and the ledger's the same; empty without a model."""
        return model_key(self.model) if self.model else ()


Weigh = Callable[[Row], int | None]
"""What a row costs by the price book, in pico-dollars; None: it has no price."""


def rows(lines: Iterable[Billed], provider: str, weigh: Weigh, *, has_all_costs: bool) -> list[Row]:
    """Return the rows of a day; `provider` is that of lines that name none.

    A cost that stands in a line of its own goes to the rows with usage that it is of, by what the
    price book says they cost; one that is of none is a row without usage. `has_all_costs`: the
    costs are of all that was used, also of tiers that they do not name.
    """
    used: dict[Owner, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    costs_with_usage: dict[Owner, int] = defaultdict(int)
    apart: dict[Owner, int] = defaultdict(int)
    for line in lines:
        owner, usage = _owner(line, provider), usage_of(line)
        for meter, amount in usage.items():
            used[owner][meter] += amount
        if line.cost_usd is not None:
            costs = costs_with_usage if usage else apart
            costs[owner] += pico(line.cost_usd)
    with_usage = [
        Row(**_named(owner), usage=dict(usage), cost_picousd=costs_with_usage.get(owner))
        for owner, usage in used.items()
    ]
    costs_alone = [
        Row(**_named(owner), usage={}, cost_picousd=cost) for owner, cost in apart.items() if cost
    ]
    return _joined(with_usage, costs_alone, weigh, has_all_costs=has_all_costs)


def usage_of(line: Billed) -> dict[str, int]:
    """Return what the line says was used, without what is 0."""
    counts = {
        "input_tokens": line.input_tokens,
        "output_tokens": line.output_tokens,
        "cache_read_tokens": line.cache_read_tokens,
        "cache_write_tokens": line.cache_write_tokens,
        REQUESTS: line.requests,
        **line.meters,
    }
    usage = {meter: whole(meter, count) for meter, count in counts.items() if count}
    return usage if usage.keys() - {REQUESTS} else {}


def whole(meter: str, count: float) -> int:
    """Return the count in tokens, or in millionths of a unit."""
    if BY_NAME[meter].is_tokens:
        return int(count)
    return round(Decimal(repr(count)) * PARTS_OF_A_UNIT)


def amount_of(meter: str, count: int) -> float:
    """Return the count as the ledger keeps it: tokens, or units."""
    return count if BY_NAME[meter].is_tokens else count / PARTS_OF_A_UNIT


def pico(usd: Decimal) -> int:
    """Return whole pico-dollars; what a report states beyond is rounded."""
    return int((usd * PICO).to_integral_value())


def _named(owner: Owner) -> dict[str, Any]:
    return {each.name: getattr(owner, each.name) for each in fields(Owner)}


def _owner(line: Billed, provider: str) -> Owner:
    return Owner(
        provider=line.provider or provider,
        model=line.model,
        item="" if line.model else line.item,
        tier=tier_name(line.tier),
        service=line.service,
        operation=line.operation,
        project=line.project,
        api_key=line.api_key,
        user=line.user,
        conditions=tuple(sorted(line.conditions.items())),
        is_long_context=line.is_long_context,
    )


def _joined(
    rows: Sequence[Row], costs: Sequence[Row], weigh: Weigh, *, has_all_costs: bool
) -> list[Row]:
    """Return the rows with the costs that are of them, and the costs that are of none."""
    # A report groups its costs by less than its usage: only what some line of costs states counts.
    dimensions = [name for name in _BESIDE_TIER if any(getattr(each, name) for each in costs)]

    def place(row: Row) -> _Place:
        return (row.provider, row.key, *(getattr(row, name) for name in dimensions))

    used = _by(place, (row for row in rows if row.key))
    spent = _by(place, costs)
    result = [row for row in rows if not row.key]
    for where in used.keys() | spent.keys():
        of_place, cost_lines = used.get(where, []), spent.get(where, [])
        tiers = {row.tier for row in of_place}
        if has_all_costs and not tiers <= {each.tier for each in cost_lines}:
            groups = [(of_place, cost_lines)]  # a line of the model has the other tiers too
        else:
            by_tier, costs_by_tier = _by(_tier, of_place), _by(_tier, cost_lines)
            groups = [
                (by_tier.get(tier, []), costs_by_tier.get(tier, []))
                for tier in by_tier.keys() | costs_by_tier.keys()
            ]
        for of_group, lines in groups:
            if of_group and lines:
                cost = sum(each.cost_picousd or 0 for each in lines)
                result += _spread(of_group, cost, weigh)
            else:
                result += [*of_group, *lines]
    return sorted(result, key=_order)


_Place = tuple[object, ...]


def _by(key: Callable[[Row], _Place], rows: Iterable[Row]) -> dict[_Place, list[Row]]:
    groups: dict[_Place, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def _tier(row: Row) -> _Place:
    return (row.tier,)


def _order(row: Row) -> _Place:
    """Sort the same rows always alike: of equal rests the first row has a pico-dollar more."""
    return tuple(map(str, _named(row).values()))


def _spread(rows: Sequence[Row], cost: int, weigh: Weigh) -> list[Row]:
    """Return the rows with a cost that is of all of them, by what each costs otherwise."""
    weights = [Fraction(weigh(row) or 0) for row in rows]
    if not all(weights):
        weights = [Fraction(max(tokens(row.usage), 1)) for row in rows]
    parts = shares(abs(cost), weights)
    sign = 1 if cost >= 0 else -1
    return [
        replace(row, cost_picousd=(row.cost_picousd or 0) + sign * part)
        for row, part in zip(rows, parts, strict=True)
    ]


def shares(amount: int, weights: Sequence[Fraction]) -> list[int]:
    """Return the amount in parts, in proportion to the weights and in their order."""
    keyed = {(f"{number:09}",): weight for number, weight in enumerate(weights)}
    parts = apportion(amount, keyed) if amount else {}
    return [parts.get(key, 0) for key in keyed]


def tokens(usage: Usage) -> int:
    """Return input and output."""
    return usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
