"""A part whose files are not whole, as a full disk leaves one, does not keep a table from being read."""

from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from shared_store import SharedStore
from tallyspan_clickhouse.local import start_again


def test_an_engine_that_cannot_read_its_own_files_is_to_be_started_again_once(
    empty_store: SharedStore, client: Client
) -> None:
    client.command("CREATE TABLE half (a UInt64) ENGINE MergeTree ORDER BY a")
    assert empty_store._tend() == ""
    for number in (1, 2):
        client.command(f"INSERT INTO half VALUES ({number})")
    part = "SELECT path FROM system.parts WHERE table = 'half' AND active ORDER BY name LIMIT 1"
    marks = Path(str(client.command(part))) / "data.cmrk4"
    marks.write_bytes(b"")
    for what in ("MARK", "INDEX MARK"):
        client.command(f"SYSTEM DROP {what} CACHE")
    with pytest.raises(ClickHouseError, match="Empty marks file"):
        client.query("SELECT sum(a) FROM half")

    assert "it cannot read a file of its own" in empty_store._tend()
    assert empty_store._tend() == ""
    start_again(client)
    assert client.query("SELECT a FROM half").result_rows == [(2,)]
