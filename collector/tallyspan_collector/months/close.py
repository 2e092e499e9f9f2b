"""A month is closed after checks, as a version of its own; or opened again. Both are kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import row_of
from tallyspan_clickhouse.clock import STORE_CLOCK
from tallyspan_clickhouse.ledger_lock import PATIENCE_SECONDS, ledger_lock
from tallyspan_collector.access.account import account
from tallyspan_collector.booked.imports import gone_until
from tallyspan_collector.booked.prior_period import PriorPeriod, Result
from tallyspan_collector.booked.run import run
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.months import lines
from tallyspan_collector.months.checks import Check, checks
from tallyspan_collector.units.months import next_month

_COLUMNS = (
    "month", "version", "state", "written_at", "written_by", "reason", "cost_usd", "lines",
    "checks", "accepted",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Closed:
    """What became of a close: `version` 0, not closed, because of the checks that `refused` it."""

    month: date
    checks: Sequence[Check]
    refused: Sequence[Check] = ()
    version: int = 0
    cost_usd: Decimal = Decimal(0)


def close(
    client: Client,
    month: date,
    accepted: Mapping[str, str],
    *,
    reason: str = "",
    by: str = "",
    today: date | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Closed:
    """Close a month (its first day), if all checks hold but those `accepted` by name with a reason.

    Raises `ConfigError` for a month that is not over or is closed, for an accepted check that does
    not exist or holds; `StoreError` while other changes are being booked.
    """
    name = f"{month:%Y-%m}"
    if next_month(month) > (today or STORE_CLOCK.now().date()):
        raise ConfigError(f"{name}: is not over (months are of UTC)")
    with ledger_lock(client, f"month close {name}", patience_seconds) as held:
        STORE_CLOCK.set_by(client)
        now_is = lines.state_of(client, month)
        if now_is.is_closed:
            raise ConfigError(
                f"{name}: is closed already, as version {now_is.version} since {now_is.at} by"
                f" {now_is.by}; tallyspan month reopen opens it again"
            )
        done = checks(client, month)
        failed = {each.name for each in done if not each.is_passed}
        if unknown := sorted(accepted.keys() - failed):
            raise ConfigError(
                f"--accept {unknown[0]}: no check of this name fails; those that do:"
                f" {', '.join(sorted(failed)) or 'none'}"
            )
        refused = [each for each in done if each.name in failed - accepted.keys()]
        if refused:
            return Closed(month, done, refused)
        held.keep()
        version = lines.keep(client, month)
        count, cost = row_of(
            client,
            "SELECT count(), sum(cost_usd) FROM closed_month_lines FINAL"
            " WHERE month = {month:Date} AND version = {version:UInt32}",
            {"month": month, "version": version},
        )
        about = json.dumps([each._asdict() for each in done])
        _write(client, [month, version, "closed", STORE_CLOCK.now(), by or account(), reason, cost,
                        count, about, dict(accepted)])  # fmt: skip
    return Closed(month, done, (), version, cost)


def reopen(
    client: Client,
    month: date,
    *,
    reason: str,
    by: str = "",
    patience_seconds: float = PATIENCE_SECONDS,
) -> Result:
    """Open a month again; its corrections go back into it. Returns what was moved back, in USD.

    Raises `ConfigError` for a month that is not closed; `StoreError` as `close`.
    """
    name = f"{month:%Y-%m}"
    with ledger_lock(client, f"month reopen {name}", patience_seconds):
        STORE_CLOCK.set_by(client)
        now_is = lines.state_of(client, month)
        if not now_is.is_closed:
            raise ConfigError(f"{name}: is not closed")
        gone = gone_until(client)
        if gone is not None and month <= gone:
            raise ConfigError(
                f"{name}: its entries up to {gone} have expired or are archived: it stays closed"
            )
        [cost] = row_of(
            client, "SELECT cost_usd FROM months WHERE month = {month:Date}", {"month": month}
        )
        _write(client, [month, now_is.version, "reopened", STORE_CLOCK.now(), by or account(),
                        reason, cost, 0, "", {}])  # fmt: skip
    return run(
        client,
        PriorPeriod(),
        is_applied=True,
        changed_by=by or account(),
        reason=f"{name} is open again: {reason}",
        patience_seconds=patience_seconds,
    )


def _write(client: Client, row: Sequence[object]) -> None:
    client.insert("month_closes", [row], column_names=_COLUMNS, settings={"async_insert": 0})
