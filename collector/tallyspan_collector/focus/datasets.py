"""The datasets of FOCUS 1.4 that the ledger can be read as."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_collector.focus import charges, invoices, periods
from tallyspan_collector.focus.charges import Charges
from tallyspan_collector.focus.groups import calls_of, cuts, days, others_of
from tallyspan_collector.focus.sku import Row
from tallyspan_collector.focus.split import Splitter
from tallyspan_collector.pricing.book import PriceBook

Reader = Callable[[Client, PriceBook, datetime, datetime], Iterator[Row]]


class Dataset(NamedTuple):
    """A dataset: its columns, and what yields its rows from a day until before another (UTC).

    `is_of_months`: its rows are of whole months.
    """

    columns: tuple[str, ...]
    rows: Reader
    is_of_months: bool = False


def cost_and_usage(
    client: Client, book: PriceBook, start: datetime, end: datetime
) -> Iterator[Row]:
    """Yield the charges of whole days, in the order of the days; the store is read day by day."""
    splitter = Splitter(book)
    kinds = {each.name: each.kind.value for each in book.file.commitments}
    of_day = Charges(splitter, kinds)
    where = cuts(client, start, end, splitter.books)
    for day, has_others in days(client, start, end):
        for _, calls in groupby(calls_of(client, day, where), key=lambda each: each.place):
            yield from of_day.of_calls(day, list(calls))
        for other in others_of(client, day) if has_others else ():
            yield from of_day.of_other(day, other)


def billing_periods(client: Client, _: PriceBook, start: datetime, end: datetime) -> Iterator[Row]:
    """Yield the months of each provider."""
    return (each.row() for each in periods.periods(client, start, end))


def invoice_details(
    client: Client, book: PriceBook, start: datetime, end: datetime
) -> Iterator[Row]:
    """Yield the lines of each provider's months."""
    rows = cost_and_usage(client, book, start, end)
    return invoices.invoice_details(rows, periods.periods(client, start, end))


DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "cost-and-usage": Dataset(charges.COLUMNS, cost_and_usage),
        "billing-period": Dataset(periods.COLUMNS, billing_periods, is_of_months=True),
        "invoice-detail": Dataset(invoices.COLUMNS, invoice_details, is_of_months=True),
    }
)
"""Name -> dataset."""
