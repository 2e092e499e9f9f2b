"""What the ledger has of a provider's calls, in slots small enough for the days of any zone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.query.filters import Filters, source
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
_SLOT_SECONDS = 900
_QUERY = """
SELECT toUnixTimestamp(toStartOfFifteenMinutes(c.start_time)) AS slot, c.model_name AS model,
    c.service_tier AS tier, {label} AS project, count() AS calls,
    sum(ifNull(c.input_tokens, 0)) AS input, sum(ifNull(c.output_tokens, 0)) AS output,
    sum(ifNull(c.cost_usd, 0)) AS cost, countIf(c.cost_status = 'unpriced') AS unpriced,
    countIf(c.usage_source = 'estimated') AS estimated,
    sumIf(ifNull(c.total_tokens, 0), c.usage_source = 'estimated') AS estimated_tokens,
    countIf(c.input_tokens IS NULL AND c.output_tokens IS NULL) AS unknown
{text}
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
    conditions = ["c.cost_status NOT IN ('not_billed', 'notional')"]
    parameters: dict[str, object] = {}
    if providers:
        conditions.append("c.provider_name IN {providers:Array(String)}")
        parameters["providers"] = list(providers)
    if endpoint:
        conditions.append("c.endpoint_id LIKE {endpoint:String}")
        parameters["endpoint"] = like(endpoint)
    column, bound = owner_sql(label)
    filters = Filters(start=start - MARGIN, end=stop + MARGIN)
    text, of_filters = source("calls", filters, "start_time", *conditions)
    query = _QUERY.format(label=column, text=text)
    rows = client.query(query, parameters=of_filters | parameters | bound).result_rows
    return [
        Recorded(datetime.fromtimestamp(slot, UTC), *rest)  # the columns are its fields, in order
        for slot, *rest in rows
    ]


def like(glob: str) -> str:
    """Return the pattern of LIKE that fits what the glob fits; `*` is any text."""
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")


def owner_sql(label: str) -> tuple[str, dict[str, object]]:
    """Return the SQL of what the ledger calls a project, and its parameters; `label` as of `read`.

    Raises `ConfigError` for another one.
    """
    if not label:
        return "''", {}
    if label.startswith("tag:") and len(label) > len("tag:"):
        return "c.tags[{tag:String}]", {"tag": label.removeprefix("tag:")}
    if label not in LABELS:
        raise ConfigError(f"--recorded-as {label}: must be one of {', '.join(LABELS)}, or tag:NAME")
    return f"c.{LABELS[label]}", {}
