"""What booked calls would cost with the prices of today: in memory, nothing is booked."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_clickhouse.query.filters import Filters, condition
from tallyspan_clickhouse.query.sums import Sums, check_groups
from tallyspan_clickhouse.schema import LEDGER
from tallyspan_collector.booked import ledger
from tallyspan_collector.booked.reprice import priced_today
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced
from tallyspan_collector.summary.rows import Row, rows
from tallyspan_collector.summary.times import hour_text

MAX_CALLS = 200_000
"""In an answer of the API: each call is worked out anew, some ten thousand a second."""
Key = tuple[object, ...]


@dataclass(slots=True)
class Today:
    """Differences to what is booked, in USD, by the values of the groups."""

    differences: defaultdict[Key, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    newly_priced: defaultdict[Key, int] = field(default_factory=lambda: defaultdict(int))

    def add_to(self, row: Row, groups: Sequence[str]) -> Row:
        """Return the row with its cost as of today and the difference to the one booked."""
        key = tuple(row[name] for name in groups)
        return self._with(row, self.differences[key], self.newly_priced[key])

    def add_to_totals(self, row: Row) -> Row:
        """Return the totals with the same."""
        whole = sum(self.differences.values(), Decimal(0))
        return self._with(row, whole, sum(self.newly_priced.values()))

    @staticmethod
    def _with(row: Row, difference: Decimal, newly_priced: int) -> Row:
        has_cost = row["cost_usd"] is not None or newly_priced > 0
        return row | {
            "cost_usd_as_of_today": (row["cost_usd"] or 0) + difference if has_cost else None,
            "difference_usd": difference,
            "newly_priced_calls": newly_priced,
        }


def as_of_today(
    client: Client,
    book: PriceBook,
    filters: Filters,
    group_by: Sequence[str],
    *,
    zone: str = "UTC",
    max_calls: int | None = None,
) -> Today:
    """Return what the book changes in what the ledger says, by group.

    Costs the provider stated, calls that were not billed and subscriptions stay; so does a call
    that has no price any more. Raises RequestError for more calls than `max_calls`.
    """
    if filters.get("cost_status") is not None:
        raise RequestError("as of today cannot be told by cost_status: it is what may change")
    sums = Sums(filters, check_groups(group_by), zone)
    # Entries of a call have all that is grouped by in common; they are in the columns of calls.
    where, parameters = condition("calls", filters, "start_time", alias="l")
    parameters |= sums.key_parameters()
    if max_calls is not None:
        _check(client, where, parameters, max_calls)
    keys = {
        f"g{number}": f"any({sums.key(number, 'start_time', alias='l')})"
        for number in range(len(sums.groups))
    }
    having = (
        "sum(l.sign) > 0 AND NOT argMaxIf(l.is_notional, l.ingested_at, l.sign >= 0)"
        " AND argMaxIf(l.cost_status, l.ingested_at, l.sign >= 0) IN ('unpriced', 'priced')"
    )
    today = Today()
    for row in ledger.calls(client, where, having, parameters, keys):
        priced = priced_today(book, row)
        if isinstance(priced, Priced):
            key = tuple(
                hour_text(row[name], zone) if group == "hour" else row[name]
                for name, group in zip(keys, sums.groups, strict=True)
            )
            cost = Decimal(priced.cost_picousd).scaleb(-12)
            today.differences[key] += cost - (row["cost_usd"] or 0)
            today.newly_priced[key] += row["cost_status"] == "unpriced"
    return today


def _check(client: Client, where: str, parameters: Mapping[str, object], max_calls: int) -> None:
    query = f"SELECT sum(l.sign) AS calls FROM {LEDGER} AS l WHERE {where}"  # noqa: S608  closed tables only
    calls = rows(client, query, dict(parameters))[0]["calls"]
    if calls > max_calls:
        raise RequestError(
            f"as of today works out every call anew, {max_calls:,} at most in one answer, not"
            f" {calls:,}: bring start_date and end_date closer together, or use"
            " tallyspan report --as-of-today"
        )
