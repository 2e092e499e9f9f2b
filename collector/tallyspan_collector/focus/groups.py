"""What the ledger has of a day, in groups that share a price: calls, and entries of no call."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import microseconds, sql_moment, utc
from tallyspan_clickhouse.schema import OF_NO_CALL
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.match import Conditions
from tallyspan_collector.pricing.price import INPUT, REQUESTS, Price

DAY_NS = 86_400 * 10**9
PriceKey = tuple[str, str, str, str, Conditions]
"""Provider, endpoint, model, service tier and conditions: what a price is looked up by."""
_KIND_NAMES = ("provider_name", "endpoint_id", "model_name", "service_tier")
_WHOSE = ("tenant", "department", "user_id", "agent_id", "service_name")
_KIND = ", ".join(f"c.{name}" for name in (*_KIND_NAMES, "conditions"))
_OWNER = ", ".join(f"c.{name}" for name in _WHOSE)


def _within(alias: str) -> str:
    """Return the condition of the period; its ends are bound."""
    time = f"{alias}.start_time"
    return f"{time} >= {sql_moment('start')} AND {time} < {sql_moment('end')}"


_KINDS = f"""
SELECT {_KIND}, min(c.start_time) AS first, max(c.start_time) AS last
FROM calls AS c
WHERE {_within("c")} AND c.cost_status IN ('priced', 'notional')
GROUP BY ALL
"""  # noqa: S608  own names, values are bound
_DAYS = f"""
SELECT toDate(l.start_time, 'UTC') AS day, max(l.entry_kind IN {OF_NO_CALL}) AS has_others
FROM llm_calls AS l WHERE {_within("l")} GROUP BY day
"""  # noqa: S608  own names, values are bound
# Amounts of meters are added as decimals: a sum of floats depends on its order.
_METERS = (
    "sumMap(mapKeys(c.meters), arrayMap(x -> toDecimal128(toString({}), 12), mapValues(c.meters)))"
)
_CALLS = f"""
SELECT {_OWNER}, {_KIND}, c.cost_status,
    c.cost_status = 'notional' AND c.notional_cost_usd IS NULL AS is_unlisted,
    arrayCount(x -> c.start_time >= fromUnixTimestamp64Micro(x, 'UTC'), {{instants:Array(Int64)}})
        AS stretch,
    arrayCount(x -> ifNull(c.input_tokens, 0) > x * greatest(c.meters['{REQUESTS}'], 1),
        {{bands:Array(Int64)}}) AS band,
    min(c.start_time) AS first, count() AS calls, countIf(c.meters['{REQUESTS}'] = 0) AS single,
    {", ".join(f"sum(ifNull(c.{name}, 0))" for name in TOKEN_FIELDS)},
    {_METERS.format("x")}, {_METERS.format("least(x, 1)")},
    sum(ifNull(c.cost_usd, 0)), sum(ifNull(c.notional_cost_usd, 0))
FROM calls AS c
WHERE {_within("c")} AND c.cost_status != 'unpriced'
GROUP BY {_OWNER}, {_KIND}, c.cost_status, is_unlisted, stretch, band
ORDER BY {_OWNER}, c.provider_name, c.endpoint_id, c.model_name, c.service_tier, c.cost_status,
    toString(c.conditions), is_unlisted, stretch, band
"""  # noqa: S608  own names, values are bound
_OTHERS = f"""
SELECT {", ".join(f"l.{name}" for name in (*_WHOSE, *_KIND_NAMES[:3]))},
    l.entry_kind, l.cost_status, l.price_id, l.source,
    l.tags['closed_month'] AS closed_month, l.tags['booked_in'] AS booked_in,
    l.tags['item'] AS item,
    sum(ifNull(l.input_tokens, 0)) + sum(ifNull(l.output_tokens, 0)) AS tokens,
    sum(ifNull(l.cost_usd, 0)) AS cost
