"""The store under load: ROWS calls made inside the engine, then what the dashboards ask.

Prints `name value unit`: per question the rows read, the wall time and the engine's CPU time
(medians of REPEATS runs after a first one), then bytes a call, by column too. A question is one
query of a panel, or all queries of one request to the API.
"""

import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import migrate
from tallyspan_collector import summary
from tallyspan_collector.console.dashboards import bundled

ROWS = int(os.environ.get("ROWS", "1000000"))
REPEATS = int(os.environ.get("REPEATS", "7"))
STEP = 500_000
GENERATE = Path(__file__).with_name("generate.sql").read_text()
CORRECT = Path(__file__).with_name("correct.sql").read_text()
END = datetime(2026, 11, 22, 17, 23, 5, tzinfo=UTC)
"""A moment of the last day that is generated, inside a day and an hour as ranges end."""
RANGE_DAYS = int(os.environ.get("DAYS", "30"))
CHOOSERS = {
    "user": "user_id",
    "conversation": "conversation_id",
    "call": "concat(toString(trace_id), '-', toString(span_id))",
}
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
            counted = "SELECT countIf(entry_kind = 'call'), count() FROM llm_calls"
            [(have, entries)] = client.query(counted).result_rows
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
            if entries == have:
                for statement in CORRECT.replace("{database}", "tallyspan").split(";"):
                    client.command(statement)
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


class Metered:
    """A client that adds up what its queries read.

    The cache of conditions is off: a panel's range moves on.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.rows = self.bytes = self.queries = 0

    def query(self, text: str, parameters: Any = None, settings: Any = None) -> Any:
        """Return the answer of the client."""
        settings_used = {**(settings or {}), "use_query_condition_cache": 0}
        answer = self._client.query(text, parameters=parameters, settings=settings_used)
        self.queries += 1
        self.rows += int(answer.summary.get("read_rows", 0))
        self.bytes += int(answer.summary.get("read_bytes", 0))
        return answer


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody looks at: its name, and how it is asked."""

    name: str
    ask: Callable[[Client], object]


def query(name: str, sql: str, parameters: dict[str, Any]) -> Question:
    """Return the question that is one query."""
    return Question(name, lambda client: client.query(sql, parameters=parameters))


def of_dashboards(client: Client) -> Iterator[Question]:
    """Yield every question of a page and variable as the console has it, over RANGE_DAYS days."""
    start = END - timedelta(days=RANGE_DAYS)
    one = chosen(client)
    for uid, page in bundled().items():
        titles = {panel["id"]: panel["title"] for panel in json.loads(page.text)["panels"]}
        questions = [(titles[each.panels[0]], each) for each in page.questions]
        questions += [(f"${name}", each) for name, each in page.variables.items()]
        parameters: dict[str, Any] = {
            "from_s": int(start.timestamp()),
            "to_s": int(END.timestamp()),
            **{name: [] for name in page.variables},
        }
        page_name = uid.removeprefix("tallyspan-")
        if page_name in one:
            parameters[page_name] = one[page_name]
        for title, question in questions:
            sql = question.text(parameters, is_limited=False)
            name = re.sub(r"[^a-z0-9$]+", "_", title.lower()).strip("_")
            used = {each: value for each, value in parameters.items() if f"{{{each}:" in sql}
            yield query(f"{page_name}.{name}", sql, used)


def of_the_api(client: Client) -> Iterator[Question]:
    """Yield what the admin API asks for its summaries and for pages of calls."""
    in_range = summary.Filters(start=END - timedelta(days=RANGE_DAYS), end=END)
    for groups in (["user"], ["department", "model"], ["agent"], ["day", "model"], ["service"]):
        yield Question(
            f"api.by_{'_'.join(groups)}",
            partial(summary.summarise, filters=in_range, group_by=groups, limit=1_000),
        )
    yield Question("api.totals", partial(summary.totals, filters=in_range))
    [(user, conversation, agent)] = client.query(
        "SELECT any(user_id), any(conversation_id), any(agent_id) FROM llm_calls"
        " WHERE start_time >= '2026-10-30 11:00:00' AND start_time < '2026-10-30 12:00:00'"
    ).result_rows
    for name, filters in (
        ("", summary.Filters()),
        ("_of_range", in_range),
        ("_of_user", summary.Filters(user_id=user)),
        ("_of_user_at_endpoint", summary.Filters(user_id=user, endpoint_id="api.anthropic.com")),
        ("_of_conversation", summary.Filters(conversation_id=conversation)),
        ("_of_agent", summary.Filters(agent_id=agent)),
        ("_with_error", summary.Filters(status="error")),
        ("_unpriced", summary.Filters(cost_status="unpriced")),
        ("_notional", summary.Filters(cost_status="notional")),
        ("_with_tag", summary.Filters(tags=(("plan", "gold"),))),
        ("_with_a_tag_nobody_has", summary.Filters(tags=(("plan", "lead"),))),
    ):
        yield Question(
            f"api.latest_calls{name}",
            partial(summary.entries, filters=filters, limit=100),
        )


def chosen(client: Client) -> dict[str, list[str]]:
    """Return for each page with one thing chosen the name of such a thing."""
    picked = {}
    for variable, column in CHOOSERS.items():
        rows = client.query(
            f"SELECT {column} FROM llm_calls"
            " WHERE start_time >= '2026-11-10 11:00:00' AND start_time < '2026-11-10 12:00:00'"
            f" GROUP BY {column} ORDER BY count() DESC LIMIT 1"
        ).result_rows
        picked[variable] = [str(rows[0][0])] if rows else [""]
    return picked


def of_lookups(client: Client) -> Iterator[Question]:
    """Yield what looks for one conversation or trace in the ledger."""
    [(conversation, trace)] = client.query(
        "SELECT any(conversation_id), toString(any(trace_id)) FROM llm_calls"
        " WHERE start_time >= '2026-10-30 11:00:00' AND start_time < '2026-10-30 12:00:00'"
    ).result_rows
    for name, sql in LOOKED_UP.items():
        yield query(name, sql.replace("{conversation}", conversation).replace("{trace}", trace), {})


def ask(store: LocalStore, client: Client, question: Question) -> float:
    """Print what the question costs, and return its wall time in ms."""
    metered = Metered(client)
    question.ask(cast("Client", metered))
    walls, busy = [], cpu_seconds(store.engine_pid)
    for _ in range(REPEATS):
        started = time.perf_counter()
        question.ask(cast("Client", Metered(client)))
        walls.append(time.perf_counter() - started)
    busy = (cpu_seconds(store.engine_pid) - busy) / REPEATS
    name, wall = question.name, statistics.median(walls) * 1000
    figure(f"store.{name}.queries", metered.queries, "queries")
    figure(f"store.{name}.rows_read", metered.rows, "rows")
    figure(f"store.{name}.bytes_read", metered.bytes, "bytes")
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
        questions = [*of_dashboards(client), *of_the_api(client), *of_lookups(client)]
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
