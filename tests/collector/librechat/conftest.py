"""One server of MongoDB's protocol for all tests of the folder, emptied for each."""

from collections.abc import Iterator

import pytest

from librechat_ledger import LibreChat, librechat_server


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[LibreChat]:
    with librechat_server() as librechat:
        yield librechat


@pytest.fixture
def librechat(mongo_server: LibreChat) -> LibreChat:
    mongo_server.empty()
    return mongo_server
