"""The folder of a local store: its lock, its passwords, and where a running store is announced."""

import fcntl
import json
import os
import secrets
import time
from pathlib import Path
from typing import Self

from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local_config import READER, WRITER

DATABASE = "tallyspan"
# Whoever asks whether a store runs holds the lock for a moment; an opener waits that long.
LOCK_PATIENCE_SECONDS = 0.5


def private_file(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
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

    def passwords(self) -> dict[str, str]:
        """Return the password of each account; they are made once and kept."""
        path = self.path / "passwords.json"
        try:
            if not path.exists():
                passwords = {user: secrets.token_urlsafe(24) for user in (WRITER, READER)}
                private_file(path, json.dumps(passwords))
            return read_passwords(path)
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(
                f"cannot use {path}: {error}; remove it to have new passwords made"
            ) from error

    def announce(self, port: int) -> None:
        """Tell other processes of this user where the store is; without passwords."""
        address = {"url": f"http://127.0.0.1:{port}/{DATABASE}", "pid": os.getpid()}
        private_file(self.announcement, json.dumps(address))

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


def read_passwords(path: Path) -> dict[str, str]:
    """Return the passwords in this file. Raises KeyError or ValueError if it is damaged."""
    stored = json.loads(path.read_text())
    return {user: str(stored[user]) for user in (WRITER, READER)}


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
