"""The cost of calls that waited for a price, booked when the price arrives."""

import glob
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from tallyspan_collector.booked import missing
from tallyspan_collector.booked.reprice import Reprice, Scope
from tallyspan_collector.booked.run import BRIEF_PATIENCE_SECONDS, run
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Unpriced

LOOK_BACK = timedelta(days=400)
"""As far as raw entries are kept by default."""


def backfill(client: Client, book: PriceBook) -> int:
    """Book the cost of calls that had no price and have one now; return how many there were.

    Raises StoreError if other changes are being booked at the moment; then try again.
    """
    now = datetime.now(UTC)
    start, end = now - LOOK_BACK, now + timedelta(days=1)
    places = set()
    for row in missing.find(client, start):
        place = (row["provider_name"], row["endpoint_id"], row["model_name"])
        at_ns = [int(row[name].timestamp()) * 10**9 for name in ("first", "last")]
        under = row["conditions"]
        quotes = [book.quote(*place, row["service_tier"], at, under) for at in at_ns]
        if not all(isinstance(quote, Unpriced) for quote in quotes):
            places.add(place)
    calls = 0
    for provider, endpoint, model in sorted(places):
        scope = Scope(start, end, glob.escape(model), provider, endpoint, only_unpriced=True)
        result = run(
            client,
            Reprice(book, scope, "backfill"),
            is_applied=True,
            changed_by="tallyspan",
            reason="a price arrived",
            patience_seconds=BRIEF_PATIENCE_SECONDS,
        )
        calls += result.total.calls
    return calls
