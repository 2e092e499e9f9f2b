"""Budgets and thresholds of alerts in the store: what may be spent, and when somebody is told.

Where a budget stands is worked out by the view `budget_status`; dashboards, alerts, the API and the
command read it there.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.access import EVERYTHING, Access
from tallyspan_clickhouse.query.filters import Filters, source
from tallyspan_collector.access.account import account
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.nearest import hint

SCOPES = ("total", "department", "user", "agent", "model", "endpoint", "tag", "cost_centre")
EACH = "*"
"""Name of the budget that each user has who has none of the own."""
PERIODS = ("month", "quarter", "year")
STATES = ("ok", "forecast over", "warning", "over")
OPEN_END = date(2149, 6, 6)
MAX_USD = Decimal(10**12)
MAX_PERCENT = 1_000

Row = dict[str, Any]
_STATUS = (
    "scope, name, period, period_start, period_end, days_left, amount_usd, spent_usd,"
    " left_usd, used, unpriced_calls, forecast_usd, forecast_low_usd, forecast_high_usd,"
    " forecast_used, used_up_on, warn_percent, critical_percent, owner, state, is_each"
)


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent on something in each period, from `valid_from` to before `valid_to`.

    Days are those of the organisation's time zone. The name of a tag is KEY=VALUE; EACH is of each
    user who has no budget of the own. Raises ConfigError for what cannot be.
    """

    scope: str
    name: str
    period: str
    valid_from: date
    amount_usd: Decimal
    valid_to: date = OPEN_END
    warn_percent: int = 80
    critical_percent: int = 100
    owner: str = ""
    is_withdrawn: bool = False

    def __post_init__(self) -> None:
        if self.scope not in SCOPES or self.period not in PERIODS:
            raise ConfigError(f"no budget is of {self.scope!r} and {self.period!r}")
        if (self.scope == "total") != (self.name == ""):
            raise ConfigError(f"a budget of scope {self.scope} cannot be of {self.name!r}")
        if self.scope == "tag" and not all(self.name.partition("=")):
            raise ConfigError(
                f"a budget of a tag is of KEY=VALUE, for example project=apollo, not {self.name!r}"
            )
        if self.name == EACH and self.scope != "user":
            raise ConfigError(f"only users have a budget for each, not what is of {self.scope}")
        if not (self.amount_usd.is_finite() and 0 < self.amount_usd < MAX_USD):
            raise ConfigError(f"the amount must be above 0 USD and below 10^12: {self.amount_usd}")
        if self.amount_usd != round(self.amount_usd, 6):
            raise ConfigError(f"an amount has six decimals at most: {self.amount_usd}")
        if not 0 < self.warn_percent <= self.critical_percent <= MAX_PERCENT:
            raise ConfigError(
                "percentages must rise from 1 to 1000:"
                f" warn at {self.warn_percent}, critical at {self.critical_percent}"
            )
        if not date(1970, 1, 1) <= self.valid_from < self.valid_to <= OPEN_END:
            raise ConfigError(
                f"a budget must begin before it ends: {self.valid_from} to {self.valid_to}"
            )

    @property
    def title(self) -> str:
        """What people call it: `department research, month`."""
        return title(self.scope, self.name, self.period, is_each=self.name == EACH)


def title(scope: str, name: str, period: str, *, is_each: bool) -> str:
    """Return what people call a budget; `is_each`: it is the one for each user."""
    of = "each user" if name == EACH else f"{scope} {name}".strip().replace("_", " ", 1)
    return f"{of}, {period}" + (" (of each user)" if is_each and name != EACH else "")


def put(client: Client, budget: Budget) -> None:
    """Write a budget, or a new version of the one with its scope, name, period and beginning."""
    row = asdict(budget) | {"changed_by": account(), "version": time.time_ns()}
    client.insert("budgets", [list(row.values())], column_names=list(row))


def stored(client: Client) -> list[Budget]:
    """Return all budgets that are not withdrawn, past and future ones too."""
    names = list(Budget.__dataclass_fields__)
    rows = client.query(
        f"SELECT {', '.join(names)} FROM budgets FINAL WHERE NOT is_withdrawn"  # noqa: S608  own names
        " ORDER BY scope, name, period, valid_from"
    ).result_rows
    return [
        Budget(**dict(zip(names, row, strict=True)) | {"is_withdrawn": bool(row[-1])})
        for row in rows
    ]


def end(client: Client, scope: str, name: str, period: str, day: date) -> list[Budget]:
    """Let the budget hold until before `day`, and withdraw what was to follow; return the changed.

    Raises ConfigError if there is none.
    """
    matching = [
        each
        for each in stored(client)
        if (each.scope, each.name, each.period) == (scope, name, period) and each.valid_to > day
    ]
    if not matching:
        what = title(scope, name, period, is_each=False)
        raise ConfigError(
            f"no budget of {what} holds on {day} or later; see: tallyspan budgets list"
        )
    ended = [
        replace(each, valid_to=day) if each.valid_from < day else replace(each, is_withdrawn=True)
        for each in matching
    ]
    for each in ended:
        put(client, each)
    return ended


def status(client: Client, access: Access = EVERYTHING) -> list[Row]:
    """Return where each budget that holds today stands, the most used first.

    Amounts are Decimal USD, `used` and `forecast_used` ratios, `state` one of STATES.
    """
    text, parameters = source("budget_status", Filters(access=access), None)
    result = client.query(
        f"SELECT {_STATUS} {text} ORDER BY used DESC, scope, name, period",
        parameters=parameters,
    )
    return list(result.named_results())


def periods(client: Client, access: Access = EVERYTHING) -> list[Row]:
    """Return what was spent against each budget in each period there was, the latest first."""
    text, parameters = source("budget_periods", Filters(access=access), None)
    result = client.query(
        "SELECT scope, name, period, period_start, period_end, is_current, amount_usd,"
        f" spent_usd, used, unpriced_calls, owner, is_each {text}"
        " ORDER BY period_start DESC, scope, name, period",
        parameters=parameters,
    )
    return list(result.named_results())


def thresholds(client: Client) -> list[Row]:
    """Return name, value and meaning of each threshold the alert rules read."""
    rows = client.query("SELECT name, value, meaning FROM alert_thresholds ORDER BY name")
    return list(rows.named_results())


def set_thresholds(client: Client, values: Iterable[tuple[str, float]]) -> None:
    """Set thresholds, all or none. Raises ConfigError for a name or value that cannot be."""
    meanings = {row["name"]: row["meaning"] for row in thresholds(client)}
    rows = []
    for name, value in values:
        if name not in meanings:
            raise ConfigError(f"no threshold is called {name!r}; {hint(name, meanings)}")
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name}: must be a number from 0 on, not {value}")
        rows.append([name, value, meanings[name], account(), time.time_ns()])
    client.insert(
        "alert_settings", rows, column_names=["name", "value", "meaning", "changed_by", "version"]
    )
