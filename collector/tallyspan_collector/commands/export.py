"""`tallyspan export`: calls as CSV or Parquet, and the datasets of FOCUS."""

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
from tallyspan_collector.booked.imports import gone_until
from tallyspan_collector.commands.price_book import PRICES, book_of
from tallyspan_collector.commands.sql import run_sql
from tallyspan_collector.commands.store import reading, writing
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files import spreadsheet
from tallyspan_collector.files.atomic import whole_file
from tallyspan_collector.focus import version_1_2
from tallyspan_collector.focus.datasets import DATASETS
from tallyspan_collector.units.counts import counted

LINES = "JSONCompactEachRowWithNames"
ENGINE_FORMATS = {"csv": LINES, "parquet": "Parquet"}
FOCUS = "focus"
VERSIONS = ("1.4", "1.2")
CALLS = """
SELECT * FROM token_usage
WHERE timestamp >= fromUnixTimestamp64Micro({first})
    AND timestamp < fromUnixTimestamp64Micro({stop})
ORDER BY timestamp, log_id"""
LEFT_OUT = """
SELECT sum(unpriced_calls) FROM usage_daily
WHERE day >= toDate(fromUnixTimestamp64Micro({first}), 'UTC')
    AND day < toDate(fromUnixTimestamp64Micro({stop}), 'UTC')"""


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan export`."""
    parser = commands.add_parser("export")
    config.add_flags(parser, (*config.READ_OPTIONS, PRICES))
    parser.add_argument("--format", choices=(*ENGINE_FORMATS, FOCUS), default="csv")
    parser.add_argument("--from", dest="first", required=True, help="first day or moment (UTC)")
    parser.add_argument("--to", dest="last", required=True, help="last day, or moment it ends at")
    parser.add_argument("--out", help="file to write; without it standard output")
    parser.add_argument(
        "--focus-version", choices=VERSIONS, default=VERSIONS[0], help="of --format focus"
    )
    parser.add_argument(
        "--dataset",
        choices=tuple(DATASETS),
        default=next(iter(DATASETS)),
        help="of FOCUS 1.4; the last two are of whole months",
    )
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    first = summary.parse_time(options.first, "--from")
    stop = summary.parse_time(options.last, "--to", is_end=True)
    if first >= stop:
        raise ConfigError(f"--from {options.first} --to {options.last}: the period has no length")
    if options.format == FOCUS:
        _check_days(options, first, stop)
        write = _write_1_2 if options.focus_version == "1.2" else _write_dataset
        write(options, first, stop)
        return 0
    with reading(options) as client, _opened(options.out) as out:
        # A table of calls shows an unknown as ClickHouse's own CSV does.
        to = out if options.format == "parquet" else cast("BinaryIO", _AsCsv(out, "\\N"))
        run_sql(client, _within(CALLS, first, stop), ENGINE_FORMATS[options.format], to)
    return 0


def _check_days(options: argparse.Namespace, first: datetime, stop: datetime) -> None:
    """Raise `ConfigError` for a period that the dataset of FOCUS cannot be of."""
    if any((moment - EPOCH) % timedelta(days=1) for moment in (first, stop)):
        raise ConfigError("--format focus has whole days: give dates for --from and --to")
    dataset = DATASETS[options.dataset]
    if options.focus_version == "1.2" and options.dataset != next(iter(DATASETS)):
        raise ConfigError(f"--dataset {options.dataset}: FOCUS 1.2 has none, only 1.4 has")
    if dataset.is_of_months and not first.day == stop.day == 1:
        raise ConfigError(
            f"--dataset {options.dataset} has whole months: give the first day of one for --from"
            " and the last day of one for --to"
        )


def _write_1_2(options: argparse.Namespace, first: datetime, stop: datetime) -> None:
    with reading(options) as client, _opened(options.out) as out:
        # FOCUS knows no text for null.
        to = cast("BinaryIO", _AsCsv(out, ""))
        run_sql(client, _within(version_1_2.CHARGES, first, stop), LINES, to)
        _warn(client, first, stop)


def _write_dataset(options: argparse.Namespace, first: datetime, stop: datetime) -> None:
    """Write a dataset of FOCUS 1.4. Raises `ConfigError` where entries of the period are gone."""
    dataset, book = DATASETS[options.dataset], book_of(options)
    with writing(options) as client, _opened(options.out) as out:  # readers do not see entries
        gone = gone_until(client)
        if gone is not None and first.date() <= gone:
            raise ConfigError(
                f"--from {options.first}: calls up to {gone} have expired or are archived, and"
                f" their cost would be missing; begin with {gone + timedelta(days=1)}, or take"
                " --focus-version 1.2, which is made of what is kept longer"
            )
        lines = io.TextIOWrapper(out, encoding="utf-8", newline="")
        rows = dataset.rows(client, book, first, stop)
        spreadsheet.write_texts(rows, dataset.columns, lines)
        lines.detach()
        _warn(client, first, stop)


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
