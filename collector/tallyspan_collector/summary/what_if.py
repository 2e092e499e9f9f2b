"""What the calls of a period would have cost as something else; nothing is booked."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_clickhouse.query.filters import Filters, condition
from tallyspan_clickhouse.query.sums import GROUPS, Sums, check_groups
from tallyspan_clickhouse.schema import LEDGER, SCHEMA
from tallyspan_clickhouse.schema_types import Net
from tallyspan_collector.booked import ledger
from tallyspan_collector.booked.compare import COLUMNS, Compared, compare
from tallyspan_collector.pricing.alternative import Alternative
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.summary.rows import Row, rows
from tallyspan_collector.summary.times import hour_text

MAX_GROUPS = 10_000
"""Rows of an answer."""
FILTERS = tuple(
    dimension.filter
    for dimension, column in SCHEMA.dimensions.items()
    if column.name in SCHEMA.netted(Net.KEY)
)
"""What calls can be chosen by: all entries of a call have it alike, and so come together."""
WHAT_IF_GROUPS = tuple(name for name in GROUPS if name != "cost_status")
_ZERO = Decimal(0)


@dataclass(slots=True)
class Total:
    """Compared calls, what they cost and would have cost in USD; and those that cannot be compared.

    `other_tokenizer_calls` are compared calls whose tokens the other model may count differently.
    """

    compared_calls: int = 0
    cost_usd: Decimal = _ZERO
    what_if_picousd: int = 0
    other_tokenizer_calls: int = 0
    not_compared_calls: int = 0
    not_compared_cost_usd: Decimal = _ZERO

    def row(self) -> Row:
        """Return it as fields of an answer; costs None where nothing was compared."""
        has_any = self.compared_calls > 0
        what_if = Decimal(self.what_if_picousd).scaleb(-12)
        return {
            "compared_calls": self.compared_calls,
            "cost_usd": self.cost_usd if has_any else None,
            "what_if_cost_usd": what_if if has_any else None,
            "difference_usd": what_if - self.cost_usd if has_any else None,
            "other_tokenizer_calls": self.other_tokenizer_calls,
            "not_compared_calls": self.not_compared_calls,
            "not_compared_cost_usd": self.not_compared_cost_usd,
        }


@dataclass(slots=True)
class WhatIf:
    """The totals by the values of the groups, calls not compared by reason, calls by price id."""

    groups: tuple[str, ...]
    by_group: defaultdict[tuple[str, ...], Total] = field(
        default_factory=lambda: defaultdict(Total)
    )
    total: Total = field(default_factory=Total)
    reasons: defaultdict[str, Total] = field(default_factory=lambda: defaultdict(Total))
    prices: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, call: Row, key: tuple[str, ...], result: Compared | str) -> None:
        """Add a call and what came of comparing it. Raises RequestError for too many groups."""
        totals = [self.by_group[key], self.total]
        if len(self.by_group) > MAX_GROUPS:
            raise RequestError(
                f"there are more than {MAX_GROUPS:,} groups: group by less, or choose fewer calls"
            )
        cost = _ZERO if call["is_notional"] else call["cost_usd"] or _ZERO
        if isinstance(result, str):
            for each in (*totals, self.reasons[result]):
                each.not_compared_calls += 1
                each.not_compared_cost_usd += cost
            return
        self.prices[result.price_id] += 1
        for each in totals:
            each.compared_calls += 1
            each.cost_usd += cost
            each.what_if_picousd += result.cost_picousd
            each.other_tokenizer_calls += not result.is_same_tokenizer

    def rows(self) -> list[Row]:
        """Return a row a group, those that cost most first."""
        most_first = sorted(
            self.by_group.items(),
            key=lambda each: (-each[1].cost_usd - each[1].not_compared_cost_usd, each[0]),
        )
        return [dict(zip(self.groups, key, strict=True)) | total.row() for key, total in most_first]

    def not_compared(self) -> list[Row]:
        """Return a row a reason: how many calls, and what they cost in USD; most calls first."""
        most_first = sorted(
            self.reasons.items(), key=lambda each: (-each[1].not_compared_calls, each[0])
        )
        return [
            {
                "reason": reason,
                "calls": total.not_compared_calls,
                "cost_usd": total.not_compared_cost_usd,
            }
            for reason, total in most_first
        ]

    def prices_used(self) -> list[Row]:
        """Return a row a price of the comparison: its id and how many calls; most calls first."""
        most_first = sorted(self.prices.items(), key=lambda each: (-each[1], each[0]))
        return [{"price_id": price_id, "calls": calls} for price_id, calls in most_first]


def what_if(
    client: Client,
    book: PriceBook,
    filters: Filters,
    alternative: Alternative,
    group_by: Sequence[str],
    *,
    models: Collection[str] | None = None,
    zone: str = "UTC",
    max_calls: int | None = None,
) -> WhatIf:
    """Return what the calls cost and would have cost, each at its own time, by group.

    `filters` are of `FILTERS` and have both ends of a range, which is read a day at a time.
    `models`: calls of these only. Raises RequestError for groups there are not, and for more calls
    than `max_calls`.
    """
    if filters.start is None or filters.end is None:
        raise RequestError("start_date and end_date are needed")
    groups = check_groups(group_by)
    if "cost_status" in groups:
        raise RequestError("calls cannot be grouped by cost_status: not_compared has the reasons")
    sums = Sums(filters, groups, zone)
    where, parameters = condition("calls", filters, None, alias="l")
    parameters |= sums.key_parameters()
    conditions = [where]
    if models is not None:
        conditions.append("l.model_name IN {models:Array(String)}")
        parameters["models"] = sorted(models)
    if max_calls is not None:
        _check(client, filters, conditions, parameters, max_calls)
    keys = {
        f"g{number}": ledger.latest(sums.key(number, "start_time", alias="l"))
        for number in range(len(groups))
    }
    result = WhatIf(groups)
    calls = ledger.calls_by_day(
        client, filters.start, filters.end, conditions, "sum(l.sign) > 0", parameters, keys, COLUMNS
    )
    for call in calls:
        key = tuple(
            hour_text(call[name], zone) if group == "hour" else call[name]
            for name, group in zip(keys, groups, strict=True)
        )
        result.add(call, key, compare(book, call, alternative))
    return result


def _check(
    client: Client,
    filters: Filters,
    conditions: Sequence[str],
    parameters: Mapping[str, object],
    max_calls: int,
) -> None:
    span = f"l.start_time >= {sql_moment('start')} AND l.start_time < {sql_moment('end')}"
    bounds = {
        name: microseconds(moment)
        for name, moment in (("start", filters.start), ("end", filters.end))
        if moment is not None
    }
    query = (
        f"SELECT sum(l.sign) AS calls FROM {LEDGER} AS l"  # noqa: S608  closed tables only
        f" WHERE {' AND '.join((span, *conditions))}"
    )
    calls = rows(client, query, {**parameters, **bounds})[0]["calls"]
    if calls > max_calls:
        raise RequestError(
            f"what if works out every call anew, {max_calls:,} at most in one answer, not"
            f" {calls:,}: bring start_date and end_date closer together, or use tallyspan whatif"
        )
