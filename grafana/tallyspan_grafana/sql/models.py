"""Models & efficiency, and Prices & unpriced."""

from tallyspan_grafana.sql.common import (
    CACHE_HIT,
    CALLS,
    CHOSEN,
    IN_RANGE,
    IS_NOW,
    RANGE,
    UNPRICED,
    compared,
    name,
    ratio,
)

PER_MILLION = (
    f"SELECT {ratio('1000000 * sum(cost_usd)', 'sumIf(total_tokens, cost_usd IS NOT NULL)')} "
    f"AS per_million {IN_RANGE}"
)
CACHED = f"SELECT {CACHE_HIT} AS cache_hit {IN_RANGE}"
REASONING = (
    "SELECT ifNull(sum(reasoning_tokens), 0) / nullIf(sum(output_tokens), 0) AS reasoning "
    f"{IN_RANGE}"
)
ERRORS = f"SELECT countIf(status = 'error') / nullIf(count(), 0) AS errors {IN_RANGE}"
ERROR_COST = (
    f"SELECT if(count() = 0, 0, ifNull(sumIf(cost_usd, status = 'error'), 0)) AS spend {IN_RANGE}"
)

_SPENT_NOW = f"1000000 * sumIf(cost_usd, {IS_NOW})"
_PRICED_NOW = f"sumIf(total_tokens, cost_usd IS NOT NULL AND {IS_NOW})"
MODELS = compared(
    "model_name",
    f", {ratio(_SPENT_NOW, _PRICED_NOW)} "
    f"AS per_million, countIf({IS_NOW}) AS calls, sumIf(input_tokens, {IS_NOW}) AS input, "
    f"ifNull(sumIf(cache_read_tokens, {IS_NOW}), 0) / nullIf(input, 0) AS cache_hit, "
    f"sumIf(output_tokens, {IS_NOW}) AS output, sumIf(reasoning_tokens, {IS_NOW}) AS reasoning, "
    f"countIf(status = 'error' AND {IS_NOW}) AS errors, "
    f"quantileIf(0.5)(duration_us, {IS_NOW}) / 1e6 AS p50, "
    f"quantileIf(0.95)(duration_us, {IS_NOW}) / 1e6 AS p95, "
    f"quantileIf(0.95)(time_to_first_chunk_us, {IS_NOW}) / 1e6 AS first_chunk",
)


def tokens_per_day(zone: str) -> str:
    """Return the tokens of each of the zone's days by kind; the kinds add up to all tokens."""
    return (
        f"SELECT toStartOfDay(start_time, '{zone}') AS time, "
        "sum(ifNull(input_tokens, 0) - ifNull(cache_read_tokens, 0)) AS `input, not cached`, "
        "sum(ifNull(cache_read_tokens, 0)) AS `input, from the cache`, "
        "sum(ifNull(output_tokens, 0) - ifNull(reasoning_tokens, 0)) AS answers, "
        f"sum(ifNull(reasoning_tokens, 0)) AS reasoning {IN_RANGE} GROUP BY time ORDER BY time"
    )


def by(column: str) -> str:
    """Return calls, spend and errors by the column."""
    return (
        f"SELECT {name(column)} AS name, count() AS calls, countIf(status = 'error') AS errors, "
        f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {UNPRICED} AS unpriced {IN_RANGE} "
        "GROUP BY name ORDER BY spend DESC NULLS LAST, name LIMIT 100"
    )


COSTLY_ERRORS = (
    f"SELECT error_type AS error, {name('model_name')} AS model, count() AS calls, "
    "sum(total_tokens) AS tokens, sum(cost_usd) AS spend, max(start_time) AS last_call "
    f"{IN_RANGE} AND status = 'error' GROUP BY error, model "
    "ORDER BY spend DESC NULLS LAST, calls DESC, error, model LIMIT 100"
)

UNPRICED_CALLS = f"SELECT {UNPRICED} AS unpriced {IN_RANGE}"
UNPRICED_TOKENS = (
    f"SELECT if({UNPRICED} = 0, 0, sumIf(total_tokens, cost_status = 'unpriced')) AS tokens "
    f"{IN_RANGE}"
)
COVERAGE = f"SELECT 1 - {UNPRICED} / nullIf(count(), 0) AS priced {IN_RANGE}"
ESTIMATED_SPEND = (
    "SELECT if(count() = 0, 0, ifNull(sumIf(cost_usd, usage_source = 'estimated'), 0)) AS spend "
    f"{IN_RANGE}"
)
UNKNOWN_USAGE = (
    f"SELECT countIf(usage_source = 'unknown' AND cost_status != 'not_billed') AS calls {IN_RANGE}"
)
UNPRICED_MODELS = (
    f"SELECT provider_name AS provider, {name('model_name')} AS name, endpoint_id AS endpoint, "
    "unpriced_reason AS reason, count() AS calls, sum(total_tokens) AS tokens, "
    f"min(start_time) AS first_call, max(start_time) AS last_call {IN_RANGE} "
    "AND cost_status = 'unpriced' GROUP BY provider, name, endpoint, reason "
    "ORDER BY tokens DESC NULLS LAST, calls DESC, name LIMIT 200"
)
PRICES_USED = (
    f"SELECT provider_name AS provider, {name('model_name')} AS name, service_tier AS tier, "
    "price_source AS price, count() AS calls, sum(total_tokens) AS tokens, sum(cost_usd) AS spend, "
    f"{ratio('1000000 * sum(cost_usd)', 'sum(total_tokens)')} AS per_million {IN_RANGE} "
    "AND cost_usd IS NOT NULL AND cost_status != 'not_billed' "
    "GROUP BY provider, name, tier, price ORDER BY spend DESC NULLS LAST, name, tier LIMIT 500"
)
HOW_PRICED = (
    "SELECT cost_status AS state, usage_source AS counted_by, count() AS calls, "
    f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend {IN_RANGE} "
    "GROUP BY state, counted_by ORDER BY calls DESC, state, counted_by"
)


def unpriced_per_day(zone: str) -> str:
    """Return the unpriced calls of each of the zone's days by reason."""
    return (
        f"SELECT toStartOfDay(start_time, '{zone}') AS time, unpriced_reason AS reason, "
        f"count() AS calls {CALLS} WHERE {RANGE} AND {CHOSEN} AND cost_status = 'unpriced' "
        "GROUP BY time, reason ORDER BY time, reason"
    )
