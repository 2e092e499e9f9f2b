"""`tallyspan audit`: the requests to the admin API."""

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from tallyspan_collector import config, summary
from tallyspan_collector.access import audit
from tallyspan_collector.commands.store import writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.spreadsheet import write_rows

MAX_ROWS = 100_000
_SHOWN = ("at", "key_name", "role", "client", "method", "path", "query", "status", "rows",
          "duration_ms")  # fmt: skip


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan audit`."""
    parser = commands.add_parser("audit")
    config.add_flags(parser, config.READ_OPTIONS)
    parser.add_argument("--since", default="7d", help="how far back: 12h, 30d (default 7d)")
    parser.add_argument("--key", help="only requests with the key of this name")
    parser.add_argument("--status", type=int, help="only what was answered so, such as 401")
    parser.add_argument("--limit", type=int, default=100, help="rows, the newest (default 100)")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.set_defaults(run=_audit)


def _audit(options: argparse.Namespace) -> int:
    if not 1 <= options.limit <= MAX_ROWS:
        raise ConfigError(f"--limit {options.limit}: must be 1 to {MAX_ROWS}")
    start = summary.parse_since(options.since, datetime.now(UTC), "--since")
    with writing(options) as client:
        requests = audit.read(
            client, start=start, key_name=options.key, status=options.status, max_rows=options.limit
        )
    rows = [{name: row[name] for name in _SHOWN} for row in map(summary.plain, requests)]
    match options.format:
        case "json":
            sys.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
        case "csv":
            write_rows(rows, _SHOWN, sys.stdout)
        case _:
            write_table(rows, sys.stdout)
    return 0