FROM llm_calls AS l
WHERE {_within("l")} AND l.entry_kind IN {OF_NO_CALL} AND NOT l.is_notional
GROUP BY ALL
HAVING cost != 0
ORDER BY ALL
"""  # noqa: S608  own names, values are bound


class Place(NamedTuple):
    """Whose a cost is, and where it arose; empty: nobody said."""

    tenant: str
    department: str
    user_id: str
    agent_id: str
    service_name: str
    provider: str
    endpoint_id: str
    model: str


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of a day that share place, kind, price and band of context.

    `cost_usd` is billed; `list_usd` is what calls would have cost that a subscription or a
    commitment pays for. `is_unlisted`: nobody knows what they would have cost. `single` calls are
    no sum of several requests. `first` is the time of the first of them. `meters_once` counts at
    most one of a meter in each call.
    """

    place: Place
    service_tier: str
    conditions: Mapping[str, str]
    cost_status: str
    is_unlisted: bool
    first: datetime
    calls: int
    single: int
    tokens: Mapping[str, int]
    meters: Mapping[str, Decimal]
    meters_once: Mapping[str, Decimal]
    cost_usd: Decimal
    list_usd: Decimal

    @property
    def key(self) -> PriceKey:
        """Return what their price is looked up by."""
        place = self.place
        conditions = tuple(self.conditions.items()) if self.conditions else ()
        return place.provider, place.endpoint_id, place.model, self.service_tier, conditions

    @property
    def requests(self) -> Decimal:
        """Return how many requests the calls are the sum of."""
        return self.single + self.meters.get(REQUESTS, Decimal(0))

    @property
    def input_of_one(self) -> int:
        """Return the input tokens of a request on average, rounded up.

        All requests are in one band of their price, and so is this number.
        """
        tokens = self.tokens[INPUT]
        if self.single == self.calls:
            return -(-tokens // self.calls)
        return int((tokens / self.requests).to_integral_value(ROUND_CEILING))

    def plus(self, other: "Calls") -> "Calls":
        """Return both together, which must be of one place and price."""
        return replace(
            self,
            calls=self.calls + other.calls,
            single=self.single + other.single,
            tokens={name: count + other.tokens[name] for name, count in self.tokens.items()},
            meters=_added(self.meters, other.meters),
            meters_once=_added(self.meters_once, other.meters_once),
            cost_usd=self.cost_usd + other.cost_usd,
            list_usd=self.list_usd + other.list_usd,
        )


@dataclass(frozen=True, slots=True)
class Other:
    """Entries of a day that are of no call, added up.

    `price_id` is the commitment, `source` the import or the bill, `item` the line of the bill. Of a
    correction of a closed month `closed_month` is that month, and in the closed month `booked_in`
    the month it is booked in.
    """

    place: Place
    entry_kind: str
    cost_status: str
    price_id: str
    source: str
    closed_month: str
    booked_in: str
    item: str
    tokens: int
    cost_usd: Decimal


class Cuts(NamedTuple):
    """Where prices differ within a day: at moments (microseconds), above so many input tokens."""

    instants: list[int]
    bands: list[int]


def cuts(client: Client, start: datetime, end: datetime, books: Sequence[PriceBook]) -> Cuts:
    """Return where a price of the period's calls changes with the moment or with the context."""
    bounds = {"start": microseconds(start), "end": microseconds(end)}
    instants: set[int] = set()
    bands: set[int] = set()
    for row in client.query(_KINDS, parameters=bounds).named_results():
        provider, endpoint, model, tier = (str(row[name]) for name in _KIND_NAMES)
        key = (provider, endpoint, model, tier, tuple(row["conditions"].items()))
        first, last = (microseconds(utc(row[name])) * 1000 for name in ("first", "last"))
        for book in books:
            at_ns = first
            while True:
                _, to_ns, price = book.stretch(key, at_ns)
                if isinstance(price, Price):
                    bands |= {band.above for band in price.bands if band.above >= 0}
                if to_ns > last:
                    break
                at_ns = to_ns
                if to_ns % DAY_NS:
                    instants.add(to_ns // 1000)
    return Cuts(sorted(instants), sorted(bands))


def days(client: Client, start: datetime, end: datetime) -> list[tuple[date, bool]]:
    """Return the days (UTC) that have entries, in their order; and whether some are of no call."""
    bounds = {"start": microseconds(start), "end": microseconds(end)}
    return sorted((day, bool(has_any)) for day, has_any in tuples_of(client, _DAYS, bounds))


def calls_of(client: Client, day: date, where: Cuts) -> Iterator[Calls]:
    """Yield the calls of a day (UTC) but for those without a price, those of a place together."""
    start, end = (microseconds(each) for each in _bounds(day))
    instants = [each for each in where.instants if start < each < end]
    parameters = {"start": start, "end": end, "instants": instants, "bands": where.bands}
    for row in _rows(client, _CALLS, parameters):
        tier, conditions, status, is_unlisted, _, _, first, calls, single = row[8:17]
        yield Calls(
            Place(*map(str, row[:8])),
            str(tier),
            conditions,
            str(status),
            bool(is_unlisted),
            utc(first),
            calls,
            single,
            dict(zip(TOKEN_FIELDS, row[17:-4], strict=True)),
            dict(zip(*row[-4], strict=True)),
            dict(zip(*row[-3], strict=True)),
            row[-2],
            row[-1],
        )


def others_of(client: Client, day: date) -> Iterator[Other]:
    """Yield what is of no call on a day (UTC): commitments, imports, true-ups, corrections."""
    start, end = (microseconds(each) for each in _bounds(day))
    for row in _rows(client, _OTHERS, {"start": start, "end": end}):
        place, texts = Place(*map(str, row[:8])), map(str, row[8:15])
        kind, status, price_id, source, closed_month, booked_in, item = texts
        yield Other(
            place,
            kind,
            status,
            price_id,
            source,
            closed_month,
            booked_in,
            item,
            int(row[15]),
            row[16],
        )


def _added(one: Mapping[str, Decimal], other: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {
        name: one.get(name, Decimal(0)) + other.get(name, Decimal(0)) for name in {**one, **other}
    }


def _rows(client: Client, query: str, parameters: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
    with client.query_row_block_stream(query, parameters=dict(parameters)) as blocks:
        for block in blocks:
            yield from block


def _bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1)
