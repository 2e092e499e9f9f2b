"""The store under load: ROWS calls made inside the engine, then what the dashboards ask.

Prints `name value unit`: per query the rows read, the wall time and the engine's CPU time (medians
of REPEATS runs after a first one), then bytes a call, by column too.
"""

import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import migrate
from tallyspan_collector import summary
from tallyspan_collector.console import macros

ROWS = int(os.environ.get("ROWS", "1000000"))
REPEATS = int(os.environ.get("REPEATS", "7"))
STEP = 500_000
GENERATE = Path(__file__).with_name("generate.sql").read_text()
END = datetime(2026, 11, 22, 17, 23, 5, tzinfo=UTC)
"""A moment of the last day that is generated, inside a day and an hour as ranges end."""
RANGE_DAYS = int(os.environ.get("DAYS", "30"))
DASHBOARDS = Path(__file__).parents[1] / "grafana" / "dashboards"
CHOOSERS = {"user": "user_id", "conversation": "conversation_id"}
LOOKED_UP = {
    "sql.conversation_by_id": "SELECT * FROM conversations"
    " WHERE conversation_id = '{conversation}'",
    "sql.calls_of_a_conversation": "SELECT * FROM calls WHERE conversation_id = '{conversation}'",
    "sql.calls_of_a_trace": "SELECT * FROM calls WHERE trace_id = '{trace}'",
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


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody looks at: its name, SQL and bound parameters."""

    name: str
    sql: str
    parameters: dict[str, Any]


def of_dashboards(client: Client) -> Iterator[Question]:
    """Yield every panel and variable as the console asks them, over RANGE_DAYS days."""
    start = END - timedelta(days=RANGE_DAYS)
    one = chosen(client)
    for path in sorted(DASHBOARDS.glob("*.json")):
        page = json.loads(path.read_text())
        asked = [(panel["title"], panel["targets"][0]["rawSql"]) for panel in page["panels"]]
        asked += [
            (f"${each['name']}", each["query"]["rawSql"]) for each in page["templating"]["list"]
        ]
        single = {path.stem: one[path.stem]} if path.stem in one else {}
        for title, sql in asked:
            name = re.sub(r"[^a-z0-9$]+", "_", title.lower()).strip("_")
            yield Question(f"{path.stem}.{name}", *macros.bind(sql, start, END, single))


def of_the_api() -> Iterator[Question]:
    """Yield what the admin API asks for its summaries and a page of calls."""
    filters = summary.Filters(start=END - timedelta(days=RANGE_DAYS), end=END)
    asked: list[tuple[str, dict[str, Any]]] = []

    class Listening:
        """Takes the place of a client, to learn what is asked."""

        def query(self, text: str, parameters: dict[str, Any], **_: object) -> Any:
            asked.append((text, parameters))
            raise StopIteration

    for groups in (["user"], ["department", "model"], ["agent"], ["day", "model"], ["service"]):
        with suppress(StopIteration):
            summary.summarise(cast("Client", Listening()), filters, groups, limit=1_000)
        yield Question(f"api.by_{'_'.join(groups)}", *asked[-1])
    with suppress(StopIteration):
        summary.totals(cast("Client", Listening()), filters)
    yield Question("api.totals", *asked[-1])
    with suppress(StopIteration):
        summary.entries(cast("Client", Listening()), summary.Filters(end=END), 100)
    yield Question("api.latest_calls", *asked[-1])
    with suppress(StopIteration):
        summary.entries(cast("Client", Listening()), filters, 100)
    yield Question("api.latest_calls_of_range", *asked[-1])


def chosen(client: Client) -> dict[str, list[str]]:
    """Return for each page with one thing chosen the key of such a thing."""
    picked = {}
    for variable, column in CHOOSERS.items():
        found = client.query(
            f"SELECT concat('k', hex({column})) FROM llm_calls"
            " WHERE start_time >= '2026-11-10 11:00:00' AND start_time < '2026-11-10 12:00:00'"
            f" GROUP BY {column} ORDER BY count() DESC LIMIT 1"
        ).result_rows
        picked[variable] = [str(found[0][0])] if found else ["k"]
    return picked


def of_lookups(client: Client) -> Iterator[Question]:
    """Yield what looks for one conversation or trace in the ledger."""
    [(conversation, trace)] = client.query(
        "SELECT any(conversation_id), toString(any(trace_id)) FROM llm_calls"
        " WHERE start_time >= '2026-10-30 11:00:00' AND start_time < '2026-10-30 12:00:00'"
    ).result_rows
    for name, sql in LOOKED_UP.items():
        yield Question(
            name, sql.replace("{conversation}", conversation).replace("{trace}", trace), {}
        )


def ask(store: LocalStore, client: Client, question: Question) -> float:
    """Print what the query costs, and return its wall time in ms.

    The cache of conditions is off: a panel's range moves on.
    """
    settings = {"use_query_condition_cache": 0}

    def run() -> Any:
        return client.query(question.sql, parameters=question.parameters, settings=settings)

    summary_of = run().summary
    walls, busy = [], cpu_seconds(store.engine_pid)
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        walls.append(time.perf_counter() - started)
    busy = (cpu_seconds(store.engine_pid) - busy) / REPEATS
    name, wall = question.name, statistics.median(walls) * 1000
    figure(f"store.{name}.rows_read", summary_of["read_rows"], "rows")
    figure(f"store.{name}.bytes_read", summary_of["read_bytes"], "bytes")
    figure(f"store.{name}.wall", round(wall, 1), "ms")
    figure(f"store.{name}.wall_least", round(min(walls) * 1000, 1), "ms")
    figure(f"store.{name}.cpu", round(busy * 1000, 1), "ms")
    return wall


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
    """Fill a store and measure it; ONLY is a part of the names to measure."""
    with filled() as (store, client):
        print(f"engine {client.server_version}, {os.cpu_count()} cores", file=sys.stderr)
        questions = [*of_dashboards(client), *of_the_api(), *of_lookups(client)]
        only = os.environ.get("ONLY", "")
        walls = [ask(store, client, each) for each in questions if only in each.name]
        if walls:
            figure("store.slowest", round(max(walls), 1), "ms")
            figure("store.median", round(statistics.median(walls), 1), "ms")
            figure("store.over_200_ms", sum(wall > 200 for wall in walls), "queries")
        if not only:
            sizes(client)


if __name__ == "__main__":
    main()
