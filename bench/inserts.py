"""What an insert costs the store: CPU us a call of its engine, whole and without each of its views.

    python bench/inserts.py [--seconds 6] [--calls 65536]

A collector with a local store takes the load of `otlp_load` for some seconds. The batches it has
inserted are then inserted again, in inserts of so many calls, into a fresh store for each figure:
`all` until the merges have ended; `unmerged` without any merge; `unmerged.without_NAME` without the
view that fills a rollup and what is filled from there; `unmerged.ledger` without any view.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lz4.frame
from clickhouse_connect.driver.client import Client

sys.path.insert(0, str(Path(__file__).resolve().parent))
import collector
import store

from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import LocalStore, running_url
from tallyspan_clickhouse.migrate import migrate
from tallyspan_clickhouse.schema import COLUMNS, FEEDS, TABLES
from tallyspan_collector.ingest.inserter import SETTINGS, TABLE

NAMES = [column.name for column in COLUMNS]


def batches(folder: Path, seconds: float) -> list[tuple[int, bytes]]:
    """Return calls and Native blocks of the batches that a collector inserts under load."""
    with collector.ours(folder) as (process, ready):
        load = collector.bodies("genai")
        collector.cost(ready, process.pid, load, collector.IN_FLIGHT, seconds)
        url = running_url(folder)
        assert url is not None
        with connect(url) as client:
            rows = client.query(
                "SELECT batch_id, count() FROM llm_calls"
                " GROUP BY batch_id ORDER BY min(ingested_at)"
            ).result_rows
            select = f"SELECT {', '.join(NAMES)} FROM llm_calls WHERE batch_id = "
            return [
                (calls, client.raw_query(f"{select}{batch}", fmt="Native")) for batch, calls in rows
            ]


def inserts(blocks: Sequence[tuple[int, bytes]], calls: int) -> Iterator[tuple[int, bytes]]:
    """Yield the calls and the body of each insert: as many blocks as make so many calls."""
    held: list[bytes] = []
    count = 0
    for more, block in blocks:
        held.append(block)
        count += more
        if count >= calls:
            yield count, lz4.frame.compress(b"".join(held))
            held, count = [], 0


@contextmanager
def fresh(without: Sequence[str]) -> Iterator[tuple[LocalStore, Client]]:
    """Yield an empty store that lacks the views of these tables."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStore(Path(folder)) as local,
        connect(local.url) as client,
    ):
        migrate(client)
        for table in without:
            client.command(f"DROP VIEW {FEEDS[table]} SYNC")
        yield local, client


def cpu(bodies: Sequence[tuple[int, bytes]], without: Sequence[str], *, is_merged: bool) -> float:
    """Return CPU us a call."""
    with fresh(without) as (local, client):
        if not is_merged:
            client.command("SYSTEM STOP MERGES")
        before = store.cpu_seconds(local.engine_pid)
        for number, (_, body) in enumerate(bodies):
            client.raw_insert(
                TABLE,
                NAMES,
                body,
                settings={**SETTINGS, "insert_deduplication_token": str(number)},
                fmt="Native",
                compression="lz4",
            )
        quiet = 0
        while is_merged and quiet < 8:
            [(running,)] = client.query("SELECT count() FROM system.merges").result_rows
            quiet = 0 if running else quiet + 1
            time.sleep(0.25)
        spent = store.cpu_seconds(local.engine_pid) - before
    return spent / sum(calls for calls, _ in bodies) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--calls", type=int, default=65_536)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        blocks = batches(Path(folder), options.seconds)
    bodies = list(inserts(blocks, options.calls))
    store.figure("inserts.calls", sum(calls for calls, _ in bodies) // len(bodies), "calls/insert")
    store.figure("inserts.all", round(cpu(bodies, (), is_merged=True), 2), "us/call")
    store.figure("inserts.unmerged", round(cpu(bodies, (), is_merged=False), 2), "us/call")
    fed_by = {each.name: each.fed_by for each in TABLES}
    for table in FEEDS:
        without = [table, *(name for name, source in fed_by.items() if source == table)]
        name = f"inserts.unmerged.without_{table}"
        store.figure(name, round(cpu(bodies, without, is_merged=False), 2), "us/call")
    alone = round(cpu(bodies, list(FEEDS), is_merged=False), 2)
    store.figure("inserts.unmerged.ledger", alone, "us/call")


if __name__ == "__main__":
    main()
