"""`tallyspan archive`: months of the ledger as Parquet files; `archive-views`: views over both."""

import argparse
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from tallyspan_clickhouse import archive, archive_views
from tallyspan_clickhouse.answers import one_number
from tallyspan_clickhouse.durable import make_folder
from tallyspan_collector import config
from tallyspan_collector.commands.store import let_read, writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.units.counts import counted

LATE_DAYS = 7
"""A month is closed this long after its end: late spans and reversals are booked by then."""


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan archive` and `archive-views`."""
    parser = commands.add_parser("archive")
    config.add_flags(parser, config.READ_OPTIONS)
    parser.add_argument(
        "--before", required=True, metavar="DAY", help="months that end before this day (UTC)"
    )
    parser.add_argument("--to", required=True, type=Path, metavar="DIR", help="folder of the files")
    parser.add_argument("--keep", action="store_true", help="leave the rows in the ledger")
    parser.add_argument("--dry-run", action="store_true", help="say which months, do nothing")
    parser.set_defaults(run=_archive)

    views = commands.add_parser("archive-views")
    config.add_flags(views, config.READ_OPTIONS)
    what = views.add_mutually_exclusive_group(required=True)
    what.add_argument("--from", dest="folder", metavar="DIR", help="folder, as the server sees it")
    what.add_argument("--remove", action="store_true", help="remove the views")
    views.set_defaults(run=_views)


def _archive(options: argparse.Namespace) -> int:
    before = _closed(options.before)
    folder: Path = options.to
    try:
        make_folder(folder)
    except OSError as error:
        raise ConfigError(f"--to {folder}: {error.strerror}") from None
    with writing(options) as client:
        if one_number(client, "EXISTS TABLE llm_calls_all"):
            raise ConfigError("this store is on a cluster: archive each shard by its own backup")
        months = archive.months(client, before)
        if options.dry_run:
            sys.stderr.write(f"months to archive: {', '.join(map(str, months)) or 'none'}\n")
            return 0
        done = [archive.archive(client, month, folder, is_kept=options.keep) for month in months]
        archive.finish(client)
    write_table(
        [
            {"month": f"{each.month // 100}-{each.month % 100:02d}", "file": each.file,
             "entries": each.figures.entries, "calls": each.figures.calls,
             "cost_usd": each.figures.cost_usd}
            for each in done
        ],
        sys.stdout,
    )  # fmt: skip
    what = "kept in" if options.keep else "dropped from"
    sys.stderr.write(f"{counted(len(done), 'month')} archived, read back, and {what} the ledger\n")
    return 0


def _closed(text: str) -> date:
    try:
        before = date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--before must be a day like 2026-01-01, not {text!r}") from None
    latest = datetime.now(UTC).date() - timedelta(days=LATE_DAYS)
    if before.replace(day=1) > latest:
        raise ConfigError(
            f"--before {text}: the month before it is not closed, calls may still arrive late:"
            f" a month is archived from {LATE_DAYS} days after its end"
        )
    return before


def _views(options: argparse.Namespace) -> int:
    if options.remove:
        with writing(options) as client:
            archive_views.remove(client, str(client.database))
        let_read(options, [])
        return 0
    folder = Path(options.folder).absolute()
    names = [each.file for each in archive.manifest(folder) if not each.is_kept]
    if not names:
        raise ConfigError(f"--from {folder}: no month is archived there and only there")
    let_read(options, [folder])
    with writing(options) as client:
        database = str(client.database)
        views_database = archive_views.make(client, f"{folder}/{{{','.join(names)}}}", database)
    views = ", ".join(f"{views_database}.{view}" for view in ("llm_calls", *archive_views.VIEWS))
    sys.stderr.write(f"ledger and archive together: {views}\n")
    return 0
