"""`tallyspan month`: months are listed, checked, closed and opened again."""

import argparse
import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tallyspan_collector import config
from tallyspan_collector.access.account import account
from tallyspan_collector.commands.bill_flags import pair
from tallyspan_collector.commands.store import writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.months import checks, close, lines, listing
from tallyspan_collector.months.checks import Check
from tallyspan_collector.summary import plain
from tallyspan_collector.summary.bills import in_one_line
from tallyspan_collector.units.money import dollars

_AMOUNTS = ("recorded_usd", "true_up_usd", "prior_period_usd", "cost_usd", "billed_usd")


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan month`."""
    parser = commands.add_parser(
        "month", description="Exit code 0: done; 1: a check does not hold; 2: called wrongly."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="months, and what is recorded, trued up and billed")
    listed.add_argument("--format", choices=("table", "json", "csv"), default="table")
    checked = actions.add_parser("check", help="what must hold before a month is closed")
    closed = actions.add_parser("close", help="keep the figures of a month for good")
    closed.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="CHECK=REASON",
        help="close although this check does not hold",
    )
    closed.add_argument("--reason", default="", help="why; kept")
    reopened = actions.add_parser("reopen", help="let a closed month change again")
    reopened.add_argument("--reason", required=True, help="why; kept")
    for action, run in ((listed, _list), (checked, _check), (closed, _close), (reopened, _reopen)):
        config.add_flags(action, config.READ_OPTIONS)
        if action is not listed:
            action.add_argument("month", help="a month of UTC, such as 2026-10")
        action.set_defaults(run=run)


def _list(options: argparse.Namespace) -> int:
    with writing(options) as client:
        rows = listing.months(client)
    names = [name for name in listing.COLUMNS if name != "accepted"]
    texts = [plain(row | {"month": f"{row['month']:%Y-%m}"}) for row in rows]
    match options.format:
        case "json":
            sys.stdout.write(json.dumps({"months": texts}, indent=1, ensure_ascii=False) + "\n")
        case "csv":
            write_rows(texts, names, sys.stdout)
        case _:
            write_table([_shown(row) for row in rows], sys.stdout)
    return 0


def _shown(row: dict[str, Any]) -> dict[str, str]:
    amounts = {
        name.removesuffix("_usd").replace("_", " "): "-"
        if row[name] is None
        else dollars(row[name])
        for name in _AMOUNTS
    }
    state = f"{row['state']} (version {row['version']})" if row["version"] else row["state"]
    return {"month": f"{row['month']:%Y-%m}", "state": state, **amounts, "by": row["written_by"]}


def _check(options: argparse.Namespace) -> int:
    month = lines.month_of(options.month)
    with writing(options) as client:
        done = checks.checks(client, month)
    _write_checks(done)
    return 0 if all(each.is_passed for each in done) else 1


def _close(options: argparse.Namespace) -> int:
    month = lines.month_of(options.month)
    accepted = dict(pair(text, "--accept") for text in options.accept)
    if len(accepted) < len(options.accept):
        raise ConfigError("--accept: names a check twice")
    with writing(options) as client:
        closed = close.close(client, month, accepted, reason=options.reason, by=account())
        of_month = [each for each in listing.months(client, month) if each["month"] == month]
    _write_checks(closed.checks, accepted)
    if closed.refused:
        names = ", ".join(each.name for each in closed.refused)
        sys.stderr.write(
            f"tallyspan: {options.month} stays open: {names}; mend it, or --accept NAME=REASON\n"
        )
        return 1
    sys.stdout.write(f"{options.month} is closed as version {closed.version}")
    sentences = [
        in_one_line(row["cost_usd"], row["true_up_usd"], row["prior_period_usd"], row["billed_usd"])
        for row in of_month
    ]
    sys.stdout.write(f": {sentences[0] if sentences else 'nothing in it'}\n")
    return 0


def _reopen(options: argparse.Namespace) -> int:
    month = lines.month_of(options.month)
    with writing(options) as client:
        result = close.reopen(client, month, reason=options.reason, by=account())
    moved = -result.by_month.get(month, Decimal(0))
    sys.stdout.write(f"{options.month} is open; {dollars(moved)} of corrections went back to it\n")
    return 0


def _write_checks(done: Sequence[Check], accepted: dict[str, str] | None = None) -> None:
    accepted = accepted or {}
    write_table(
        [
            {
                "check": each.name,
                "": "holds"
                if each.is_passed
                else "accepted"
                if each.name in accepted
                else "does not hold",
                "because": f"{each.about} ({accepted[each.name]})"
                if each.name in accepted
                else each.about,
            }
            for each in done
        ],
        sys.stdout,
    )
