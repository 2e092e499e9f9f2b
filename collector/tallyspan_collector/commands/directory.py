"""`tallyspan directory import|list|show|unknown|correct`: users, their departments and names."""

import argparse
import getpass
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from tallyspan_collector import config, summary
from tallyspan_collector.booked import move
from tallyspan_collector.booked.prior_period import notes
from tallyspan_collector.booked.run import run
from tallyspan_collector.commands.store import reading, writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.directory import file, stored
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.directory.period import Period
from tallyspan_collector.errors import ConfigError

MAX_UNKNOWN_USERS = 1_000


def add_parser(commands: Any) -> None:
    """Give `tallyspan directory` its parser."""
    parser = commands.add_parser("directory")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    importing = actions.add_parser("import", help="take users from a .csv or .yaml file")
    config.add_flags(importing, config.READ_OPTIONS)
    importing.add_argument("file", metavar="FILE", type=Path)
    importing.add_argument("--dry-run", action="store_true", help="show it, change nothing")
    importing.add_argument(
        "--effective",
        default="",
        metavar="DAY",
        help="the file says what holds from this day on (UTC); days before it stay as they are",
    )
    importing.set_defaults(run=_import)

    listing = actions.add_parser("list", help="everyone")
    config.add_flags(listing, config.READ_OPTIONS)
    listing.set_defaults(run=_list)

    show = actions.add_parser("show", help="one user")
    config.add_flags(show, config.READ_OPTIONS)
    show.add_argument("user")
    show.set_defaults(run=_show)

    unknown = actions.add_parser("unknown", help="users with calls who are not in the directory")
    config.add_flags(unknown, config.READ_OPTIONS)
    unknown.add_argument("--since", default="30d", help="how far back: 12h, 30d, 4w (default 30d)")
    unknown.set_defaults(run=_unknown)

    correcting = actions.add_parser(
        "correct", help="preview, or with --apply book, calls of the past to the right department"
    )
    config.add_flags(correcting, config.READ_OPTIONS)
    correcting.add_argument(
        "--user", action="append", default=[], help="may be given several times (default: everyone)"
    )
    correcting.add_argument("--from", dest="first", required=True, help="first day (UTC)")
    correcting.add_argument("--to", dest="last", required=True, help="last day (UTC)")
    correcting.add_argument(
        "--even-named", action="store_true", help="also where the span itself named a department"
    )
    correcting.add_argument("--apply", action="store_true", help="book it")
    correcting.add_argument("--reason", default="", help="why; kept in directory_corrections")
    correcting.set_defaults(run=_correct)


def _import(options: argparse.Namespace) -> int:
    periods = file.read(options.file)
    effective = _day(options.effective, "--effective") if options.effective else None
    if effective is not None:
        _check_snapshot(options.file, periods)
    with writing(options) as client:
        existing = stored.stored(client)
        changes = stored.changes(periods, existing, effective)
        if not options.dry_run:
            stored.write(client, changes, getpass.getuser(), options.file.name)
    write_table([_change(each) for each in changes], sys.stdout)
    absent = {each.person for each in existing} - {each.person for each in periods}
    sentence = f"{len(changes)} periods {'would change' if options.dry_run else 'changed'}"
    rest = f"; {len(absent)} users of the directory are not in the file and stay" if absent else ""
    sys.stderr.write(f"{sentence}{rest}\n")
    return 0


def _check_snapshot(path: Path, periods: Iterable[Period]) -> None:
    seen: set[tuple[str, str]] = set()
    for period in periods:
        if period.person in seen:
            raise ConfigError(
                f"{path}: {period.user_id!r} stands there twice: with --effective the file says"
                " what holds from that day on, once for each user"
            )
        seen.add(period.person)


def _list(options: argparse.Namespace) -> int:
    with writing(options) as client:
        write_table([_row(each) for each in stored.stored(client)], sys.stdout)
    return 0


def _show(options: argparse.Namespace) -> int:
    with writing(options) as client:
        periods = stored.stored(client, options.user)
    if not periods:
        raise ConfigError(f"the directory has no user {options.user!r}")
    write_table([_row(each) for each in periods], sys.stdout)
    return 0


def _unknown(options: argparse.Namespace) -> int:
    since = summary.parse_since(options.since, datetime.now(UTC), "--since").date()
    with reading(options) as client:
        rows = stored.unknown(client, since, MAX_UNKNOWN_USERS)
    write_table([row | {"cost_usd": _usd(row["cost_usd"])} for row in rows], sys.stdout)
    sys.stderr.write(f"{len(rows)} users with calls since {since} are not in the directory\n")
    return 0


def _correct(options: argparse.Namespace) -> int:
    if options.apply and not options.reason:
        raise ConfigError("--apply needs --reason: the audit keeps why calls were moved")
    first, last = _day(options.first, "--from"), _day(options.last, "--to")
    if last < first:
        raise ConfigError(f"--to {last} is before --from {first}")
    scope = move.Scope(tuple(options.user), first, last, options.even_named)
    directory = Directory()
    with writing(options) as client:
        directory.read(client)
        result = run(
            client,
            move.Move(directory, scope),
            is_applied=options.apply,
            changed_by=getpass.getuser(),
            reason=options.reason,
        )
        closed = notes(client, first, last)
    _write(result, is_applied=options.apply)
    sys.stderr.writelines(f"tallyspan: {note}\n" for note in closed)
    return 0


def _write(result: move.Result, *, is_applied: bool) -> None:
    rows = [
        {"user": user, "from": old or "(none)", "to": new, "calls": each.calls,
         "cost_usd": _usd(each.cost_usd)}
        for (user, old, new), each in sorted(result.moved.items())
    ]  # fmt: skip
    write_table(rows, sys.stdout)
    what = "moved" if is_applied else "would move; --apply books it"
    sys.stderr.write(f"{result.total.calls} calls, {_usd(result.total.cost_usd)} USD {what}\n")
    for count, why in (
        (result.named_by_span, "whose span names another department stay; see --even-named"),
        (result.not_settled, "were booked within the last 13 hours: run this again later"),
        (result.not_in_directory, "are of users the directory does not have for that day"),
    ):
        if count:
            sys.stderr.write(f"{count} calls {why}\n")


def _change(change: stored.Change) -> dict[str, object]:
    before = f"{change.before.department}, to {change.before.valid_to}" if change.before else ""
    return {"change": change.kind, **_row(change.period), "was": before}


def _row(period: Period) -> dict[str, object]:
    [row] = stored.details([period])
    return {name: value or "" for name, value in row.items()}


def _day(text: str, flag: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{flag} must be a day like 2026-01-31, not {text!r}") from None
    if not date(1970, 1, 1) < day < date(2200, 1, 1) - timedelta(days=1):
        raise ConfigError(f"{flag} must be a day between 1970 and 2199, not {text}")
    return day


def _usd(amount: Any) -> str:
    return summary.decimal_text(amount)
