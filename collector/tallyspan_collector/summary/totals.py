"""What calls add up to, by group."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_clickhouse.query.filters import Filters, Parameters
from tallyspan_clickhouse.query.sums import BY_RATE, Sums, check_groups, parts
from tallyspan_clickhouse.schema import FIGURES
from tallyspan_collector.summary.currency import Currency
from tallyspan_collector.summary.cursor import fingerprint, read_cursor, write_cursor
from tallyspan_collector.summary.rows import Row, decimal_text, rows
from tallyspan_collector.summary.times import hour_text

MAX_ROWS = 10_000
MEASURES = tuple(figure.name for figure in FIGURES)
ORDERS: Mapping[str, str] = {
    "cost": "cost_usd",
    "tokens": "total_tokens",
    "calls": "calls",
    "errors": "errors",
    "group": "",
}
DIRECTIONS = ("asc", "desc")
_NUMBER = re.compile(r"-?[0-9]{1,26}(\.[0-9]{1,12})?", re.ASCII)
_KEY = re.compile(r"g[0-9]+", re.ASCII)


def summarise(
    client: Client,
    filters: Filters,
    group_by: Sequence[str],
    order: str = "cost",
    limit: int = MAX_ROWS,
    *,
    direction: str | None = None,
    zone: str = "UTC",
    currency: Currency | None = None,
) -> list[Row]:
    """Return the rows of the first page of `summary_page`."""
    return summary_page(
        client, filters, group_by, order, limit, direction=direction, zone=zone, currency=currency
    )[0]


def summary_page(
    client: Client,
    filters: Filters,
    group_by: Sequence[str],
    order: str = "cost",
    limit: int = MAX_ROWS,
    *,
    direction: str | None = None,
    zone: str = "UTC",
    contains: str | None = None,
    is_named: bool = False,
    cursor: str | None = None,
    currency: Currency | None = None,
) -> tuple[list[Row], str | None]:
    """Return one row a group, and the cursor of the next page; None: that was the last.

    A row has its keys, then MEASURES; costs Decimal, unknown or unpriced None. `order` is one of
    ORDERS, `group` sorts by the keys; `direction` is desc or asc, what is not known comes last.
    Hours, days, weeks and months are those of `zone`. `contains` is a part of the first key, in
    any case; `is_named` leaves out rows where the first key is unknown. With a `currency` a row
    also has its cost in that, `cost_in_currency`. Raises RequestError.
    """
    bounds = currency.bounds if currency else ()
    sums = Sums(filters, check_groups(group_by), zone, contains or "", bounds, is_named)
    order, direction = check_order(order, direction)
    keys = [f"g{number}" for number in range(len(sums.groups))]
    by = _sort_keys(order, direction)
    is_down = not by and direction == "desc"
    question = fingerprint(sums, order, direction)
    text, parameters = parts(sums)
    where, after = _after(cursor, question, by, sums, "<" if is_down else ">")
    page_rows = rows(
        client,
        f"SELECT * FROM (SELECT {', '.join(f'p.{key} AS {key}' for key in keys)}, {_all(currency)}"  # noqa: S608  closed tables only
        f" FROM ({text}) AS p GROUP BY {', '.join(keys)}"
        # Unused commitments and imports are of no call.
        " HAVING sum(p.calls) != 0 OR sum(p.cost_usd) != 0 OR sum(p.unpriced_tokens) != 0)"
        f" WHERE {where}"
        f" ORDER BY {', '.join((*by, *(f'{key} DESC' if is_down else key for key in keys)))}"
        " LIMIT {row_limit:UInt32}",
        {**parameters, **after, "row_limit": limit + 1},
    )
    page = page_rows[:limit]
    has_more = len(page_rows) > limit
    more = _cursor_of(page[-1], question, order, direction) if has_more else None
    return [_converted(_named(row, sums), currency) for row in page], more


def totals(
    client: Client,
    filters: Filters,
    contains: tuple[str, str] | None = None,
    currency: Currency | None = None,
) -> Row:
    """Return MEASURES over everything the filters let through; zero calls if that is nothing.

    `contains`: a group, and a part of its name.
    """
    bounds = currency.bounds if currency else ()
    sums = Sums(filters, rate_bounds=bounds)
    if contains:
        sums = Sums(filters, (contains[0],), "UTC", contains[1], bounds)
    text, parameters = parts(sums)
    query = f"SELECT {_all(currency)} FROM ({text}) AS p"  # noqa: S608  closed tables only
    return _converted(rows(client, query, parameters)[0], currency)


def check_order(order: str, direction: str | None) -> tuple[str, str]:
    """Return order and direction; most first and groups as the alphabet has them by default."""
    if order not in ORDERS:
        raise RequestError(f"order must be one of {', '.join(ORDERS)}, not {order[:60]!r}")
    if direction is None:
        return order, "asc" if order == "group" else "desc"
    if direction not in DIRECTIONS:
        raise RequestError(f"direction must be one of {', '.join(DIRECTIONS)}, not {direction!r}")
    return order, direction


def _all(currency: Currency | None) -> str:
    figures = ", ".join(f"{each.sql} AS {each.name}" for each in FIGURES)
    return figures + (f", sumMap(p.{BY_RATE}) AS {BY_RATE}" if currency else "")


def _converted(row: Row, currency: Currency | None) -> Row:
    if currency is not None:
        amount = currency.amount(row.pop(BY_RATE))
        row["cost_in_currency"] = None if row["cost_usd"] is None else amount
    return row


def _sort_keys(order: str, direction: str) -> tuple[str, ...]:
    """Return what is sorted by before the groups; ascending, so that one comparison pages."""
    column = ORDERS[order]
    if not column:
        return ()
    sign = "-" if direction == "desc" else ""
    return (f"isNull({column})", f"{sign}toDecimal128(ifNull({column}, 0), 12)")


def _after(
    cursor: str | None, question: str, by: Sequence[str], sums: Sums, sign: str
) -> tuple[str, Parameters]:
    """Return the condition of being behind the cursor, and its parameters."""
    if cursor is None:
        return "true", {}
    hours = [name == "hour" for name in sums.groups]
    kinds = [int, str] if by else []
    values = read_cursor(cursor, question, kinds + [int if each else str for each in hours])
    if by and not _NUMBER.fullmatch(str(values[1])):
        raise RequestError("cursor must be the next_cursor of an earlier answer, unchanged")
    types = ["UInt8", "Decimal(38, 12)"] if by else []
    types += ["Int64" if each else "String" for each in hours]
    names = [f"after_{number}" for number in range(len(values))]
    bound = ", ".join(f"{{{name}:{kind}}}" for name, kind in zip(names, types, strict=True))
    keys = ", ".join((*by, *(f"g{number}" for number in range(len(sums.groups)))))
    return f"tuple({keys}) {sign} tuple({bound})", dict(zip(names, values, strict=True))


def _cursor_of(row: Row, question: str, order: str, direction: str) -> str:
    values: list[str | int] = []
    if ORDERS[order]:
        value = row[ORDERS[order]]
        amount = Decimal(value if value is not None else 0)
        sorted_by = -amount if direction == "desc" else amount
        values = [int(value is None), decimal_text(sorted_by)]
    return write_cursor(question, [*values, *(row[key] for key in row if _KEY.fullmatch(key))])


def _named(row: Row, sums: Sums) -> Row:
    """Return the row with the groups under their own names."""
    named: Row = {}
    for number, name in enumerate(sums.groups):
        value = row.pop(f"g{number}")
        named[name] = hour_text(value, sums.zone) if name == "hour" else value
    return named | row
