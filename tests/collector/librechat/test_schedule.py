"""LibreChat's ledger is imported by the collector itself, and its calls taken back with late spans."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from config_sections import section
from ledger import book, call
from librechat_bench import Bench
from librechat_ledger import USER
from tallyspan_collector.config import Section
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.imports.schedule import Schedule
from tallyspan_collector.imports.settings import of_section
from tallyspan_collector.librechat import mongo
from tallyspan_collector.librechat.settings import LedgerImport
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.pricing.book import PriceBook

NOW = datetime.now(UTC)
AN_HOUR_AGO = NOW - timedelta(hours=1)


def entry(folder: Path, text: str) -> Section:
    return section(folder, f"imports:\n  - {{{text}}}\n")


def schedule(folder: Path, uri: str, more: str = "", metrics: Metrics | None = None) -> Schedule:
    (folder / "mongo").write_text(uri)
    what = of_section(entry(folder, f"from: librechat, mongo_file: {folder / 'mongo'}{more}"))
    prices = PriceBook()
    return Schedule(what, lambda: prices, Directory(), metrics or Metrics())


def span(client: Client, message: str, at: datetime, booked_at: datetime) -> None:
    entry = call(
        tags={"message_id": message}, request_model="gpt-5-mini", input_tokens=1200,
        output_tokens=80, user_id=str(USER), start_time=at, ingested_at=booked_at,
    )  # fmt: skip
    book(client, [entry])


def test_the_ledger_is_read_when_it_is_due_and_late_spans_take_calls_back_at_once(
    bench: Bench, tmp_path: Path
) -> None:
    bench.librechat.call("m1", at=AN_HOUR_AGO)
    bench.librechat.call("m0", at=NOW)
    metrics = Metrics()
    what = schedule(tmp_path, bench.librechat.uri, metrics=metrics)
    what.look(bench.client, NOW)
    first = len(bench.calls())
    waiting = {"name": "librechat", "reason": "waiting"}
    assert metrics.registry.get_sample_value("tallyspan_import_left_out", waiting) == 1
    bench.librechat.database.transactions.delete_many({"messageId": "m0"})
    bench.librechat.call("m2", at=AN_HOUR_AGO)
    what.look(bench.client, NOW + timedelta(hours=1))
    not_due = len(bench.calls())
    span(bench.client, "m1", AN_HOUR_AGO, datetime.now(UTC) + timedelta(seconds=5))
    what.look(bench.client, NOW + timedelta(hours=1))

    assert (first, not_due) == (1, 1)
    # the day was read again because of the span, and has the other call now
    assert bench.calls("tags") == [({"message_id": "m2"},)]
    assert what.warnings == []
    what.look(bench.client, NOW + timedelta(hours=1))
    assert bench.client.command("SELECT count() FROM llm_calls") == 4


def test_a_database_that_is_away_is_a_warning_and_is_tried_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.librechat.call("m1", at=AN_HOUR_AGO)
    monkeypatch.setattr(mongo, "ATTEMPTS", 1)
    away = "mongodb://tallyspan:SECRET@127.0.0.1:9/LibreChat?serverSelectionTimeoutMS=50"
    what = schedule(tmp_path, away)
    what.look(bench.client, NOW)
    (warning,) = what.warnings
    (tmp_path / "mongo").write_text(bench.librechat.uri)
    what.look(bench.client, NOW + timedelta(minutes=10))
    still_away = what.warnings
    what.look(bench.client, NOW + timedelta(minutes=20))

    assert warning.startswith("import librechat: MongoDB at 127.0.0.1:9 cannot be reached: ")
    assert "SECRET" not in warning
    assert still_away == [warning]
    assert what.warnings == []
    assert len(bench.calls()) == 1


def test_a_file_says_which_ledger_and_how_often(tmp_path: Path) -> None:
    (what,) = of_section(
        entry(
            tmp_path,
            "from: librechat, name: eu, mongo_variable: EU_MONGO, database: Chat, every: 1h,"
            " look_back: 2d, wait: 5m, tenant: acme, names: {u1: ada}, sources: [librechat-prod],"
            " user_field: email, people: department",
        )
    )

    assert what == LedgerImport(
        name="eu", uri_variable="EU_MONGO", database="Chat", every_seconds=3600,
        look_back_days=2, wait_seconds=300, tenant="acme", names={"u1": "ada"},
        sources=("librechat-prod",), user_field="email", people="department",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("from: librechat, url: x", "unknown key 'url'"),
        ("from: librechat, wait: soon", "wait: must be a duration"),
        ("from: librechat, people: all", "people: must be one of names, department, not 'all'"),
        ("from: libre", "no source 'libre'; did you mean 'librechat'"),
    ],
)
def test_what_cannot_be_is_refused_by_line(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        of_section(entry(tmp_path, text))


def test_the_command_takes_the_settings_of_the_file(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "mongo").write_text(bench.librechat.uri)
    entry(tmp_path, f"from: librechat, mongo_file: {tmp_path / 'mongo'}, tenant: acme")
    bench.librechat.call("m1")
    days = ["--from", "2026-03-31", "--to", "2026-03-31"]
    code = bench.run("import", *days, "--config", str(tmp_path / "tallyspan.yaml"))
    bench.name = "import"
    other = bench.run("librechat", "--config", str(tmp_path / "tallyspan.yaml"))
    refusal = bench.err
    bench.name = "reconcile"
    compared = bench.run("librechat", *days, "--config", str(tmp_path / "tallyspan.yaml"))

    assert (code, compared) == (0, 0)
    assert "imported: 1 call" in bench.out
    assert bench.calls("tenant") == [("acme",)]
    assert other == 2
    assert refusal == (
        "tallyspan: the import 'librechat' is of LibreChat's ledger: tallyspan librechat import"
        " --name librechat\n"
    )
