"""Statements of a month: of a department or cost centre, as JSON, CSV, PDF or Parquet."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from clickhouse_connect.driver.client import Client
from starlette.exceptions import HTTPException

from tallyspan_collector.api.fields import Field, Fields, rows_of
from tallyspan_collector.api.operation import Document, Operation, Query
from tallyspan_collector.api.parameters import Parameter, text
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.months.lines import month_of
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.statements import files
from tallyspan_collector.statements.rate_card import RateCard
from tallyspan_collector.statements.read import MAX_ITEMS, Terms, of_name, read
from tallyspan_collector.statements.statement import COST_CENTRE, DEPARTMENT, Statement
from tallyspan_collector.summary import RequestError, decimal_text, plain
from tallyspan_collector.summary.currency import currency_of

_SECTIONS = (
    "total (recorded, true_up, corrections and their total), part (of recorded), correction (by"
    " closed month), model, user, agent, service (each adds up to the total), comparison (this and"
    " last month, like with like), charge (by the rate card, beside the cost)"
)
_ROW: Fields = {
    "month": Field("text", "the month (UTC), as 2026-10"),
    "state": Field("text", "open, closed, or reopened (open again)"),
    "version": Field("count", "which close of the month was the last; 0: none"),
    "tenant": Field("text", "organisation"),
    "by": Field("text", "department or cost_centre"),
    "of": Field("text", "its name; empty: nobody said"),
    "section": Field("text", _SECTIONS),
    "name": Field("text", "what the row is of; empty: none, or the others"),
    "label": Field("text", "how people know it"),
    "calls": Field("integer?", "calls; null: not counted for this row"),
    "input_tokens": Field("integer?", "prompt tokens, cache included, as far as they are known"),
    "output_tokens": Field("integer?", "generated tokens, as far as they are known"),
    "cost_usd": Field("usd", "cost, USD"),
    "currency": Field("text", "the second currency; empty: none"),
    "cost_in_currency": Field("amount?", "cost_usd in it; null: no rate, or not for this row"),
}
_ANSWER: Fields = {
    "month": _ROW["month"],
    "tenant": _ROW["tenant"],
    "by": _ROW["by"],
    "of": _ROW["of"],
    "state": _ROW["state"],
    "version": _ROW["version"],
    "ledger_version": Field("text", "from which version of the ledger the figures are, in words"),
    "newest_entry_at": Field("time?", "of a month that is not closed: its newest entry"),
    "departments": Field("texts", "of a cost centre: only these are shown to you; empty: all"),
    "cost_usd": Field("usd", "the total, USD"),
    "unpriced_calls": Field("integer", "calls without a price: missing in it"),
    "percent": Field("amount?", "how much more than last month, in percent, like with like"),
    "compared_days": Field("count?", "first days of both months compared; null: whole months"),
    "charged_usd": Field("usd?", "what is charged by the rate card, USD; null: there is none"),
    "rates": rows_of(
        "rates of the second currency",
        {
            "from": Field("day?", "since which day; null: always"),
            "usd": Field("amount", "USD for one of it"),
        },
    ),
    "rows": rows_of(f"a row an amount; {MAX_ITEMS:,} a list at most", _ROW),
}


def _read_month(name: str, value: str) -> date:
    try:
        return month_of(value)
    except ConfigError as error:
        raise RequestError(f"{name} {error}") from None


MONTH = Parameter(
    "month",
    "a month of UTC, as 2026-10",
    {"type": "string", "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$"},
    _read_month,
    is_in_path=True,
)
_PARAMETERS = (
    MONTH,
    text("department", "whose statement; empty: what nobody's department pays"),
    text("cost_centre", "instead of department: whose statement"),
    text("tenant", "organisation, where several have one of that name"),
    text("currency", "totals in this currency too, such as EUR, by the rates of the price file"),
)


def statement_operations(
    client: Client, prices: Callable[[], PriceBook], rate_card: RateCard | None
) -> list[Operation]:
    """Return the operation of statements."""

    def statement(query: Query) -> Statement:
        names = {by: query[by] for by in (DEPARTMENT, COST_CENTRE) if query[by] is not None}
        if len(names) != 1:
            raise RequestError("name either a department or a cost_centre")
        [(by, name)] = names.items()
        access, tenant = query.access, query["tenant"]
        is_own = by != DEPARTMENT or name in (access.departments or (name,))
        if not is_own or tenant not in {None, *(access.tenants or (tenant,))}:
            raise HTTPException(403, "your key may not see this statement")
        wanted = query["currency"]
        currency = currency_of(prices().file, wanted) if wanted else None
        owner = of_name(client, query["month"], by, name, tenant, access)
        return read(client, query["month"], owner, Terms(currency, rate_card), access)

    def document(name: str, media_type: str) -> Document:
        def write(query: Query) -> tuple[str, bytes]:
            of_query = statement(query)
            try:
                return of_query.file_name(name), files.FORMATS[name](client, of_query)
            except ConfigError as error:
                raise HTTPException(501, str(error)) from None

        return Document(media_type, write)

    return [
        Operation(
            "/statements/{month}",
            "statement",
            "What a department or cost centre spent in a month (UTC): of a closed month what it was"
            " closed with, else provisional. As JSON, CSV, PDF or Parquet.",
            lambda query: _answer(statement(query)),
            _ANSWER,
            _PARAMETERS,
            table="rows",
            documents={
                "pdf": document("pdf", "application/pdf"),
                "parquet": document("parquet", "application/vnd.apache.parquet"),
            },
        )
    ]


def _answer(statement: Statement) -> Mapping[str, Any]:
    comparison, charge = statement.comparison, statement.charge
    percent = comparison.percent if comparison else None
    return {
        "month": f"{statement.month:%Y-%m}",
        "tenant": statement.owner.tenant,
        "by": statement.owner.by,
        "of": statement.owner.name,
        "state": statement.state.state,
        "version": statement.state.version,
        "ledger_version": statement.ledger_version(),
        **plain({"newest_entry_at": statement.newest_entry_at}),
        "departments": list(statement.shown_to),
        "cost_usd": decimal_text(statement.sums["cost_usd"]),
        "unpriced_calls": statement.sums["unpriced_calls"],
        "percent": None if percent is None else decimal_text(percent),
        "compared_days": comparison.days if comparison else None,
        "charged_usd": decimal_text(charge.charged_usd) if charge else None,
        "rates": [dict(each) for each in statement.rates],
        "rows": [plain(row) for row in statement.rows()],
    }
