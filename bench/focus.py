"""The FOCUS 1.4 export of ROWS calls (default 1,000,000) of 90 days: `name value unit`."""

import os
import resource
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import migrate
from tallyspan_collector.cli import main as command

ROWS = int(os.environ.get("ROWS", "1000000"))
GENERATE = Path(__file__).with_name("generate.sql").read_text()
RATES = ("0.02", "0.075", "0.1", "0.15", "0.25", "0.4", "1.25", "2", "3", "5")
"""USD a million tokens of input, by the last digit of a model; answers cost four times that."""
STEP = 500_000


def prices() -> str:
    """Return the price file by which the calls are priced."""
    lines = (
        f"  - {{model: model-{number}-*, unit: 1M tokens, input: {rate},"
        f" output: {4 * Decimal(rate)}}}\n"
        for number in range(29)
        for rate in [RATES[number % 10]]
    )
    return "prices:\n" + "".join(lines)


def main() -> None:
    """Fill a store, export all of it, and print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (file := folder / "models_pricing.yaml").write_text(prices())
        with LocalStore(folder) as store, connect(store.url) as client:
            migrate(client)
            text = GENERATE.replace("{database}", "tallyspan").replace("{rows}", str(ROWS))
            for first in range(0, ROWS, STEP):
                step = str(min(STEP, ROWS - first))
                client.command(text.replace("{first}", str(first)).replace("{step}", step))
            out = folder / "focus.csv"
            flags = ["--data-dir", name, "--prices", str(file), "--out", str(out)]
            period = ["--from", "2026-08-01", "--to", "2026-11-30", "--format", "focus"]
            started = time.perf_counter()
            command(["export", *flags, *period])
            seconds = time.perf_counter() - started
        print(f"focus.memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
        rows = whole = 0
        with out.open("rb") as lines:
            for line in lines:
                rows += 1
                whole += b"not split" in line
        print(f"focus.export {seconds:.1f} s")
        print(f"focus.rows {rows - 1} rows")
        print(f"focus.not_split {whole} rows")
        print(f"focus.bytes {out.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    main()
