"""What-if over ROWS calls (default 200,000) of 90 days: `name value unit`."""

import os
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import migrate
from tallyspan_collector.pricing.alternative import read
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.summary import Filters
from tallyspan_collector.summary.what_if import what_if

ROWS = int(os.environ.get("ROWS", "200000"))
GENERATE = Path(__file__).with_name("generate.sql").read_text()
PRICES = """\
prices:
  - {model: model-*, unit: 1M tokens, input: 1, output: 4, cache_read: 0.1}
  - {model: cheap, unit: 1M tokens, input: 0.2, output: 0.8, cache_read: 0.02}
"""
PERIOD = Filters(start=datetime(2026, 8, 1, tzinfo=UTC), end=datetime(2026, 11, 25, tzinfo=UTC))


def main() -> None:
    """Fill a store, compare all its calls twice, and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "models_pricing.yaml")
        path.write_text(PRICES)
        book = PriceBook.load(path)
        with LocalStore(Path(folder)) as store, connect(store.url) as client:
            migrate(client)
            text = GENERATE.replace("{database}", "tallyspan").replace("{first}", "0")
            client.command(text.replace("{rows}", str(ROWS)).replace("{step}", str(ROWS)))
            for name in ("cheap", "no-cache"):
                started = time.perf_counter()
                total = what_if(client, book, PERIOD, read(name, book), ["model"]).total
                seconds = time.perf_counter() - started
                calls = total.compared_calls + total.not_compared_calls
                print(f"what_if.{name} {calls / seconds:.0f} calls/s")
    print(f"what_if.memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


if __name__ == "__main__":
    main()
