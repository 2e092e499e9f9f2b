"""What imports of any kind have in common: name in the ledger, days that are gone, who books."""

from datetime import date, timedelta
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse import removals
from tallyspan_clickhouse.retention import expired_until
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing.book import PriceBook

OF_IMPORTS = "import:"
"""How the column `source` of their entries begins."""
EVERY_SECONDS = 6 * 3600
LOOK_BACK_DAYS = 7


class Booking(NamedTuple):
    """What it takes to book: prices, the directory, who does it and why."""

    prices: PriceBook
    directory: Directory
    changed_by: str = "tallyspan"
    reason: str = "provider-side usage"


def label_of(name: str) -> str:
    """Return the column `source` of the entries of an import."""
    return f"{OF_IMPORTS}{name}"


def gone_until(client: Client) -> date | None:
    """Return the last day (UTC) whose calls may have expired or been archived; None: none have."""
    expired = expired_until(client)
    days = [last for _, last in removals.spans(client)] + ([expired] if expired else [])
    return max(days, default=None)


def check_kept(client: Client, first: date) -> None:
    """Raise `ConfigError` for a day whose calls are gone: nothing would seem to be recorded."""
    until = gone_until(client)
    if until is not None and first <= until:
        raise ConfigError(
            f"--from {first}: calls up to {until} have expired or are archived, and could not be"
            f" told from calls that no span tells of; begin with {until + timedelta(days=1)}"
        )
