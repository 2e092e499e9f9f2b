"""`tallyspan budgets set|list|remove|check|thresholds`: how much may be spent, and was."""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_collector import config, summary
from tallyspan_collector.commands.store import reading, writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.summary import budgets, plain
from tallyspan_collector.summary.budgets import Budget, Row
from tallyspan_collector.summary.settings import today
from tallyspan_collector.units.money import cents

# Scope -> the filter that its calls are chosen by.
FILTER_OF = {each.group: each.filter for each in SCHEMA.dimensions if each.group in budgets.SCOPES}
# Each state that `check` can fail at, with all states that are as bad or worse.
FAIL_AT = {name: budgets.STATES[place:] for place, name in enumerate(budgets.STATES) if place}


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan budgets`."""
    parser = commands.add_parser("budgets")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, run: Callable[[argparse.Namespace], int], what: str) -> Any:
        subparser = actions.add_parser(name, help=what, allow_abbrev=False)
        config.add_flags(subparser, config.READ_OPTIONS)
        subparser.set_defaults(run=run)
        return subparser

    setting = action("set", _set, "make or change a budget, and show where it stands")
    _add_scope(setting)
    setting.add_argument("--amount", required=True, help="USD a period: 5000 or 12.50")
    setting.add_argument("--owner", default="", help="who answers for it")
    setting.add_argument("--from", dest="start", default="", help="first day (default today)")
    setting.add_argument("--to", dest="end", default="", help="last day (default: no end)")
    setting.add_argument("--warn", default="80", help="percent that is nearly all (default 80)")
    setting.add_argument("--critical", default="100", help="percent that is too much (default 100)")
    setting.add_argument(
        "--dry-run",
        action="store_true",
        help="change nothing; show what this period and three before would use",
    )

    listed = action("list", _list, "every budget that holds today, the most used first")
    listed.add_argument("--all", action="store_true", help="past and future ones too")
    listed.add_argument("--history", action="store_true", help="what was spent in earlier periods")
    listed.add_argument("--format", choices=("table", "json", "csv"), default="table")

    removed = action("remove", _remove, "end a budget; its past periods stay")
    _add_scope(removed)
    removed.add_argument("--on", default="", help="first day without it (default today)")

    checked = action("check", _check, "for cron: exit code 1 if a budget is in a bad state")
    checked.add_argument(
        "--fail-at",
        choices=tuple(FAIL_AT),
        default="over",
        help="this state or worse (default over)",
    )

    alerts = action("thresholds", _thresholds, "what the alert rules compare with; NAME=VALUE sets")
    alerts.add_argument("values", nargs="*", metavar="NAME=VALUE")


def _add_scope(parser: argparse.ArgumentParser) -> None:
    of = parser.add_mutually_exclusive_group(required=True)
    of.add_argument("--total", action="store_true", help="of all calls together")
    for scope in budgets.SCOPES[1:]:
        flag, what = _flag(scope), scope.replace("_", " ")
        of.add_argument(
            flag,
            action=_Once,
            metavar="KEY=VALUE" if scope == "tag" else "NAME",
            help=f"of one {what}"
            + (", or '*': of each user that has none of its own" if scope == "user" else ""),
        )
    parser.add_argument("--period", choices=budgets.PERIODS, default="month")


class _Once(argparse.Action):
    """Keeps the value of a flag, and refuses a second one."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option_string} is there twice: a budget is of one")
        setattr(namespace, self.dest, values)


def _flag(scope: str) -> str:
    return f"--{scope.replace('_', '-')}"


def _scope(options: argparse.Namespace) -> tuple[str, str]:
    if options.total:
        return "total", ""
    scope = next(each for each in budgets.SCOPES[1:] if getattr(options, each) is not None)
    name = str(getattr(options, scope))
    if not name:
        raise ConfigError(f"{_flag(scope)}: name one")
    return scope, name


def _set(options: argparse.Namespace) -> int:
    scope, name = _scope(options)
    last = _day(options.end, "--to")
    start = _day(options.start, "--from")

    def budget_of(client: Client) -> Budget:
        return Budget(
            scope,
            name,
            options.period,
            start or today(client).day,
            _amount(options.amount),
            date.fromordinal(last.toordinal() + 1) if last else budgets.OPEN_END,
            _percent(options.warn, "--warn"),
            _percent(options.critical, "--critical"),
            options.owner,
        )

    if options.dry_run:
        with reading(options) as client:
            write_table(_preview(client, budget_of(client)), sys.stdout)
        return 0
    with writing(options) as client:
        budget = budget_of(client)
        before = [each for each in budgets.stored(client) if _is_of(each, budget)]
        budgets.put(client, budget)
        now = [each for each in budgets.status(client) if _is_stand_of(each, budget)]
        if not _has_calls(client, budget):
            sys.stderr.write(
                f"warning: no call in the ledger is of {budget.title}:"
                " is the name as calls have it?\n"
            )
    was = [each for each in before if each.valid_from <= budget.valid_from < each.valid_to]
    changed = f"; it was {cents(was[-1].amount_usd)}" if was else ""
    sys.stderr.write(
        f"budget of {budget.title}: {cents(budget.amount_usd)} from {budget.valid_from}{changed}\n"
    )
    write_table([_shown(each) for each in now], sys.stdout)
    return 0


def _has_calls(client: Client, budget: Budget) -> bool:
    """Return whether the ledger has a call that the budget is of, as far as calls name it."""
    if budget.scope in {"total", "cost_centre"} or budget.name == budgets.EACH:
        return True
    ever = _filters(budget, date(1970, 1, 2), date(2105, 1, 1), ZoneInfo("UTC"))
    return bool(summary.totals(client, ever)["calls"])


def _preview(client: Client, budget: Budget) -> list[Row]:
    """Return the use of the budget in the current period and in the three before it."""
    if budget.scope == "cost_centre" or budget.name == budgets.EACH:
        raise ConfigError(
            "--dry-run adds up what calls name, and none names"
            f" {_flag(budget.scope)} {budget.name}: set it, and look at"
            " `tallyspan budgets list --history`"
        )
    rows = []
    now = today(client)
    start = _period_start(budget.period, now.day)
    for _ in range(4):
        end = _period_start(budget.period, start + _MAX_DAYS[budget.period])
        spent = summary.totals(client, _filters(budget, start, end, ZoneInfo(now.time_zone)))
        cost = spent["cost_usd"] or Decimal(0)
        rows.append(
            {
                "period": f"{start} to {end - timedelta(days=1)}",
                "amount": cents(budget.amount_usd),
                "spent": cents(cost),
                "used": f"{cost / budget.amount_usd:.1%}",
                "unpriced_calls": spent["unpriced_calls"],
            }
        )
        start = _period_start(budget.period, start - timedelta(days=1))
    return rows


# The first day of a period plus so many days is a day of the next period.
_MAX_DAYS = {
    "month": timedelta(days=31),
    "quarter": timedelta(days=92),
    "year": timedelta(days=366),
}


def _period_start(period: str, day: date) -> date:
    months = {"month": 1, "quarter": 3, "year": 12}[period]
    return date(day.year, (day.month - 1) // months * months + 1, 1)


def _filters(budget: Budget, start: date, end: date, zone: ZoneInfo) -> summary.Filters:
    first, last = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (start, end))
    if budget.scope == "tag":
        key, _, value = budget.name.partition("=")
        return summary.Filters(tags=((key, value),), start=first, end=last)
    named = {} if budget.scope == "total" else {FILTER_OF[budget.scope]: budget.name}
    return summary.Filters(named, start=first, end=last)


def _list(options: argparse.Namespace) -> int:
    with (writing if options.all else reading)(options) as client:
        if options.all:
            rows = [_declared(each) for each in budgets.stored(client)]
        elif options.history:
            rows = budgets.periods(client)
        else:
            rows = budgets.status(client)
    match options.format:
        case "json":
            sys.stdout.write(json.dumps([plain(_text_days(row)) for row in rows], indent=2) + "\n")
        case "csv":
            if rows:
                shown = [plain(_text_days(row)) for row in rows]
                write_rows(shown, list(rows[0]), sys.stdout)
        case _:
            shown = rows if options.all else [_shown(each) for each in rows]
            write_table(shown, sys.stdout)
            if not rows:
                sys.stderr.write("there is no budget; make one with: tallyspan budgets set\n")
    return 0


def _remove(options: argparse.Namespace) -> int:
    scope, name = _scope(options)
    on = _day(options.on, "--on")
    with writing(options) as client:
        day = on or today(client).day
        for each in budgets.end(client, scope, name, options.period, day):
            when = "is withdrawn" if each.is_withdrawn else f"ends before {day}"
            sys.stderr.write(f"budget of {each.title}, from {each.valid_from}: {when}\n")
    return 0


def _check(options: argparse.Namespace) -> int:
    with reading(options) as client:
        rows = budgets.status(client)
    bad = [row for row in rows if row["state"] in FAIL_AT[options.fail_at]]
    write_table([_shown(each) for each in bad], sys.stdout)
    sys.stderr.write(f"{len(bad)} of {len(rows)} budgets: {options.fail_at} or worse\n")
    return 1 if bad else 0


def _thresholds(options: argparse.Namespace) -> int:
    values = [_threshold(text) for text in options.values]
    with (writing if values else reading)(options) as client:
        if values:
            budgets.set_thresholds(client, values)
        rows = budgets.thresholds(client)
    write_table([row | {"value": f"{row['value']:g}"} for row in rows], sys.stdout)
    return 0


def _is_of(other: Budget, budget: Budget) -> bool:
    return (other.scope, other.name, other.period) == (budget.scope, budget.name, budget.period)


def _is_stand_of(row: Row, budget: Budget) -> bool:
    is_of = (row["scope"], row["period"]) == (budget.scope, budget.period)
    if budget.name == budgets.EACH:
        return is_of and bool(row["is_each"])
    return is_of and row["name"] == budget.name and not row["is_each"]


def _declared(budget: Budget) -> Row:
    return {
        "budget": budget.title,
        "amount": cents(budget.amount_usd),
        "from": str(budget.valid_from),
        "to": "" if budget.valid_to == budgets.OPEN_END else str(budget.valid_to),
        "warn": f"{budget.warn_percent}%",
        "critical": f"{budget.critical_percent}%",
        "owner": budget.owner,
    }


def _shown(row: Row) -> Row:
    """Return a row of `status` or `periods` with its values as text."""
    shown = {
        "budget": budgets.title(row["scope"], row["name"], row["period"], is_each=row["is_each"]),
        "from": str(row["period_start"]),
        "amount": cents(row["amount_usd"]),
        "spent": cents(row["spent_usd"]),
        "used": f"{row['used']:.1%}",
        "unpriced_calls": row["unpriced_calls"],
    }
    if "state" in row:
        forecast, used_up = row["forecast_usd"], row["used_up_on"]
        low, high = row["forecast_low_usd"], row["forecast_high_usd"]
        shown |= {
            "forecast": "unknown yet" if forecast is None else cents(forecast),
            "likely": "" if forecast is None else f"{cents(low)} to {cents(high)}",
            "used_up_on": str(used_up or ""),
            "state": row["state"],
        }
    return shown | {"owner": row["owner"]}


def _text_days(row: Row) -> Row:
    return {name: str(value) if type(value) is date else value for name, value in row.items()}


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text.removeprefix("$").replace("_", ""))
    except InvalidOperation:
        raise ConfigError(f"--amount {text!r}: must be USD, for example 5000 or 12.50") from None


def _percent(text: str, flag: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):  # noqa: PLR2004  Budget checks
        raise ConfigError(f"{flag} {text!r}: must be a whole number of percent, for example 80")
    return int(text)


def _day(text: str, flag: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{flag} {text!r}: must be a date, for example 2026-12-01") from None


def _threshold(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if equals:
            return name, float(value)
    except ValueError:
        pass
    raise ConfigError(f"{text!r}: must be NAME=VALUE, for example spike_floor_usd=20")
