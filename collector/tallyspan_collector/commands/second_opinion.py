"""`tallyspan prices check --against`: our prices beside those of a second source."""

import argparse
import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TextIO

from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.bundled import PriceData
from tallyspan_collector.pricing.second import (
    differences,
    disputes,
    extract,
    litellm_map,
    report,
    reviewed,
)
from tallyspan_collector.pricing.second.report import Report
from tallyspan_collector.pricing.second.source import SecondSource

SHIPPED = "shipped"
TABLE, JSON = "table", "json"
SHOWN = 100
"""Differences and names that are shown without --all."""


def add_flags(parser: Any) -> None:
    """Add the flags of the comparison."""
    parser.add_argument(
        "--against",
        metavar="FILE|package|shipped",
        help="compare our prices with a LiteLLM price map: a JSON file or a wheel (read, not run),"
        " the installed package, or the extract that comes with Tallyspan",
    )
    parser.add_argument("--format", choices=(TABLE, JSON), default=TABLE, help="default table")
    parser.add_argument("--at", default="", help="compare the prices of this day (default: today)")
    parser.add_argument("--all", action="store_true", help="show every line, not the first 100")
    parser.add_argument(
        "--write",
        metavar="FOLDER",
        type=Path,
        help="write the extract of the map and the list of disputed prices there, for a release",
    )


def run(options: argparse.Namespace, data: PriceData) -> int:
    """Compare and show; return 1 if a difference is not explained, or something was not read."""
    at = moment(options.at)
    source = read(options.against, at.date())
    result = compare(data, source, at)
    if options.format == JSON:
        json.dump(result.as_json(), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        write(result, sys.stdout, None if options.all else SHOWN)
    is_clean = not (result.unexplained or source.faults)
    if options.write is not None:
        _write(result, options.write, at.date())
    return 0 if is_clean else 1


def moment(text: str) -> datetime:
    """Return noon (UTC) of a day, or of today. Raises `ConfigError`."""
    try:
        day = date.fromisoformat(text) if text else datetime.now(UTC).date()
    except ValueError:
        raise ConfigError(f"--at {text}: must be a day like 2026-01-31") from None
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def read(what: str, today: date) -> SecondSource:
    """Return the source that --against names. Raises `ConfigError`."""
    if what == SHIPPED:
        return extract.read(today)[0]
    return litellm_map.read(what, today)


def compare(data: PriceData, source: SecondSource, at: datetime) -> Report:
    """Return the report on our own files over the price data; not on the administrator's file."""
    return report.make(PriceBook(data=data), source, reviewed.load(datetime.now(UTC).date()), at)


def write(result: Report, out: TextIO, maximum: int | None) -> None:
    """Write the report as text: differences, what only one side has, totals."""
    write_table([each.row() for each in result.differences[:maximum]], out)
    _more(out, len(result.differences), maximum, "differences")
    content = result.as_json()
    for title, names in (
        ("only there, without a price here", content["unpriced"]),
        ("only there, of models with a price here", content["lacking"]),
        (
            "entries that are no prices, or have keys that this version does not know",
            content["not_read"],
        ),
        ("lines of the reviewed file that explain nothing", content["reviewed_lines_not_used"]),
    ):
        if names:
            out.write(f"{title}:\n")
            out.writelines(f"  {name}\n" for name in names[:maximum])
            _more(out, len(names), maximum, "names")
    write_table(result.totals(), out)
    out.write(f"{_summary(result)}\n")


def write_open(result: Report, out: TextIO) -> None:
    """Write the differences that nobody explains, and the comparison in one sentence."""
    rows = [each.row() for each in result.unexplained]
    write_table(rows[:SHOWN], out)
    _more(out, len(rows), SHOWN, "differences")
    out.write(f"{_summary(result)}\n")


def _summary(result: Report) -> str:
    """Return the comparison in one sentence."""
    total = (result.totals() or [{}])[-1]
    if not total:
        return f"{result.source.name}: has no model that is compared"
    return (
        f"against {result.source.name}: {total['models']} models, {total['equal']} equal,"
        f" {total['explained']} differ and are explained,"
        f" {total['unexplained']} differ and are not, {total['unpriced']} without a price here"
    )


def _more(out: TextIO, count: int, maximum: int | None, what: str) -> None:
    if maximum is not None and count > maximum:
        out.write(f"  ... {count - maximum} more {what}\n")


def _write(result: Report, folder: Path, day: date) -> None:
    if result.source.faults:
        raise ConfigError(f"nothing was written: {result.source.faults[0]}")
    texts = {
        extract.FILE.name: extract.text(result.source, day),
        "disputed.yaml": disputes.text(result, day),
        differences.FILE.name: differences.text(result),
    }
    for name, content in texts.items():
        (folder / name).write_text(content, encoding="utf-8")
    sys.stdout.write(f"{folder}: wrote {', '.join(texts)}\n")
