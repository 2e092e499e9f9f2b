"""Statements from the store: of a closed month what it was closed with, else what there is now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.moments import microseconds, utc
from tallyspan_clickhouse.query.access import EVERYTHING, Access, own_rows
from tallyspan_clickhouse.query.filters import Filters, Parameters, source
from tallyspan_clickhouse.schema import NOT_OF_CALLS
from tallyspan_collector.booked.commitments import midnight
from tallyspan_collector.months import lines
from tallyspan_collector.months.lines import RATE, SUMMED, State
from tallyspan_collector.statements.rate_card import Charge, Cost, RateCard
from tallyspan_collector.statements.statement import (
    DEPARTMENT,
    LISTS,
    Comparison,
    Item,
    Listing,
    Owner,
    Statement,
    days_of,
)
from tallyspan_collector.summary import RequestError
from tallyspan_collector.summary.currency import Currency
from tallyspan_collector.summary.rows import SETTINGS
from tallyspan_collector.units.months import month_before, next_month

MAX_ITEMS = 10_000
"""Of each list; what is more is one row."""
MAX_OWNERS = 10_000
_NAMES = {"model": "model_name", "user": "user_id", "agent": "agent_id", "service": "service_name"}
_SUMS = ", ".join(f"sum(l.{name}) AS {name}" for name in SUMMED)


@dataclass(frozen=True, slots=True)
class Terms:
    """What statements have beside cost: a second currency, what is charged inside."""

    currency: Currency | None = None
    rate_card: RateCard | None = None


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of one month: their query, and what it needs."""

    query: str
    parameters: Parameters


def owners(
    client: Client, month: date, by: str, access: Access = EVERYTHING, name: str | None = None
) -> list[Owner]:
    """Return the departments or cost centres (`by`) that have anything in a month, in order.

    Only of those the reader may see, and of that `name`; None: any. Raises RequestError if there
    are more than `MAX_OWNERS`.
    """
    wanted = "" if name is None else f" WHERE l.{by} = {{owner:String}}"
    of_month = _lines(month, lines.state_of(client, month), access)
    rows = _rows(
        client,
        f"SELECT l.tenant, l.{by} FROM ({of_month.query}) AS l{wanted} GROUP BY l.tenant, l.{by}"  # noqa: S608
        f" ORDER BY l.tenant, l.{by} LIMIT {MAX_OWNERS + 1}",
        of_month.parameters | {"owner": name or ""},
    )
    if len(rows) > MAX_OWNERS:
        raise RequestError(f"{month:%Y-%m} has more than {MAX_OWNERS} owners: name one")
    return [Owner(str(tenant), by, str(name)) for tenant, name in rows]


def of_name(
    client: Client,
    month: date,
    by: str,
    name: str,
    tenant: str | None = None,
    access: Access = EVERYTHING,
) -> Owner:
    """Return the department or cost centre of that name; of none of that name, an empty one.

    Raises RequestError if several organisations have it and none is named.
    """
    if tenant is not None:
        return Owner(tenant, by, name)
    tenants = [each.tenant for each in owners(client, month, by, access, name)]
    if len(tenants) > 1:
        named = ", ".join(repr(each) for each in tenants[:5])
        raise RequestError(f"{name!r} is in several organisations: name one as tenant: {named}")
    return Owner(tenants[0] if tenants else "", by, name)


