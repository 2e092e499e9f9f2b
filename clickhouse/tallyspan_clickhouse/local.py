"""A ClickHouse of one's own: the engine of chdb-core as a child process, on loopback only."""

import json
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tallyspan_clickhouse.data_directory import (
    DATABASE,
    Account,
    DataDirectory,
    Secrets,
    is_held,
    private_file,
    read_secrets,
)
from tallyspan_clickhouse.definitions import Definitions
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local_config import accounts, server_settings
from tallyspan_clickhouse.local_engine import extension_path
from tallyspan_clickhouse.supervisor import START_SECONDS, Supervisor

READ_SECONDS = 5
MIN_LIFE_SECONDS = 60.0
"""Of an engine that is started again because it cannot read a file, before it is once more."""
_UNREAD = """
SELECT last_error_message FROM system.errors
WHERE name IN ('CANNOT_READ_ALL_DATA', 'CORRUPTED_DATA', 'CHECKSUM_DOESNT_MATCH',
        'CANNOT_DECOMPRESS', 'ATTEMPT_TO_READ_AFTER_EOF', 'BAD_SIZE_OF_FILE_IN_DATA_PART',
        'NO_FILE_IN_DATA_PART')
    AND last_error_message LIKE {data:String}
"""


class LocalStore:
    """The local store, running inside a `with`.

    `http_port` 0 picks a free port; `memory_bytes` None lets the engine use half of the memory.
    Raises StoreError if the directory or the port cannot be had, or the engine does not start.
    """

    def __init__(self, data_dir: Path, http_port: int = 0, memory_bytes: int | None = None) -> None:
        self._directory = DataDirectory(data_dir)
        self._memory_bytes = memory_bytes
        directory = self._directory
        self._definitions = Definitions(directory.data, directory.path / "definitions.json")
        self._supervisor = Supervisor(directory, http_port, self._configure, self._tend)
        self._restart_due = 0.0
        self._secrets = Secrets("", {})
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if extension_path() is None:
            raise StoreError(
                "the local store needs chdb-core: "
                "pip install 'tallyspan[local]', or use --store http://..."
            )
        with ExitStack() as stack:
            directory = stack.enter_context(self._directory)
            self._secrets = directory.secrets()
            users = accounts(self._secrets.passwords, DATABASE)
            private_file(directory.config / "users.xml", users)
            self._definitions.drop_locks()
            stack.callback(self._definitions.keep)
            stack.enter_context(self._supervisor)
            directory.announce(self._secrets.url(self.port))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def sync_folders(self) -> None:
        """Put the names of tables on the disk; what is in them is there when it is acknowledged."""
        self._directory.sync_folders()

    @property
    def url(self) -> str:
        """Return the address for the account that may do everything, password included."""
        return self.url_for("tallyspan")

    def url_for(self, user: Account) -> str:
        """Return the address for an account, password included."""
        return self._secrets.url(self.port, user)

    @property
    def port(self) -> int:
        """Return the HTTP port on 127.0.0.1."""
        return self._supervisor.port

    @property
    def restarts(self) -> int:
        """Return how often the engine died and was started again."""
        return self._supervisor.restarts

    @property
    def engine_pid(self) -> int:
        """Return the process id of the engine that runs now."""
        return self._supervisor.engine_pid

    def _tend(self) -> str:
        """Keep copies of the definitions; return why the engine is to be started again, if it is.

        On a full disk it may take up a part whose files are not whole. Until its next start, at
        which it puts the part aside, no query reads the table. What is in the part was never
        acknowledged, and is sent again.
        """
        self._definitions.keep()
        try:
            with connect(self.url, read_seconds=READ_SECONDS) as client:
                rows = client.query(_UNREAD, parameters={"data": f"%{self._directory.data}%"})
        except (StoreError, ClickHouseError):  # it is starting, or stands still
            return ""
        if not rows.result_rows or time.monotonic() < self._restart_due:
            return ""
        self._restart_due = time.monotonic() + MIN_LIFE_SECONDS
        return f"it cannot read a file of its own: {rows.result_rows[0][0][:200]}"

    def _configure(self, port: int) -> str:
        """Prepare what the engine reads at its start; return the path of its pings."""
        directory = self._directory
        settings = server_settings(
            port=port,
            path=self._secrets.path,
            memory_bytes=self._memory_bytes,
            config=directory.config,
            log=directory.log,
        )
        try:
            private_file(directory.config / "config.xml", settings)
            self._definitions.mend()
        except OSError as error:
            raise StoreError(
                f"cannot write to data directory {directory.path}: {error}", retryable=True
            ) from error
        return f"/{self._secrets.path}/ping"


def start_again(client: Client) -> None:
    """Let the engine that runs end and wait for the next one, which its supervisor starts.

    Raises StoreError if none answers in time.
    """
    before = _first_query(client)
    with suppress(ClickHouseError):  # the engine ends without an answer
        client.command("SYSTEM SHUTDOWN")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(ClickHouseError):
            if _first_query(client) != before:
                return
        time.sleep(0.05)
    raise StoreError("the local store did not start again: see DATA_DIR/log", retryable=True)


def _first_query(client: Client) -> str:
    """Return the id of the query that keeps the engine up: each engine has its own."""
    query = "SELECT argMax(query_id, elapsed) FROM system.processes"
    return str(client.query(query).result_rows[0][0])


def running_url(data_dir: Path, user: Account = "tallyspan") -> str | None:
    """Return where the store of this data directory runs, password included; None if it does not.

    Raises StoreError if it runs under another user, whose passwords cannot be read.
    """
    path = Path(data_dir)
    if not is_held(path):
        return None
    try:
        announced = json.loads((path / "store.json").read_text())
        port = urlsplit(announced["url"]).port
        return read_secrets(path).url(int(port or 0), user)
    except FileNotFoundError:
        return None  # it is starting or stopping
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"cannot read where the store in {path} runs: {error}") from error
