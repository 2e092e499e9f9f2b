"""What collectors say of themselves in the store: counters as what is new, gauges as they are."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry

from running import running_collector
from shared_store import SharedStore
from tallyspan_collector.access import audit
from tallyspan_collector.access.audit import AuditLog, Request
from tallyspan_collector.metrics.counters import Dropped, Metrics
from tallyspan_collector.metrics.log import MetricsLog


@pytest.fixture
def client(empty_store: SharedStore, client: Client) -> Client:
    return client


def health(client: Client) -> dict[str, object]:
    (row,) = client.query("SELECT * FROM collector_health").named_results()
    return dict(row)


def test_a_counter_is_told_once_however_often_it_is_written(client: Client) -> None:
    metrics = Metrics()
    waiting = [700.0, 300.0]
    metrics.watch("tallyspan_spool_bytes", "Bytes that wait", lambda: waiting.pop(0))
    log = MetricsLog(client, "one", metrics.registry.collect)
    metrics.dropped(Dropped.BURIED, 3)
    metrics.dropped(Dropped.DUPLICATE, 50)
    metrics.request("refused")
    metrics.request("accepted")
    log.write()
    metrics.dropped(Dropped.MALFORMED, 2)
    metrics.stored("priced", 1)
    log.write()

    assert {name: value for name, value in health(client).items() if name != "last_seen"} == {
        "collector": "one",
        "is_stopped": False,
        "calls": 1,
        "lost_spans": 5,
        "refused_requests": 1,
        "insert_failures": 0,
        "waiting_bytes": 300,
        "is_price_file_broken": False,
    }


def test_after_a_restart_counting_begins_anew_and_nothing_is_taken_back(client: Client) -> None:
    first, second = Metrics(), Metrics()
    first.dropped(Dropped.BURIED, 5)
    second.dropped(Dropped.BURIED, 2)
    collected = [list(each.registry.collect()) for each in (first, second)]
    log = MetricsLog(client, "one", lambda: collected.pop(0))
    log.write()
    log.write()

    assert health(client)["lost_spans"] == 7


def test_what_could_not_be_written_is_told_the_next_time(client: Client) -> None:
    metrics = Metrics()
    metrics.dropped(Dropped.BURIED, 4)
    log = MetricsLog(client, "one", metrics.registry.collect)
    client.database = "nowhere"
    with pytest.raises(Exception, match="nowhere"):
        log.write()
    client.database = "tallyspan"
    log.write()

    assert health(client)["lost_spans"] == 4


def test_trouble_is_of_the_last_quarter_of_an_hour(client: Client) -> None:
    now = datetime.now(UTC)
    rows = [
        (now - timedelta(minutes=ago), "one", "tallyspan_insert_failures_total", "", "counter", 1.0)
        for ago in (1, 10, 20, 600)
    ]
    client.insert("collector_metrics", rows)

    assert health(client)["insert_failures"] == 2


def test_requests_missing_in_the_audit_are_among_the_metrics_of_the_store(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_WAITING", 1)
    metrics = CollectorRegistry()
    log = AuditLog(client, metrics)
    for status in (200, 401, 403):
        log.note(Request("1", "ops", "admin", "::1", "GET", "/x", "", status, 1, 3))
    MetricsLog(client, "one", metrics.collect).write()
    sql = "SELECT kind, value FROM collector_metrics WHERE name = 'tallyspan_audit_dropped_total'"

    assert client.query(sql).result_rows == [("counter", 2.0)]


def test_a_collector_that_stops_has_told_its_metrics(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    with running_collector(tmp_path, store=empty_store.url) as running:
        pass
    with running_collector(tmp_path, store=empty_store.url) as running:
        rows = running.rows("SELECT collector, name FROM collector_metrics")

    assert {str(tmp_path) in row["collector"] for row in rows} == {True}
    assert {"tallyspan_spool_bytes", "tallyspan_collector_stopped"} <= {row["name"] for row in rows}


def test_a_collector_that_was_stopped_is_not_looked_for_until_it_begins_again(
    client: Client,
) -> None:
    metrics = Metrics()
    metrics.watch("tallyspan_spool_bytes", "Bytes that wait", lambda: 0)
    log = MetricsLog(client, "one", metrics.registry.collect)
    log.write(is_last=True)
    assert health(client)["is_stopped"]

    later = (datetime.now(UTC) + timedelta(seconds=2), "one", "tallyspan_spool_bytes", "")
    client.insert("collector_metrics", [(*later, "gauge", 0.0)])
    assert not health(client)["is_stopped"]
