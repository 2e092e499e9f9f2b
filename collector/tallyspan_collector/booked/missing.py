"""Models whose calls wait for a price."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.moments import microseconds, sql_moment, utc
from tallyspan_collector.pricing.cost import UnpricedReason

CURABLE = (
    UnpricedReason.UNKNOWN_MODEL.value,
    UnpricedReason.UNKNOWN_TIER.value,
    UnpricedReason.UNKNOWN_CONDITION.value,
    UnpricedReason.UNPRICED_UNIT.value,
    UnpricedReason.NO_EXCHANGE_RATE.value,
    UnpricedReason.FREE_TIER_PRICE.value,
)
"""Reasons that a line in the price file takes away."""
_QUERY = """
SELECT provider_name, endpoint_id, model_name, service_tier, conditions, unpriced_reason,
    count() AS calls, sum(total_tokens) AS tokens, min(start_time) AS first, max(start_time) AS last
FROM calls
WHERE cost_status = 'unpriced' AND unpriced_reason IN {reasons}
    AND start_time >= {start}
GROUP BY provider_name, endpoint_id, model_name, service_tier, conditions, unpriced_reason
ORDER BY tokens DESC NULLS LAST, calls DESC
""".format(reasons="{reasons:Array(String)}", start=sql_moment("start"))


def find(client: Client, start: datetime) -> list[dict[str, Any]]:
    """Return models with unpriced calls since `start`, those with the most tokens first."""
    parameters = {"reasons": list(CURABLE), "start": microseconds(start)}
    rows = client.query(_QUERY, parameters=parameters).named_results()
    return [row | {name: utc(row[name]) for name in ("first", "last")} for row in rows]


def _entries(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row an entry: one for all calls of a model that the same line gives a price.

    Tier and conditions tell calls apart where they are why there is no price. `reasons` has all
    reasons of the entry's calls.
    """
    entries: dict[tuple[object, ...], dict[str, Any]] = {}
    for row in rows:
        reason = row["unpriced_reason"]
        is_about = reason == UnpricedReason.UNKNOWN_CONDITION
        key = (
            *(row[name] for name in ("provider_name", "endpoint_id", "model_name")),
            row["service_tier"] if reason == UnpricedReason.UNKNOWN_TIER else None,
            *(sorted(row["conditions"].items()) if is_about else ()),
        )
        entry = entries.setdefault(key, row | {"calls": 0, "tokens": None, "reasons": []})
        if reason not in entry["reasons"]:
            entry["reasons"].append(reason)
        entry["calls"] += row["calls"]
        if row["tokens"] is not None:
            entry["tokens"] = (entry["tokens"] or 0) + row["tokens"]
        entry["first"] = min(entry["first"], row["first"])
    return list(entries.values())


def draft(rows: Sequence[dict[str, Any]]) -> str:
    """Return lines for the price file, the prices left to fill in."""
    if not rows:
        return "# every call has its price\n"
    lines = ["prices:"]
    for row in _entries(rows):
        tokens = "an unknown number of" if row["tokens"] is None else f"{row['tokens']:,}"
        reasons = ", ".join(row["reasons"])
        lines.append(f"  # {row['calls']:,} calls, {tokens} tokens wait ({reasons})")
        lines.append(f"  - model: {json.dumps(row['model_name'])}")
        lines.append(f"    provider: {json.dumps(row['provider_name'])}")
        if row["endpoint_id"]:
            lines.append(f"    endpoint: {json.dumps(row['endpoint_id'])}")
        if row["unpriced_reason"] == UnpricedReason.UNKNOWN_TIER:
            lines.append(f"    service_tier: {json.dumps(row['service_tier'])}")
        if row["unpriced_reason"] == UnpricedReason.UNKNOWN_CONDITION:
            lines += [
                f"    {name}: {json.dumps(value)}" for name, value in row["conditions"].items()
            ]
        lines += [
            f"    from: {row['first']:%Y-%m-%d}",
            "    unit: 1M tokens",
            "    input:   # USD",
            "    output:  # USD",
        ]
    return "\n".join(lines) + "\n"
