"""`tallyspan export`: calls as CSV or Parquet, daily charges with the columns of FOCUS 1.2."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.moments import EPOCH, microseconds
from tallyspan_collector import config, summary
from tallyspan_collector.commands import report
from tallyspan_collector.commands.store import reading
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files import spreadsheet
from tallyspan_collector.files.atomic import whole_file
from tallyspan_collector.units.counts import counted

ENGINE_FORMATS = {
    "csv": "JSONCompactEachRowWithNames",
    "parquet": "Parquet",
    "focus": "JSONCompactEachRowWithNames",
}
CALLS = """
SELECT * FROM token_usage
WHERE timestamp >= fromUnixTimestamp64Micro({first})
    AND timestamp < fromUnixTimestamp64Micro({stop})
ORDER BY timestamp, log_id"""
# FOCUS 1.2 (focus.finops.org); tests/collector/test_focus.py has its rules. A cost there may not be
# null, so calls without a price and their tokens are in no row: LEFT_OUT counts them. Tokens are
# what is priced, requests where nobody counted tokens; our price is list, contract and bill in one.
# What of commitments, seats and minimums is of no call is a purchase of the day; what a provider
# reports and no span tells of is usage, a day of it where the report counts no tokens.
# No unit prices: a row has prompts and answers of one model, whose prices differ.
FOCUS = """
SELECT * EXCEPT (priced_tokens, is_purchase, is_imported) FROM (SELECT
    sum(u.calls) = 0 AND sum(u.imported_cost_usd) != 0 AS is_imported,
    sum(u.calls) = 0 AND NOT is_imported AS is_purchase,
    sum(u.cost_usd) AS BilledCost,
    if(u.tenant = '', 'default', toString(u.tenant)) AS BillingAccountId,
    NULL AS BillingAccountName,
    'USD' AS BillingCurrency,
    formatDateTime(addMonths(toStartOfMonth(u.day), 1), '%Y-%m-%dT00:00:00Z') AS BillingPeriodEnd,
    formatDateTime(toStartOfMonth(u.day), '%Y-%m-%dT00:00:00Z') AS BillingPeriodStart,
    if(is_purchase, 'Purchase', 'Usage') AS ChargeCategory,
    NULL AS ChargeClass,
    multiIf(is_purchase, 'Commitments, plans and minimums',
        is_imported, concat('Use that no span tells of: ', SkuId), concat('Calls of ', SkuId))
        AS ChargeDescription,
    if(is_purchase, 'Recurring', 'Usage-Based') AS ChargeFrequency,
    formatDateTime(u.day + 1, '%Y-%m-%dT00:00:00Z') AS ChargePeriodEnd,
    formatDateTime(u.day, '%Y-%m-%dT00:00:00Z') AS ChargePeriodStart,
    if(is_purchase, NULL, PricingQuantity) AS ConsumedQuantity,
    if(is_purchase, NULL, PricingUnit) AS ConsumedUnit,
    BilledCost AS ContractedCost,
    BilledCost AS EffectiveCost,
    ProviderName AS InvoiceIssuerName,
    BilledCost AS ListCost,
    if(is_purchase, 'Committed', 'Standard') AS PricingCategory,
    ifNull(sum(u.total_tokens), 0) - sum(u.unpriced_tokens) AS priced_tokens,
    multiIf(is_purchase, 1, priced_tokens > 0, priced_tokens, is_imported, 1,
        sum(u.calls) - sum(u.unpriced_calls)) AS PricingQuantity,
    multiIf(is_purchase, 'Days', priced_tokens > 0, 'Tokens', is_imported, 'Days', 'Requests')
        AS PricingUnit,
    if(u.provider_name = '', 'unknown', toString(u.provider_name)) AS ProviderName,
    ProviderName AS PublisherName,
    nullIf(toString(u.endpoint_id), '') AS ResourceId,
    NULL AS ResourceName,
    if(ResourceId IS NULL, NULL, 'Endpoint') AS ResourceType,
    'AI and Machine Learning' AS ServiceCategory,
    ProviderName AS ServiceName,
    'Generative AI' AS ServiceSubcategory,
    if(u.model_name = '', 'unknown', toString(u.model_name)) AS SkuId,
    nullIf(toString(u.department), '') AS SubAccountId,
    SubAccountId AS SubAccountName,
    toJSONString(mapFilter((name, value) -> value != '',
        map('user_id', u.user_id, 'service_name', toString(u.service_name)))) AS Tags
FROM usage_daily AS u
WHERE u.day >= toDate(fromUnixTimestamp64Micro({first}), 'UTC')
    AND u.day < toDate(fromUnixTimestamp64Micro({stop}), 'UTC')
GROUP BY u.tenant, u.day, u.model_name, u.user_id, u.department, u.provider_name, u.endpoint_id,
    u.service_name
HAVING sum(u.calls) > sum(u.unpriced_calls) OR sum(u.cost_usd) != 0
ORDER BY u.day, u.model_name, u.user_id, u.department, u.endpoint_id, u.service_name)"""
LEFT_OUT = """
SELECT sum(unpriced_calls) FROM usage_daily
WHERE day >= toDate(fromUnixTimestamp64Micro({first}), 'UTC')
    AND day < toDate(fromUnixTimestamp64Micro({stop}), 'UTC')"""


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan export`."""
    parser = commands.add_parser("export", help="calls of a period as CSV, Parquet or FOCUS 1.2")
    config.add_flags(parser, config.READ_OPTIONS)
    parser.add_argument("--format", choices=tuple(ENGINE_FORMATS), default="csv")
    parser.add_argument("--from", dest="first", required=True, help="first day or moment (UTC)")
    parser.add_argument("--to", dest="last", required=True, help="last day, or moment it ends at")
    parser.add_argument("--out", help="file to write; without it standard output")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    first = summary.parse_time(options.first, "--from")
    stop = summary.parse_time(options.last, "--to", is_end=True)
    if first >= stop:
        raise ConfigError(f"--from {options.first} --to {options.last}: the period has no length")
    is_focus = options.format == "focus"
    if is_focus and any((moment - EPOCH) % timedelta(days=1) for moment in (first, stop)):
        raise ConfigError("--format focus has whole days: give dates for --from and --to")
    with reading(options) as client, _opened(options.out) as out:
        query = _within(FOCUS if is_focus else CALLS, first, stop)
        # A table of calls shows an unknown as ClickHouse's own CSV does; FOCUS knows no such text.
        null = "" if is_focus else "\\N"
        to = out if options.format == "parquet" else cast("BinaryIO", _AsCsv(out, null))
        report.run_sql(client, query, ENGINE_FORMATS[options.format], to)
        if is_focus:
            _warn(client, first, stop)
    return 0


