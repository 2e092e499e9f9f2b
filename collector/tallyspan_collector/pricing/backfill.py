"""Calls that waited for a price get it when it comes."""

import glob
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from tallyspan_collector.pricing import missing
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.reprice import Scope, run

LOOK_BACK = timedelta(days=400)
"""As far as raw entries are kept by default."""
WHO = "tallyspan"
PATIENCE_SECONDS = 2.0
"""Another collector that back-fills has the same prices: better to come again than to wait."""


def backfill(client: Client, book: PriceBook) -> int:
    """Book the cost of calls that had no price and have one now; return how many there were.

    Raises StoreError if other changes are being booked at the moment; then try again.
    """
    now = datetime.now(UTC)
    start, end = now - LOOK_BACK, now + timedelta(days=1)
    kinds = set()
    for row in missing.find(client, start):
        at_ns = [int(row[name].timestamp()) * 10**9 for name in ("first", "last")]
        found = [
            book.quote(
                row["provider_name"], row["endpoint_id"], row["model_name"], row["service_tier"], at
            )
            for at in at_ns
        ]
        if not all(isinstance(each, Unpriced) for each in found):
            kinds.add((row["model_name"], row["provider_name"], row["endpoint_id"]))
    calls = 0
    for model, provider, endpoint in sorted(kinds):
        scope = Scope(start, end, glob.escape(model), provider, endpoint, only_unpriced=True)
        result = run(
            client,
            book,
            scope,
            is_applied=True,
            changed_by=WHO,
            reason="a price arrived",
            kind="backfill",
            patience_seconds=PATIENCE_SECONDS,
        )
        calls += result.total.calls
    return calls
