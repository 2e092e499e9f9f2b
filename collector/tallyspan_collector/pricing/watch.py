"""The price file and price data, read again when they change; a broken one changes nothing."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import structlog
from clickhouse_connect.driver.client import Client

from tallyspan_collector.access.account import account
from tallyspan_collector.errors import ConfigError, PriceError
from tallyspan_collector.pricing import in_use, rates
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.bundled import PriceData, installed

_log = structlog.get_logger()


class PriceWatch:
    """A price book that follows its file and the price data in use.

    `last_error` is why one of them is not in use; empty: both are.
    """

    def __init__(self, path: Path | None, data_dir: Path | None = None) -> None:
        """Read both. Raises `ConfigError`: a collector must not start with a broken file.

        If the price data cannot be read, the collector starts with what is installed.
        """
        self._path = path
        self._data_dir = data_dir
        self._file_error = self._data_error = ""
        self._state, self._data_state = _state(path), in_use.state(data_dir)
        self.book = PriceBook(rates.load(path) if path else None, self._data() or installed())

    @property
    def last_error(self) -> str:
        """Why the file or the data on disk is not in use; empty: both are."""
        return "; ".join(error for error in (self._file_error, self._data_error) if error)

    def poll(self) -> bool:
        """Read what changed; return whether there are new prices."""
        file, data = self._changed_file(), self._changed_data()
        if file is None and data is None:
            return False
        self.book.use(file or self.book.file, data or self.book.data)
        _log.info(
            "prices.loaded",
            file=str(self._path or ""),
            prices=len(self.book.file.rates),
            bundled=self.book.data.source,
        )
        return True

    def current(self) -> PriceBook:
        """Return the book as file and data are at this moment."""
        self.poll()
        return self.book

    def _changed_file(self) -> rates.PriceFile | None:
        state = _state(self._path)
        if self._path is None or state == self._state:
            return None
        self._state = state
        try:
            file = rates.load(self._path)
        except ConfigError as error:
            self._file_error = str(error)
            _log.error("prices.broken", error=str(error), action="keeping the old prices")
            return None
        self._file_error = ""
        return file

    def _changed_data(self) -> PriceData | None:
        state = in_use.state(self._data_dir)
        if state == self._data_state:
            return None
        self._data_state = state
        return self._data()

    def _data(self) -> PriceData | None:
        try:
            data = in_use.data_in_use(self._data_dir)
        except PriceError as error:
            self._data_error = str(error)
            _log.error("price_data.broken", error=str(error), action="keeping the old prices")
            return None
        self._data_error = ""
        return data

    def record(self, client: Client) -> None:
        """Store the version in `price_books` if it is not the newest there."""
        content = self._path.read_text(encoding="utf-8") if self._path else ""
        identity = f"{self.book.data.source}\n{content}".encode()
        digest = hashlib.blake2b(identity, digest_size=16).hexdigest()
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
            "loaded_by": account(),
            "bundled": self.book.data.source,
            "file_name": self._path.name if self._path else "",
            "content": content,
            "price_ids": sorted(ids),
            "added": sorted(ids - before),
            "removed": sorted(before - ids),
        }
        client.insert("price_books", [list(row.values())], column_names=list(row))


def age_days(data: PriceData, now: datetime) -> int | None:
    """Return days since the newest dated price of the data; None if it dates none."""
    newest = data.newest(now.date())
    return None if newest is None else (now.date() - newest).days


def too_old(data: PriceData, limit_seconds: int, now: datetime) -> str:
    """Return a sentence if the data is older than it may be, else nothing."""
    age, limit = age_days(data, now), limit_seconds // 86_400
    if age is None or age <= limit:
        return ""
    return (
        f"the price data ({data.source}) is {age} days old, more than {limit}:"
        " 'tallyspan prices update', or --prices-max-age"
    )


def _state(path: Path | None) -> tuple[int, int, int] | None:
    try:
        status = path.stat() if path else None
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status else None
