"""What the ledger adds up to: the query text of the admin API and of `tallyspan report`.

The client's database is the one that holds the view `calls` and the rollups. Whatever a person
typed reaches ClickHouse as a bound parameter; what is formatted into the text comes from closed
tables.
"""

from tallyspan_collector.summary.asking import LIMITS, MAX_SECONDS
from tallyspan_collector.summary.calls import entries
from tallyspan_collector.summary.errors import RequestError
from tallyspan_collector.summary.measures import MEASURES
from tallyspan_collector.summary.plain import Row, decimal_text, plain
from tallyspan_collector.summary.question import GROUPS, ORDERS, Filters, check_groups
from tallyspan_collector.summary.times import parse_since, parse_time
from tallyspan_collector.summary.totals import MAX_ROWS, summarise, summary_page, totals

__all__ = [
    "GROUPS",
    "LIMITS",
    "MAX_ROWS",
    "MAX_SECONDS",
    "MEASURES",
    "ORDERS",
    "Filters",
    "RequestError",
    "Row",
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
