"""What the organisation decides once, kept in the store: its time zone."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.access import EVERYTHING
from tallyspan_clickhouse.query.filters import Filters, source
from tallyspan_collector.access.account import account
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.nearest import hint, nearest
from tallyspan_collector.summary.rows import Row
from tallyspan_collector.summary.times import zone_names


@dataclass(frozen=True, slots=True)
class Today:
    """Which day it is in the organisation, and the IANA name of its time zone."""

    day: date
    time_zone: str


def today(client: Client) -> Today:
    """Return the day that budgets are counted on, by the clock of the store."""
    text, parameters = source("clock", Filters(access=EVERYTHING), None)
    [(day, zone)] = client.query(
        f"SELECT c.today, c.time_zone {text}",
        parameters=parameters,
    ).result_rows
    return Today(day, zone)


def settings(client: Client) -> list[Row]:
    """Return name, value and meaning of each setting."""
    rows = client.query("SELECT name, value, meaning FROM settings ORDER BY name")
    return list(rows.named_results())


def set_settings(client: Client, values: Iterable[tuple[str, str]]) -> None:
    """Set settings, all or none. Raises ConfigError for a name or value that cannot be."""
    meanings = {row["name"]: row["meaning"] for row in settings(client)}
    rows = []
    for name, value in values:
        if name not in meanings:
            raise ConfigError(f"no setting is called {name!r}; {hint(name, meanings)}")
        _check_zone(client, value)
        rows.append([name, value, meanings[name], account(), time.time_ns()])
    client.insert(
        "organisation_settings",
        rows,
        column_names=["name", "value", "meaning", "changed_by", "version"],
    )


def _check_zone(client: Client, zone: str) -> None:
    if zone not in zone_names():
        match = nearest(zone, zone_names())
        raise ConfigError(
            "time_zone must be the IANA name of a time zone, such as UTC or Europe/Berlin, not"
            f" {zone[:60]!r}" + (f"; did you mean {match!r}?" if match else "")
        )
    count = "SELECT count() FROM system.time_zones WHERE time_zone = {zone:String}"
    if client.query(count, parameters={"zone": zone}).result_rows == [(0,)]:
        raise ConfigError(f"time_zone: the store does not know {zone!r}; take a city of that zone")
