"""What the ledger has of a provider's calls, in slots small enough for the days of any zone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from tallyspan_collector.errors import ConfigError

MARGIN = timedelta(hours=14)
"""Looked at before and after the period: as far as time zones are apart from UTC."""
LABELS = {
    "department": "department",
    "service": "service_name",
    "endpoint": "endpoint_id",
    "source": "source",
    "user": "user_id",
    "agent": "agent_id",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLOT_SECONDS = 900
_QUERY = """
SELECT toUnixTimestamp(toStartOfFifteenMinutes(c.start_time)) AS slot, c.model_name AS model,
    c.service_tier AS tier, {label} AS project, count() AS calls,
    sum(ifNull(c.input_tokens, 0)) AS input, sum(ifNull(c.output_tokens, 0)) AS output,
    sum(ifNull(c.cost_usd, 0)) AS cost, countIf(c.cost_status = 'unpriced') AS unpriced,
    countIf(c.usage_source = 'estimated') AS estimated,
    sumIf(ifNull(c.total_tokens, 0), c.usage_source = 'estimated') AS estimated_tokens,
    countIf(c.input_tokens IS NULL AND c.output_tokens IS NULL) AS unknown
FROM calls AS c
WHERE c.start_time >= fromUnixTimestamp64Micro({{start_us:Int64}}, 'UTC')
    AND c.start_time < fromUnixTimestamp64Micro({{stop_us:Int64}}, 'UTC')
    AND c.cost_status NOT IN ('not_billed', 'notional'){where}
GROUP BY slot, model, tier, project
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Calls of one model, tier and project that began in a quarter of an hour."""

    at: datetime
    model: str
    tier: str
    project: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    unpriced_calls: int
    estimated_calls: int
    estimated_tokens: int
    unknown_calls: int

    @property
    def tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens


def read(
    client: Client,
    start: datetime,
    stop: datetime,
    *,
    providers: Sequence[str] = (),
    endpoint: str = "",
    label: str = "",
) -> list[Recorded]:
    """Return the calls that a provider bills; `stop` is excluded, `MARGIN` is read on both sides.

    `providers` empty: any. `endpoint` is exact, or a glob with `*`. `label` is one of `LABELS` or
    `tag:KEY`: what the ledger calls the provider's projects.
    """
    where, parameters = "", {
        "start_us": (start - MARGIN - _EPOCH) // timedelta(microseconds=1),
        "stop_us": (stop + MARGIN - _EPOCH) // timedelta(microseconds=1),
    }  # fmt: skip
    values: dict[str, object] = dict(parameters)
    if providers:
        where += " AND c.provider_name IN {providers:Array(String)}"
        values["providers"] = list(providers)
    if endpoint:
        where += " AND c.endpoint_id LIKE {endpoint:String}"
        escaped = endpoint.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        values["endpoint"] = escaped.replace("*", "%")
    column, bound = _label(label)
    query = _QUERY.format(label=column, where=where)
    rows = client.query(query, parameters=values | bound).result_rows
    return [
        Recorded(datetime.fromtimestamp(slot, UTC), *rest)  # the columns are its fields, in order
        for slot, *rest in rows
    ]


def _label(label: str) -> tuple[str, dict[str, object]]:
    if not label:
        return "''", {}
    if label.startswith("tag:") and len(label) > len("tag:"):
        return "c.tags[{tag:String}]", {"tag": label.removeprefix("tag:")}
    if label not in LABELS:
        raise ConfigError(f"--recorded-as {label}: must be one of {', '.join(LABELS)}, or tag:NAME")
    return f"c.{LABELS[label]}", {}
