"""`tallyspan librechat import`: the calls of LibreChat's own ledger."""

import argparse
import sys
from collections import Counter
from datetime import UTC, datetime, time, timedelta
from typing import Any

from tallyspan_collector.commands.period import period
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.librechat.mongo import Mongo
from tallyspan_collector.librechat.pairs import paired
from tallyspan_collector.librechat.transactions import halves_of

DEFAULT_DAYS = 7


def add_parser(actions: Any) -> None:
    """Add the parser of `tallyspan librechat import`."""
    parser = actions.add_parser("import", help="show the calls of LibreChat's own ledger")
    parser.add_argument("--mongo", required=True, metavar="URI", help="its database")
    parser.add_argument("--from", dest="first", default="", help="first day (default: 7 days ago)")
    parser.add_argument("--to", dest="last", default="", help="last day (default: yesterday)")
    parser.set_defaults(run=_import)


def _import(options: argparse.Namespace) -> int:
    from bson import ObjectId

    first, last = period(options, DEFAULT_DAYS, datetime.now(UTC).date())
    bounds = (datetime.combine(day, time(), UTC) for day in (first, last + timedelta(days=1)))
    begin, end = (ObjectId.from_datetime(at) for at in bounds)
    with Mongo(options.mongo) as mongo:
        halves, unreadable = halves_of(mongo.by_id("transactions", begin, end))
    pairs, orphans = paired(halves)
    calls = Counter((pair.at.date().isoformat(), pair.prompt.model) for pair in pairs)
    rows = [{"day": day, "model": model, "calls": n} for (day, model), n in sorted(calls.items())]
    write_table(rows, sys.stdout)
    sys.stderr.write(f"{len(orphans)} halves without their other half\n")
    for why, count in unreadable.items():
        sys.stderr.write(f"{count} documents left out: {why}\n")
    return 0
