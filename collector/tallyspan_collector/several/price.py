"""Calls -> the entries of the ledger that book them, by name, as the store gives them back."""

from collections.abc import Sequence

from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.moments import milliseconds, of_microseconds
from tallyspan_collector.booked.ledger import Row
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ledger import entry
from tallyspan_collector.ledger.covered import covered
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read.call import Call, columns_of


def entries_of(
    calls: Sequence[Call], book: PriceBook, directory: Directory, collector: str
) -> list[Row]:
    """Return an entry for each of the calls, at today's prices, without anything free."""
    now = STORE_CLOCK.now()
    calls = covered(calls, book)
    costs = entry.costs(calls, book, directory)
    columns = entry.columns(columns_of(calls), costs, 0, milliseconds(now), collector=collector)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for row, call in zip(rows, calls, strict=True):
        row["start_time"] = of_microseconds(call.start_time_ns // entry.NS_PER_US)
        row["ingested_at"] = now
        is_unpriced = row["cost_status"] == "unpriced" and not call.is_notional
        row["unpriced_calls"] = int(is_unpriced)
        tokens = (call.usage.input_tokens or 0) + (call.usage.output_tokens or 0)
        row["unpriced_tokens"] = tokens if is_unpriced else 0
    return rows
