"""What a person's own calls cost: every question of somebody who may see nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.access import EVERYTHING, Access
from tallyspan_clickhouse.query.filters import Filters, source
from tallyspan_collector.summary.call_sums import SUMS
from tallyspan_collector.summary.rows import Row, rows

GROUPS: Mapping[str, str] = {
    "model": "c.model_name",
    "agent": "if(c.agent_name != '', c.agent_name, c.agent_id)",
    "day": "toString(toDate(c.start_time, 'UTC'))",
    # LibreChat reports the title of a conversation under the message that it was made of.
    "message": "if(startsWith(c.tags['message_id'], 'title-'), substring(c.tags['message_id'], 7),"
    " c.tags['message_id'])",
}
_ALL_SUMS = f"""{SUMS},
    toInt64(countIf(c.unpriced_reason = 'unknown_usage')) AS unknown_usage_calls,
    toInt64(countIf(c.usage_source = 'estimated')) AS estimated_calls
"""
_ORDERS = {
    "cost": "isNull(cost_usd), cost_usd DESC, calls DESC, name",
    "name": "name",
    "newest": "last_call DESC, name",
}


@dataclass(frozen=True, slots=True)
class Person:
    """A user as an application knows them: calls with this id, of these sources and this tenant.

    The same id at another application may be somebody else's. `access` is what the application
    itself may see.
    """

    user_id: str
    sources: tuple[str, ...]
    tenant: str
    access: Access = EVERYTHING


@dataclass(frozen=True, slots=True)
class OwnCalls:
    """Which of a person's calls are meant; None: any. Times are aware UTC, `end` is excluded."""

    person: Person
    conversation_id: str | None = None
    message_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    def total(self, client: Client) -> Row:
        """Return what the calls add up to; `calls` is 0 if there is none."""
        text, parameters = self._read()
        [row] = rows(client, f"SELECT {_ALL_SUMS} {text}", parameters)
        return _in_utc(row)

    def by(self, client: Client, group: str, order: str, limit: int) -> tuple[list[Row], int]:
        """Return `limit` rows with `name`, one of GROUPS, and how many more there are.

        `order`: cost (the dearest first), name or newest.
        """
        text, parameters = self._read()
        answer = rows(
            client,
            f"SELECT toString({GROUPS[group]}) AS name, {_ALL_SUMS}, count() OVER () AS groups"
            f" {text} GROUP BY name ORDER BY {_ORDERS[order]} LIMIT {{row_limit:UInt32}}",
            parameters | {"row_limit": limit},
        )
        more = answer[0]["groups"] - len(answer) if answer else 0
        for row in answer:
            del row["groups"]
        return [_in_utc(row) for row in answer], more

    def _read(self) -> tuple[str, dict[str, Any]]:
        """Return FROM and WHERE of these calls and none of anybody else's, and its parameters."""
        person = self.person
        filters = Filters(
            user_id=person.user_id,
            tenant=person.tenant,
            conversation_id=self.conversation_id,
            access=person.access,
            start=self.start,
            end=self.end,
        )
        conditions = ["c.source IN {own_sources:Array(String)}"]
        more: dict[str, Any] = {"own_sources": list(person.sources)}
        if self.message_id is not None:
            conditions.append(f"{GROUPS['message']} = {{message_id:String}}")
            more["message_id"] = self.message_id
        text, parameters = source("calls", filters, "start_time", *conditions)
        return text, parameters | more


def _in_utc(row: Row) -> Row:
    if not row["calls"]:
        return row | {"first_call": None, "last_call": None}
    return row | {name: row[name].replace(tzinfo=UTC) for name in ("first_call", "last_call")}
