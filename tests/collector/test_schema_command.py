from pathlib import Path

import pytest

from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.migrate import bundled
from tallyspan_collector.cli import main

pytestmark = pytest.mark.store


def test_a_dry_run_prints_the_sql_and_changes_nothing_and_the_real_run_applies_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalStore(tmp_path) as store:
        address = ["--data-dir", str(tmp_path)]
        assert main(["store", "migrate", "--dry-run", *address]) == 0
        shown = capsys.readouterr().out
        assert [f"-- {migration.name}" in shown for migration in bundled()] == [True] * len(
            bundled()
        )
        assert "CREATE TABLE tallyspan.llm_calls" in shown
        client = connect(store.url)
        databases = client.command("SHOW DATABASES LIKE 'tallyspan'", use_database=False)
        assert "tallyspan" not in str(databases)

        assert main(["store", "migrate", *address]) == 0
        numbers = ", ".join(str(migration.version) for migration in bundled())
        assert f"applied {numbers}\n" in capsys.readouterr().err
        assert client.command("SELECT count() FROM calls") == 0
        assert main(["store", "migrate", *address]) == 0
        assert "was up to date" in capsys.readouterr().err


def test_a_dry_run_for_a_cluster_shows_replicated_and_distributed_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalStore(tmp_path):
        address = ["--data-dir", str(tmp_path)]
        assert main(["store", "migrate", "--dry-run", "--cluster", "costs", *address]) == 0

    shown = capsys.readouterr().out
    assert "ReplicatedSummingMergeTree" in shown
    assert "ENGINE = Distributed('costs', 'tallyspan', 'llm_calls', cityHash64(trace_id))" in shown
