"""The store under load: ROWS calls made inside the engine, then what the dashboards ask.

Prints `name value unit`: per query the rows read, the wall time and the engine's CPU time (medians
of REPEATS runs after a first one), then bytes a call, by column too.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import migrate

ROWS = int(os.environ.get("ROWS", "1000000"))
REPEATS = 7
STEP = 500_000
GENERATE = Path(__file__).with_name("generate.sql").read_text()
SINCE = "'2026-10-24 00:00:00'"
PER_MODEL = "sum(cost_usd) AS cost, sum(total_tokens), sum(calls)"
QUERIES = {
    "cost_by_user_30d": f"SELECT user_id, {PER_MODEL} FROM usage_daily WHERE day >= '2026-10-24'"
    " GROUP BY user_id ORDER BY cost DESC LIMIT 50",
    "cost_by_user_30d_one_tenant": f"SELECT user_id, {PER_MODEL} FROM usage_daily"
    " WHERE tenant = 'tenant-1' AND day >= '2026-10-24'"
    " GROUP BY user_id ORDER BY cost DESC LIMIT 50",
    "cost_by_model_30d": f"SELECT model_name, {PER_MODEL} FROM usage_daily"
    " WHERE day >= '2026-10-24' GROUP BY model_name ORDER BY cost DESC",
    "cost_by_department_30d": f"SELECT department, {PER_MODEL} FROM usage_daily"
    " WHERE day >= '2026-10-24' GROUP BY department ORDER BY cost DESC",
    "cost_by_agent_30d": f"SELECT agent_id, {PER_MODEL} FROM usage_hourly"
    f" WHERE hour >= {SINCE} GROUP BY agent_id ORDER BY cost DESC",
    "series_by_day_and_model_90d": f"SELECT day, model_name, {PER_MODEL} FROM usage_daily"
    " GROUP BY day, model_name ORDER BY day",
    "one_user_by_day_90d": f"SELECT day, {PER_MODEL} FROM usage_daily"
    " WHERE user_id = 'user00042@example.com' GROUP BY day ORDER BY day",
    "data_health_7d": "SELECT source, service_name, sum(calls), sum(unpriced_calls)"
    " FROM data_health WHERE hour >= '2026-11-16 00:00:00' GROUP BY source, service_name",
    "conversation_by_id": "SELECT * FROM conversations WHERE conversation_id = '{conversation}'",
    "calls_of_a_conversation": "SELECT * FROM calls WHERE conversation_id = '{conversation}'",
    "calls_of_a_trace": "SELECT * FROM calls WHERE trace_id = '{trace}'",
    "latest_calls_of_a_day": "SELECT * FROM token_usage WHERE timestamp >= '2026-11-22 00:00:00'"
    " ORDER BY timestamp DESC LIMIT 100",
    "latency_by_model_7d": "SELECT model_name, quantiles(0.5, 0.95)(duration_us) FROM calls"
    " WHERE start_time >= '2026-11-16 00:00:00' GROUP BY model_name",
}


@contextmanager
def filled() -> Iterator[tuple[LocalStore, Client]]:
    """Yield a store with ROWS calls; it is kept in $BENCH_STORE when that is set, else removed."""
    kept = os.environ.get("BENCH_STORE")
    folder = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="tallyspan-bench-"))
    try:
        with LocalStore(folder) as store, connect(store.url) as client:
            migrate(client)
            have = client.query("SELECT count() FROM llm_calls").result_rows[0][0]
            started = time.monotonic()
            for first in range(have, ROWS, STEP):
                values = {
                    "{database}": "tallyspan",
                    "{first}": str(first),
                    "{rows}": str(ROWS),
                    "{step}": str(min(STEP, ROWS - first)),
                }
                text = GENERATE
                for name, value in values.items():
                    text = text.replace(name, value)
                client.command(text)
            figure("store.generated", ROWS - have, "calls")
            figure("store.generated_in", round(time.monotonic() - started, 1), "s")
            yield store, client
    finally:
        if not kept:
            shutil.rmtree(folder)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(store: LocalStore, client: Client, name: str, query: str) -> None:
    """Print what the query costs; the cache of conditions is off, a panel's range moves on."""
    settings = {"use_query_condition_cache": 0}
    read = client.query(query, settings=settings).summary["read_rows"]
    walls, busy = [], cpu_seconds(store.engine_pid)
    for _ in range(REPEATS):
        started = time.perf_counter()
        client.query(query, settings=settings)
        walls.append(time.perf_counter() - started)
    busy = (cpu_seconds(store.engine_pid) - busy) / REPEATS
    figure(f"store.{name}.rows_read", read, "rows")
    figure(f"store.{name}.wall", round(statistics.median(walls) * 1000, 1), "ms")
    figure(f"store.{name}.wall_least", round(min(walls) * 1000, 1), "ms")
    figure(f"store.{name}.cpu", round(busy * 1000, 1), "ms")


def sizes(client: Client) -> None:
    """Print bytes a row, indexes included, of each table, and of each column of the ledger."""
    for table, rows, size in client.query(
        "SELECT table, sum(rows), sum(bytes_on_disk) / sum(rows) FROM system.parts"
        " WHERE active AND database = 'tallyspan' AND rows > 10 GROUP BY table ORDER BY table"
    ).result_rows:
        figure(f"store.{table}.rows", rows, "rows")
        figure(f"store.{table}.size", round(size, 1), "bytes/row")
    for column, size in client.query(
        "SELECT column, sum(column_data_compressed_bytes) / sum(rows) AS size"
        " FROM system.parts_columns WHERE active AND database = 'tallyspan'"
        " AND table = 'llm_calls' GROUP BY column ORDER BY size DESC"
    ).result_rows:
        figure(f"store.llm_calls.{column}", round(size, 2), "bytes/row")


def figure(name: str, value: object, unit: str) -> None:
    """Print one figure."""
    print(name, value, unit, flush=True)


def main() -> None:
    """Fill a store and measure it."""
    with filled() as (store, client):
        print(f"engine {client.server_version}, {os.cpu_count()} cores", file=sys.stderr)
        conversation, trace = client.query(
            "SELECT conversation_id, toString(trace_id) FROM llm_calls"
            " WHERE start_time >= '2026-10-30 11:00:00' LIMIT 1"
        ).result_rows[0]
        for name, query in QUERIES.items():
            known = query.replace("{conversation}", conversation).replace("{trace}", trace)
            ask(store, client, name, known)
        sizes(client)


if __name__ == "__main__":
    main()
