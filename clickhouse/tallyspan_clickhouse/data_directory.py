"""The folder of a local store: its lock, its secrets, and where a running store is announced."""

import fcntl
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from tallyspan_clickhouse.accounts import READER
from tallyspan_clickhouse.durable import sync_folder
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local_config import WRITER

Account = Literal["tallyspan", "tallyspan_reader"]
DATABASE = "tallyspan"
SECRETS, READABLE = "passwords.json", "readable.json"
# Whoever asks whether a store runs holds the lock for a moment; an opener waits that long.
LOCK_PATIENCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Secrets:
    """What lets a client in: the path that the port answers on, and a password for each account."""

    path: str
    passwords: dict[str, str]

    def url(self, port: int, user: Account | None = None) -> str:
        """Return the address on this port, with the account and its password if one is named."""
        account = f"{user}:{self.passwords[user]}@" if user else ""
        return f"http://{account}127.0.0.1:{port}/{self.path}/{DATABASE}"


def private_file(path: Path, text: str, errors: str = "strict") -> None:
    """Write a file that only its owner can read, whole or not at all. Raises OSError.

    `errors` is what happens to characters that UTF-8 does not have, as in `str.encode`.
    """
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors=errors) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


class DataDirectory:
    """A data directory held by this process; the lock ends with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self.config = self.path / "config"
        self.data = self.path / "data"
        self.log = self.path / "log"
        self._lock = -1

    def __enter__(self) -> Self:
        try:
            for folder in (self.path, self.config, self.data, self.log):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(
                f"cannot write to data directory {self.path}: {error.strerror}; "
                "choose another --data-dir"
            ) from error
        try:
            self._take()
            self.announcement.unlink(missing_ok=True)
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.announcement.unlink(missing_ok=True)
        os.ftruncate(self._lock, 0)
        os.close(self._lock)

    @property
    def announcement(self) -> Path:
        """Return the file that tells other processes where the store is."""
        return self.path / "store.json"

    def secrets(self) -> Secrets:
        """Return what lets a client in; it is made once and kept."""
        path = self.path / SECRETS
        try:
            stored = json.loads(path.read_text()) if path.exists() else {}
            lacking = {WRITER, READER, "path"} - set(stored)
            if lacking:
                stored |= {name: secrets.token_urlsafe(24) for name in lacking}
                private_file(path, json.dumps(stored))
            return read_secrets(self.path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"cannot use {path}: {error}; remove it to have new passwords made"
            ) from error

    def readable(self) -> list[Path]:
        """Return the folders beside its own that the engine may read. Raises StoreError."""
        return readable(self.path)

    def sync_folders(self) -> None:
        """Put the names of all tables on the disk: the engine syncs files, not where they are."""
        for folder in (self.path, self.data, *self.data.glob("*/"), *self.data.glob("*/*/"),
                       *self.data.glob("store/*/*/")):  # fmt: skip
            sync_folder(folder)

    def announce(self, url: str) -> None:
        """Tell other processes of this user where the store is; without passwords."""
        private_file(self.announcement, json.dumps({"url": url, "pid": os.getpid()}))

    def _take(self) -> None:
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                holder = os.pread(self._lock, 20, 0).decode().strip()
                raise StoreError(
                    f"data directory {self.path} is in use by process {holder or '(unknown)'}; "
                    "stop it or choose another --data-dir"
                ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)


def read_secrets(data_dir: Path) -> Secrets:
    """Return what lets a client in. Raises OSError, KeyError or ValueError if it cannot be read."""
    stored = json.loads((data_dir / SECRETS).read_text())
    return Secrets(str(stored["path"]), {user: str(stored[user]) for user in (WRITER, READER)})


def readable(data_dir: Path) -> list[Path]:
    """Return the folders of archives that the engine of this store may read. Raises StoreError."""
    path = data_dir / READABLE
    try:
        return [Path(folder) for folder in json.loads(path.read_text())] if path.exists() else []
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"cannot use {path}: {error}; remove it and make the views anew") from None


def set_readable(data_dir: Path, folders: list[Path]) -> None:
    """Keep which folders the engine may read from its next start on."""
    private_file(data_dir / READABLE, json.dumps([str(folder) for folder in folders]))


def is_held(path: Path) -> bool:
    """Return whether a process holds this data directory now."""
    try:
        lock = os.open(path / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