def read(
    client: Client,
    month: date,
    owner: Owner,
    terms: Terms | None = None,
    access: Access = EVERYTHING,
    now: datetime | None = None,
) -> Statement:
    """Return the statement of an owner, of what the reader may see.

    Raises RequestError for a month that has not begun; what the store raises.
    """
    terms, now = terms or Terms(), now or STORE_CLOCK.now()
    if month > now.date():
        raise RequestError(f"{month:%Y-%m} has not begun (months are of UTC)")
    state = lines.state_of(client, month)
    bounds = terms.currency.bounds if terms.currency and not state.is_closed else ()
    of_month = _of(owner, _lines(month, state, access, bounds))
    last_rate = _rate_of(terms.currency, next_month(month) - timedelta(days=1))
    total, lists = _lists(client, month, owner, of_month, access, terms.currency, last_rate)
    by_rate = total.pop("by_rate")
    is_corrected = total.pop("corrected")
    sums = total | {"use_cost_usd": total["cost_usd"] - sum(total[name] for name in NOT_OF_CALLS)}
    corrections: list[tuple[date | None, Decimal]] = []
    if is_corrected:
        corrections = _corrections(client, month, owner, of_month, access)
    listed = sum((cost for _, cost in corrections), Decimal(0))
    if rest := sums["prior_period_cost_usd"] - listed:
        corrections = [*corrections, (None, rest)]
    charge = _charge(client, month, owner, of_month, terms.rate_card, last_rate, bool(bounds))
    return Statement(
        month=month,
        owner=owner,
        state=state,
        newest_entry_at=None if state.is_closed else _newest(client, month, owner, access),
        sums=sums,
        lists=lists,
        corrections=corrections,
        comparison=_compared(client, month, owner, state, sums, access, now.date()),
        charge=charge,
        currency=terms.currency.name if terms.currency else "",
        rates=_rates(terms.currency, month, is_closed=state.is_closed),
        cost_in_currency=_converted(terms.currency, by_rate),
        charge_in_currency=_charge_in(terms.currency, charge, by_rate, last_rate),
        shown_to=access.departments if owner.by != DEPARTMENT else (),
    )


