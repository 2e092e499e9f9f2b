"""A ClickHouse of one's own: the engine of chdb-core as a child process, on loopback only."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, Self

from tallyspan_clickhouse.data_directory import (
    DATABASE,
    DataDirectory,
    is_held,
    private_file,
    read_passwords,
)
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local_config import accounts, server_settings
from tallyspan_clickhouse.local_engine import extension_path
from tallyspan_clickhouse.supervisor import Supervisor

Account = Literal["tallyspan", "tallyspan_reader"]


class LocalStore:
    """The local store, running inside a `with`.

    `http_port` 0 picks a free port; `memory_bytes` None lets the engine use half of the memory.
    Raises StoreError if the directory or the port cannot be had, or the engine does not start.
    """

    def __init__(self, data_dir: Path, http_port: int = 0, memory_bytes: int | None = None) -> None:
        self._directory = DataDirectory(data_dir)
        self._memory_bytes = memory_bytes
        self._supervisor = Supervisor(self._directory, http_port, self._configure)
        self._passwords: dict[str, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if extension_path() is None:
            raise StoreError(
                "the local store needs chdb-core: "
                "pip install 'tallyspan[local]', or use --store http://..."
            )
        with ExitStack() as stack:
            directory = stack.enter_context(self._directory)
            self._passwords = directory.passwords()
            private_file(directory.config / "users.xml", accounts(self._passwords, DATABASE))
            stack.enter_context(self._supervisor)
            directory.announce(self._supervisor.port)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Return the address for the account that may do everything, password included."""
        return self.url_for("tallyspan")

    def url_for(self, user: Account) -> str:
        """Return the address for an account, password included."""
        return _with_account(
            f"http://127.0.0.1:{self._supervisor.port}/{DATABASE}", user, self._passwords
        )

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

    def _configure(self, port: int) -> None:
        directory = self._directory
        settings = server_settings(
            port=port,
            memory_bytes=self._memory_bytes,
            config=directory.config,
            log=directory.log,
        )
        private_file(directory.config / "config.xml", settings)


def running_url(data_dir: Path, user: Account = "tallyspan") -> str | None:
    """Return where the store of this data directory runs, password included; None if it does not.

    Raises StoreError if it runs under another user, whose passwords cannot be read.
    """
    path = Path(data_dir)
    if not is_held(path):
        return None
    try:
        announced = json.loads((path / "store.json").read_text())
        passwords = read_passwords(path / "passwords.json")
    except FileNotFoundError:
        return None  # it is starting or stopping
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"cannot read where the store in {path} runs: {error}") from error
    return _with_account(announced["url"], user, passwords)


def _with_account(address: str, user: Account, passwords: dict[str, str]) -> str:
    return address.replace("://", f"://{user}:{passwords[user]}@", 1)
