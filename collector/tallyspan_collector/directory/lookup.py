"""The directory in memory: which department a user belonged to at a time."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path

from clickhouse_connect.driver.client import Client

from tallyspan_collector.files.store_copy import StoreCopy

NS_PER_DAY = 86_400 * 10**9
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_Row = tuple[str, str, int, int, str]


class Directory:
    """Departments by tenant, user and day (UTC). One thread reads it anew, others look up.

    `copy` is a file for a start while the store is away: ids and departments, no names.
    """

    def __init__(self, copy: Path | None = None) -> None:
        self.copy = StoreCopy(copy)
        self._version: tuple[int, int] | None = None
        self._periods: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
        if self.copy.is_there:
            self._take(_from_json(self.copy))

    @property
    def users(self) -> int:
        """How many users it has."""
        return len(self._periods)

    def department(self, tenant: str, user_id: str, at_ns: int) -> str:
        """Return the department of the user at the time; empty: the directory does not say."""
        periods = self._periods.get((tenant, user_id))
        if periods:
            day = at_ns // NS_PER_DAY
            for first, last, department in periods:
                if first <= day <= last:
                    return department
        return ""

    def read(self, client: Client) -> bool:
        """Take the directory of the store; return whether it was another than before.

        Raises what the store raises; what was known stays.
        """
        [(count, newest)] = client.query("SELECT count(), max(version) FROM directory").result_rows
        if (count, newest) == self._version:
            self.copy.try_again()
            return False
        rows: list[_Row] = [
            (
                tenant,
                user,
                first.toordinal() - _EPOCH_DAY,
                last.toordinal() - _EPOCH_DAY,
                department,
            )
            for tenant, user, first, last, department in client.query(
                "SELECT tenant, user_id, valid_from, valid_to, department FROM directory FINAL"
                " WHERE NOT is_removed ORDER BY tenant, user_id, valid_from DESC"
            ).result_rows
        ]
        self._take(rows)
        self._version = (count, newest)
        self.copy.keep(json.dumps(rows))
        return True

    def _take(self, rows: Iterable[_Row]) -> None:
        periods: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
        for tenant, user, first, last, department in rows:
            periods.setdefault((tenant, user), []).append((first, last, department))
        self._periods = periods


def today() -> date:
    """Return the day it is (UTC)."""
    return datetime.now(UTC).date()


def _from_json(copy: StoreCopy) -> list[_Row]:
    try:
        return [
            (str(tenant), str(user), int(first), int(last), str(department))
            for tenant, user, first, last, department in json.loads(copy.read())
        ]
    except (OSError, ValueError, TypeError):
        return []  # a copy only: the store is asked next
