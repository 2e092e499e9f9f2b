"""The price file, read again when it changes; a broken one leaves the prices as they are."""

import getpass
import hashlib
import socket
from datetime import UTC, datetime
from pathlib import Path

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing import bundled, rates
from tallyspan_collector.pricing.book import PriceBook

_log = structlog.get_logger()


class PriceWatch:
    """Keeps a book as its file is. `last_error` says why the file is not in use; empty: it is."""

    def __init__(self, path: Path | None) -> None:
        """Read it. Raises `ConfigError`: a collector must not start with a broken file."""
        self._path = path
        self._state = _state(path)
        self.book = PriceBook.load(path)
        self.last_error = ""

    def poll(self) -> bool:
        """Read the file if it changed; return whether there are new prices."""
        state = _state(self._path)
        if self._path is None or state == self._state:
            return False
        self._state = state
        try:
            file = rates.load(self._path)
        except ConfigError as error:
            self.last_error = str(error)
            _log.error("prices.broken", error=str(error), action="keeping the old prices")
            return False
        self.last_error = ""
        self.book.use(file)
        _log.info("prices.loaded", file=str(self._path), prices=len(file.rates))
        return True

    def record(self, client: Client) -> None:
        """Store the version in `price_books` if it is not the newest there."""
        content = self._path.read_text(encoding="utf-8") if self._path else ""
        said = f"{bundled.SOURCE}\n{content}".encode()
        digest = hashlib.blake2b(said, digest_size=16).hexdigest()
        newest = client.query(
            "SELECT hash, price_ids FROM price_books ORDER BY loaded_at DESC LIMIT 1"
        ).result_rows
        if newest and newest[0][0] == digest:
            return
        ids = {rate.price_id for rate in self.book.file.rates}
        before = set(newest[0][1]) if newest else set()
        row = {
            "hash": digest,
            "loaded_at": datetime.now(UTC),
            "loaded_by": f"{getpass.getuser()}@{socket.gethostname()}",
            "bundled": bundled.SOURCE,
            "file_name": self._path.name if self._path else "",
            "content": content,
            "price_ids": sorted(ids),
            "added": sorted(ids - before),
            "removed": sorted(before - ids),
        }
        client.insert("price_books", [list(row.values())], column_names=list(row))


def _state(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None
