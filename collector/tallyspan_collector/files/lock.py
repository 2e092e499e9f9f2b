"""A file that one process holds: the kernel lets go of it when that ends, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tallyspan_clickhouse.durable import make_folder
from tallyspan_collector.errors import ConfigError


@contextmanager
def held(path: Path, what: str, patience_seconds: float) -> Iterator[None]:
    """Hold the file, made if it is not there. `what` names who holds it, for the error.

    Raises `ConfigError` if another process holds it for longer than the patience.
    """
    try:
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        _take(descriptor, path, what, patience_seconds)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, what: str, patience_seconds: float) -> None:
    until = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            holder = os.pread(descriptor, 20, 0).decode().strip()
            raise ConfigError(
                f"{path.parent}: {what} runs there already (process {holder or 'unknown'}): "
                "stop it, or choose another --data-dir"
            ) from None
        with suppress(OSError):  # a full disk: then another one is not told who holds it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return
