"""Two shards: the migrations as rendered for a cluster, on two engines that know each other.

What needs Keeper (ON CLUSTER, replication) is taken out of the statements; the rest is as it runs.
"""

import json
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from ledger import book, call, price_change, reversal
from tallyspan_clickhouse import local, supervisor
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.local_config import server_settings
from tallyspan_clickhouse.migrate import BOOKKEEPING, bundled
from tallyspan_clickhouse.rendering import Target
from tallyspan_clickhouse.schema import READABLE_VIEWS

pytestmark = pytest.mark.store
PASSWORDS = {"tallyspan": "of-the-test", "tallyspan_reader": "of-the-reader"}
CONNECTING = (  # shards talk to each other, which a confined engine cannot
    "from tallyspan_clickhouse import local_engine;"
    "local_engine.confine = lambda *_, **__: None; local_engine.main()"
)
FOREGROUND = {"distributed_foreground_insert": 1, "async_insert": 0}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Client]]:
    ports = [free_port(), free_port()]
    servers = "".join(
        f"<shard><replica><host>127.0.0.1</host><port>{port}</port><user>tallyspan</user>"
        f"<password>{PASSWORDS['tallyspan']}</password></replica></shard>"
        for port in ports
    )
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor, "ENGINE", (sys.executable, "-c", CONNECTING))
        clients = []
        for port in ports:
            extra = f"<tcp_port>{port}</tcp_port><remote_servers><costs>{servers}</costs></remote_servers>"

            def settings(*, extra: str = extra, **said: Any) -> str:
                made = server_settings(**said)
                return made.replace("</clickhouse>", f"{extra}</clickhouse>")

            patch.setattr(local, "server_settings", settings)
            folder: Path = tmp_path_factory.mktemp("shard")
            (folder / "passwords.json").write_text(json.dumps(PASSWORDS))
            store = stack.enter_context(LocalStore(folder))
            client = stack.enter_context(connect(store.url))
            client.command("SYSTEM START LISTEN TCP", use_database=False)
            clients.append(client)
        for sql in (BOOKKEEPING, *(migration.sql for migration in bundled())):
            for statement in Target("tallyspan", "costs").render(sql):
                for client in clients:
                    client.command(alone(statement), use_database=False)
        yield clients


def alone(statement: str) -> str:
    """Return the statement without what needs Keeper."""
    statement = re.sub(r"ON CLUSTER '\w+'", "", statement)
    statement = statement.replace("'/clickhouse/tables/{uuid}', '{shard}-{replica}', ", "")
    return re.sub(r"ENGINE = Replicated(\w*MergeTree)", r"ENGINE = \1", statement)


def test_what_is_inserted_on_any_shard_is_in_the_totals_of_both(shards: list[Client]) -> None:
    first, second = shards
    gone, dearer = call(user_id="gone"), call(cost_usd=Decimal(1))
    made = [call(user_id=f"u{number}", cost_usd=Decimal(number)) for number in range(40)]
    made += [gone, reversal(gone), dearer, price_change(dearer, Decimal(3), dearer["start_time"])]
    names = list(made[0])
    alike = [entry for entry in made if list(entry) == names]
    rows = [[entry[name] for name in names] for entry in alike]
    first.insert("llm_calls_all", rows, column_names=names, settings=FOREGROUND)
    book(second, [entry for entry in made if list(entry) != names])

    local_rows = [
        client.query("SELECT count() FROM llm_calls").result_rows[0][0] for client in shards
    ]
    assert all(local_rows)
    assert sum(local_rows) == len(made)
    expected = (41, sum(range(40)) + 3)
    for client in shards:
        for view in READABLE_VIEWS:
            if not view.startswith("usage_") or view == "usage_entries":
                continue
            asked = f"SELECT sum(calls), sum(cost_usd) FROM {view}"
            assert client.query(asked).result_rows == [expected], view
        assert client.query("SELECT count(), sum(cost_usd) FROM calls").result_rows == [expected]
        assert client.query("SELECT count() FROM token_usage").result_rows == [(41,)]


def test_every_reporting_view_can_be_read_from_every_shard(shards: list[Client]) -> None:
    for client in shards:
        for view in READABLE_VIEWS:
            client.query(f"SELECT * FROM {view}")
