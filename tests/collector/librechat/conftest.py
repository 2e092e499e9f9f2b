"""One server of MongoDB's protocol for all tests of the folder, emptied for each."""

from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from librechat_bench import Bench
from librechat_ledger import LibreChat, librechat_server
from shared_store import SharedStore


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[LibreChat]:
    with librechat_server() as librechat:
        yield librechat


@pytest.fixture
def librechat(mongo_server: LibreChat) -> LibreChat:
    mongo_server.empty()
    return mongo_server


@pytest.fixture
def bench(
    empty_store: SharedStore,
    client: Client,
    capsys: pytest.CaptureFixture[str],
    librechat: LibreChat,
) -> Bench:
    bench = Bench(empty_store.data_dir, client, capsys)
    bench.librechat, bench.store_url = librechat, empty_store.url
    return bench
