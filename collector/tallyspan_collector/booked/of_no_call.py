"""Entries that belong to no call: what is booked of each owner, and the difference as entries.

An owner is the columns that say whose an amount is; its span id is their hash. What is booked of it
is moved to what is due by its difference, so booking again adds nothing.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import one_number
from tallyspan_clickhouse.errors import StoreError
from tallyspan_collector.booked import ledger
from tallyspan_collector.booked.ledger import COUNT, Row
from tallyspan_collector.pricing.cost import MAX_COST_PICOUSD

OWNER = (
    "start_time", "tenant", "department", "department_source", "user_id", "agent_id", "source",
    "provider_name", "endpoint_id", "model_name", "service_tier", "service_name",
    "operation_name", "tags", "conditions", "trace_id", "span_id",
)  # fmt: skip
"""Columns of an entry that say whose it is."""
_MAX_USD = Decimal(MAX_COST_PICOUSD - 1).scaleb(-12)
Columns = dict[str, Any]


class Booked(NamedTuple):
    """What entries of one owner add up to, in USD, and how many there are."""

    owner: Columns
    cost_usd: Decimal
    entries: int


def identified(owner: Mapping[str, Any]) -> Columns:
    """Return the columns of an owner with the span id that they make; what is not said is empty."""
    whole = {"tags": {}, "conditions": {}, **owner}
    whole = {name: whole.get(name, "") for name in OWNER if name != "span_id"}
    return {**whole, "span_id": hex_id(8, repr(sorted(whole.items())))}


def hex_id(size: int, *texts: str) -> bytes:
    """Return a trace or span id of so many bytes, made of the texts, as hex digits."""
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=size).hexdigest().encode()


def rows(
    client: Client, kind: str, where: str, parameters: Mapping[str, Any], summed: Sequence[str]
) -> list[Row]:
    """Return what entries of a kind add up to, a row each owner, as `ledger.calls` does.

    `where` is SQL over `l`. Raises `StoreError` if the store did not answer with all of them: on a
    full disk it may answer with nothing, and everything would be booked again.
    """
    condition = f"l.entry_kind = '{kind}' AND {where}"
    count = one_number(client, f"SELECT count() FROM llm_calls AS l WHERE {condition}", parameters)  # noqa: S608
    owners = [
        *ledger.calls(
            client,
            condition,
            "count() > 0",
            parameters,
            {"units": "sumMap(l.meters)"},
            {*OWNER, *summed},
        )
    ]
    if sum(row[COUNT] for row in owners) != count:
        raise StoreError(
            f"the ledger has {count} entries of the kind {kind}, and answered with others",
            retryable=True,
        )
    return owners


def booked_costs(
    client: Client, kind: str, where: str, parameters: Mapping[str, Any]
) -> dict[bytes, Booked]:
    """Return what is booked of each owner, by span id; raises as `rows`."""
    return {
        bytes(row["span_id"]): Booked(
            {name: row[name] for name in OWNER}, row["cost_usd"] or Decimal(0), row[COUNT]
        )
        for row in rows(client, kind, where, parameters, ("cost_usd",))
    }


def differences(due: Mapping[bytes, Booked], booked: Mapping[bytes, Booked]) -> Iterator[Row]:
    """Yield a row for each owner whose cost changes: `owner`, `cost_usd` (the difference)."""
    for span_id in sorted({*due, *booked}):
        owner = (due.get(span_id) or booked[span_id]).owner
        before = booked.get(span_id, Booked(owner, Decimal(0), 0))
        wanted = due[span_id].cost_usd if span_id in due else Decimal(0)
        if wanted != before.cost_usd:
            yield {"owner": owner, "cost_usd": wanted - before.cost_usd, COUNT: before.entries}


def cost_entries(kind: str, columns: Columns, amount: Decimal) -> list[Row]:
    """Return entries of an amount in USD: one, or several where it is too large for one."""
    columns = {"cost_status": "priced", "price_id": "", **columns}
    return [
        ledger.entry_of_no_call(kind, columns | {"cost_usd": part}) for part in parts_of(amount)
    ]


def parts_of(amount: Decimal) -> list[Decimal]:
    """Return the amount in parts that fit into an entry; the last one may be 0."""
    sign, left = (1 if amount >= 0 else -1), abs(amount)
    parts = []
    while left > _MAX_USD:
        parts.append(sign * _MAX_USD)
        left -= _MAX_USD
    return [*parts, sign * left]