def _rows(client: Client, query: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    return client.query(query, parameters=dict(parameters), settings=SETTINGS).result_rows


def _lines(
    month: date,
    state: State,
    access: Access,
    rate_bounds: Sequence[int] = (),
    stop: date | None = None,
) -> _Lines:
    if state.is_closed and stop is None:
        return _Lines(*lines.as_closed(month, access))
    return _Lines(*lines.as_now(month, access, stop, rate_bounds))


def _of(owner: Owner, of_month: _Lines) -> _Lines:
    """Return the lines of the owner alone."""
    return _Lines(
        f"SELECT * FROM ({of_month.query}) AS o"  # noqa: S608  own names, values are bound
        f" WHERE o.tenant = {{tenant:String}} AND o.{owner.by} = {{owner:String}}",
        of_month.parameters | {"tenant": owner.tenant, "owner": owner.name},
    )


def _lists(
    client: Client,
    month: date,
    owner: Owner,
    of_owner: _Lines,
    access: Access,
    currency: Currency | None,
    last_rate: int,
) -> tuple[dict[str, Any], dict[str, Listing]]:
    """Return the sums of the lines, and each list with a last row for what it is cut by."""
    is_split = f"o.{RATE}" if "rate_bounds" in of_owner.parameters else f"toUInt32({last_rate})"
    filters = Filters(access=access)
    people, more = source("people", filters, None, "c.tenant = {tenant:String}")
    agents, _ = source(
        "usage_by_agent", filters, None,
        "c.tenant = {tenant:String}", "c.day >= {month:Date}", "c.day < {next_month:Date}",
    )  # fmt: skip
    lists = ", ".join(f"('{name}', toString(l.{column}))" for name, column in _NAMES.items())
    query = f"""
SELECT g.list, g.name,
    multiIf(g.name = '', '', g.list = 'user', n.label, g.list = 'agent', a.label, ''), g.names,
    {", ".join(f"g.{name}" for name in SUMMED)}, g.corrected, g.by_rate
FROM (
    SELECT *, count() OVER (PARTITION BY list) AS names,
        row_number() OVER (PARTITION BY list ORDER BY cost_usd DESC, calls DESC, name) AS place
    FROM (
        SELECT each.1 AS list, each.2 AS name, {_SUMS},
            countIf(l.prior_period_cost_usd != 0) AS corrected,
            sumMap([l.of_rate], [l.cost_usd]) AS by_rate
        FROM (SELECT o.*, {is_split} AS of_rate FROM ({of_owner.query}) AS o) AS l
        ARRAY JOIN [('', ''), {lists}] AS each
        GROUP BY list, name
    )
) AS g
LEFT JOIN (
    SELECT c.user_id AS user_id, argMax(c.display_name, c.valid_from) AS label
    {people} AND c.display_name != '' GROUP BY user_id
) AS n ON n.user_id = g.name
LEFT JOIN (
    SELECT c.agent_id AS agent_id, argMax(c.agent_name, c.day) AS label
    {agents} AND c.agent_name != '' GROUP BY agent_id
) AS a ON a.agent_id = g.name
WHERE g.place <= {MAX_ITEMS} ORDER BY g.list, g.place
"""  # noqa: S608  own names, values are bound
    parameters = of_owner.parameters | more | {"tenant": owner.tenant, "month": month}
    rows = _rows(client, query, parameters | {"next_month": next_month(month)})
    nothing = {name: Decimal(0) if name.endswith("_usd") else 0 for name in SUMMED}
    total: dict[str, Any] = nothing | {"corrected": 0, "by_rate": {}}
    lists_of: dict[str, list[Item]] = {name: [] for name in LISTS}
    names: dict[str, int] = {}
    for kind, name, label, count, *sums, corrected, by_rate in rows:
        values = dict(zip(SUMMED, sums, strict=True)) | {
            "corrected": corrected,
            "by_rate": dict(zip(*by_rate, strict=True)),
        }
        if not kind:
            total = values
            continue
        names[kind] = count
        lists_of[kind].append(_item(str(name), str(label or ""), values, currency))
    return total, {
        kind: Listing(items, names.get(kind, 0) - len(items) if items else 0)
        for kind, items in lists_of.items()
    }


def _item(name: str, label: str, values: Mapping[str, Any], currency: Currency | None) -> Item:
    return Item(
        name, label or name, values["cost_usd"], values["calls"], values["input_tokens"],
        values["output_tokens"], _converted(currency, values["by_rate"]),
    )  # fmt: skip


def _corrections(
    client: Client, month: date, owner: Owner, of_owner: _Lines, access: Access
) -> list[tuple[date | None, Decimal]]:
    """Return what is booked in the month of months that were closed before, by those."""
    place = ("department", "user_id", "agent_id", "model_name", "provider_name", "endpoint_id",
             "service_name")  # fmt: skip
    read, more = source(
        "month_corrections", Filters(access=access), None,
        "c.booked_in = {month:Date}", "c.closed_month != c.booked_in", "c.tenant = {tenant:String}",
        f"({', '.join(f'toString(c.{name})' for name in place)}) IN"  # noqa: S608  own names
        f" (SELECT {', '.join(f'l.{name}' for name in place)} FROM ({of_owner.query}) AS l"
        " WHERE l.prior_period_cost_usd != 0)",
    )  # fmt: skip
    rows = _rows(
        client,
        f"SELECT c.closed_month, sum(c.cost_usd) AS cost {read}"
        " GROUP BY c.closed_month HAVING cost != 0 ORDER BY c.closed_month",
        of_owner.parameters | more | {"tenant": owner.tenant, "month": month},
    )
    return [(closed, cost) for closed, cost in rows]


def _compared(
    client: Client,
    month: date,
    owner: Owner,
    state: State,
    sums: Mapping[str, Any],
    access: Access,
    today: date,
) -> Comparison | None:
    """Return the month against the one before; None on its first day, which has nothing whole."""
    last = month_before(month)
    last_is = lines.state_of(client, last)
    if state.is_closed or today >= next_month(month):
        before = _cost(client, _of(owner, _lines(last, last_is, access)))
        return Comparison(sums["cost_usd"], before, None, last_is)
    days = min((today - month).days, days_of(last))
    if not days:
        return None
    both = [
        _cost(
            client,
            _of(owner, _lines(each, State(), access, stop=each + timedelta(days=days))),
            "cost_usd - prior_period_cost_usd",
        )
        for each in (month, last)
    ]
    return Comparison(both[0], both[1], days, last_is)


def _cost(client: Client, of_owner: _Lines, of: str = "cost_usd") -> Decimal:
    [[cost]] = _rows(client, f"SELECT sum({of}) FROM ({of_owner.query})", of_owner.parameters)  # noqa: S608
    return Decimal(cost)


def _newest(client: Client, month: date, owner: Owner, access: Access) -> datetime | None:
    """Return when the newest entry of the month was booked, of what the owner's may be."""
    whose = " AND l.department = {owner:String}" if owner.by == DEPARTMENT else ""
    condition = own_rows("calls", "l") if access.is_limited else "true"
    [[count, at]] = _rows(
        client,
        "SELECT count(), max(l.ingested_at) FROM llm_calls AS l WHERE"  # noqa: S608  own names
        f" {condition} AND l.start_time >= fromUnixTimestamp64Micro({{start_us:Int64}})"
        f" AND l.start_time < fromUnixTimestamp64Micro({{end_us:Int64}})"
        f" AND l.tenant = {{tenant:String}}{whose}",
        access.parameters()
        | {"tenant": owner.tenant, "owner": owner.name}
        | {"start_us": microseconds(midnight(month))}
        | {"end_us": microseconds(midnight(next_month(month)))},
    )
    return utc(at) if count else None


def _charge(
    client: Client,
    month: date,
    owner: Owner,
    of_owner: _Lines,
    card: RateCard | None,
    last_rate: int,
    is_split: bool,
) -> Charge | None:
    if card is None:
        return None
    rate = f"l.{RATE}" if is_split else f"toUInt32({last_rate})"
    rows = _rows(
        client,
        f"SELECT l.department, l.model_name, {rate} AS of_rate, sum(l.cost_usd)"  # noqa: S608
        f" FROM ({of_owner.query}) AS l GROUP BY l.department, l.model_name, of_rate"
        " ORDER BY l.department, l.model_name, of_rate",
        of_owner.parameters,
    )
    costs = [Cost(str(name), str(model), number, cost) for name, model, number, cost in rows]
    return card.charge(month, costs, owner.name if owner.by == DEPARTMENT else None)


def _rate_of(currency: Currency | None, day: date) -> int:
    """Return the number of the rate of a day, 0 before the first."""
    moment = microseconds(midnight(day))
    return sum(start <= moment for start in currency.bounds) if currency else 0


def _converted(currency: Currency | None, by_rate: Mapping[int, Decimal]) -> Decimal | None:
    if currency is None:
        return None
    return currency.amount((list(by_rate), list(by_rate.values())))


def _charge_in(
    currency: Currency | None, charge: Charge | None, by_rate: Mapping[int, Decimal], last_rate: int
) -> Decimal | None:
    """Return the charge in the currency: cost and margin as their days, a fee as the last day."""
    if currency is None or charge is None:
        return None
    amounts = dict(by_rate)
    for number, margin in charge.margin_by_rate.items():
        amounts[number] = amounts.get(number, Decimal(0)) + margin
    amounts[last_rate] = amounts.get(last_rate, Decimal(0)) + charge.fee_usd
    return _converted(currency, amounts)


def _rates(
    currency: Currency | None, month: date, *, is_closed: bool
) -> list[Mapping[str, str | None]]:
    """Return the rates of the days of a month, for people; of a closed one that of its last day."""
    if currency is None:
        return []
    last = _rate_of(currency, next_month(month) - timedelta(days=1))
    first = last if is_closed else _rate_of(currency, month)
    return [*currency.rate_rows()[max(first - 1, 0) : last]]
