"""What the ledger adds up to: the answers of the admin API and of `tallyspan report`.

The SQL is written by `tallyspan_clickhouse.query`; the client's database is the one that holds the
views.
"""

from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_clickhouse.query.filters import Filters
from tallyspan_clickhouse.query.sums import GROUPS, check_groups
from tallyspan_collector.summary.bills import billed
from tallyspan_collector.summary.calls import entries
from tallyspan_collector.summary.rows import MAX_SECONDS, Row, decimal_text, plain
from tallyspan_collector.summary.times import parse_since, parse_time
from tallyspan_collector.summary.totals import (
    MAX_ROWS,
    MEASURES,
    ORDERS,
    summarise,
    summary_page,
    totals,
)

__all__ = [
    "GROUPS",
    "MAX_ROWS",
    "MAX_SECONDS",
    "MEASURES",
    "ORDERS",
    "Filters",
    "RequestError",
    "Row",
    "billed",
    "check_groups",
    "decimal_text",
    "entries",
    "parse_since",
    "parse_time",
    "plain",
    "summarise",
    "summary_page",
    "totals",
]
