"""Who changed the cost of booked calls, why, and by how much: rows of `price_changes`."""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.client import Client


class Audit:
    """Writes of a run before its first entry that it began, and at the end what it did.

    `scope` has `start` and `end` of the calls looked at, and by what else they were chosen.
    """

    def __init__(
        self, client: Client, scope: Mapping[str, Any], changed_by: str, reason: str, kind: str
    ) -> None:
        where = {k: v for k, v in scope.items() if k not in {"start", "end"} and v}
        self._client = client
        self._has_begun = False
        self._row: dict[str, Any] = {
            "run_id": secrets.token_hex(8),
            "kind": kind,
            "started_at": datetime.now(UTC),
            "changed_by": changed_by,
            "reason": reason,
            "calls_from": scope["start"],
            "calls_to": scope["end"],
            "scope": json.dumps(where),
        }

    def begin(self) -> None:
        """Say that entries come; once."""
        if not self._has_begun:
            self._has_begun = True
            self._write({"state": "begun"})

    def end(self, said: Mapping[str, Any]) -> None:
        """Say what was done: totals and price ids, by the columns' names."""
        self._write({"state": "finished", **said})

    def _write(self, said: Mapping[str, Any]) -> None:
        row = self._row | {"written_at": datetime.now(UTC)} | dict(said)
        self._client.insert(
            "price_changes",
            [list(row.values())],
            column_names=list(row),
            settings={"async_insert": 0},
        )