class _AsCsv:
    """Writes lines of JSON arrays as CSV, null as the text `null`.

    ClickHouse's own CSV has formulas in it that a spreadsheet would run, and a text for null that
    a reader may not change.
    """

    def __init__(self, out: BinaryIO, null: str) -> None:
        self._out = out
        self._null = null
        self._rest = b""

    def write(self, data: bytes) -> int:
        """Write all complete lines of the data so far."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        text = io.StringIO()
        # Numbers stay text, so that no digit changes.
        rows = (json.loads(line, parse_float=str, parse_int=str) for line in lines)
        csv.writer(text, lineterminator="\n").writerows(map(self._cells, rows))
        self._out.write(text.getvalue().encode())
        return len(data)

    def _cells(self, row: list[object]) -> list[object]:
        return [self._null if value is None else spreadsheet.cell(value) for value in row]


def _warn(client: Client, first: datetime, stop: datetime) -> None:
    count = client.query(_within(LEFT_OUT, first, stop)).result_rows[0][0]
    if count:
        sys.stderr.write(
            f"{counted(count, 'call')} without a price, whose cost is in no row: "
            "see `tallyspan report`\n"
        )


def _within(query: str, first: datetime, stop: datetime) -> str:
    # Only whole numbers get into the SQL, no text of the user.
    bounds = {
        f"{{{name}}}": str(microseconds(moment))
        for name, moment in (("first", first), ("stop", stop))
    }
    for name, value in bounds.items():
        query = query.replace(name, f"toInt64({value})")
    return query


@contextmanager
def _opened(name: str | None) -> Iterator[BinaryIO]:
    """Yield the stream to write to; a file appears only when it is complete."""
    if name is None:
        yield sys.stdout.buffer
        return
    try:
        with whole_file(Path(name)) as file:
            yield file
    except OSError as error:
        raise ConfigError(f"--out {name}: {error.strerror}") from None
