"""Models & efficiency, and Prices & unpriced."""

from dataclasses import replace

from tallyspan_grafana.sql.common import (
    CACHE_HIT,
    CHOSEN,
    COUNT,
    FAILED,
    IN_RANGE,
    IS_NOW,
    TOTALS,
    UNPRICED,
    compared,
    in_range,
    name,
    quantile,
    ratio,
)
from tallyspan_grafana.sql.common import (
    MODELS as SOURCE,
)

_BY_PRICE = SOURCE.in_range()
PER_MILLION = (
    "SELECT "
    f"{ratio('1000000 * sum(cost_usd)', 'ifNull(sum(total_tokens), 0) - sum(unpriced_tokens)')} "
    f"AS per_million {IN_RANGE}"
)
CACHED = f"SELECT {CACHE_HIT} AS cache_hit {IN_RANGE}"
REASONING = (
    "SELECT ifNull(sum(reasoning_tokens), 0) / nullIf(sum(output_tokens), 0) AS reasoning "
    f"{IN_RANGE}"
)
ERRORS = f"SELECT {FAILED} / nullIf({COUNT}, 0) AS errors {IN_RANGE}"
ERROR_COST = (
    f"SELECT if(count() = 0, 0, ifNull(sumIf(cost_usd, error_type != ''), 0)) AS spend {_BY_PRICE}"
)

_SPENT_NOW = f"1000000 * sumIf(cost_usd, {IS_NOW})"
_PRICED_NOW = f"ifNull(sumIf(total_tokens, {IS_NOW}), 0) - sumIf(unpriced_tokens, {IS_NOW})"
_DURATIONS, _FIRSTS = "sumMap(durations)", "sumMap(first_chunks)"
MODELS = compared(
    "model_name",
    f", {ratio(_SPENT_NOW, _PRICED_NOW)} "
    f"AS per_million, sumIf(call_count, {IS_NOW}) AS calls, "
    f"sumIf(input_tokens, {IS_NOW}) AS input, "
    f"ifNull(sumIf(cache_read_tokens, {IS_NOW}), 0) / nullIf(input, 0) AS cache_hit, "
    f"sumIf(output_tokens, {IS_NOW}) AS output, sumIf(reasoning_tokens, {IS_NOW}) AS reasoning, "
    f"sumIf(error_count, {IS_NOW}) AS errors",
    replace(TOTALS, more="unpriced_tokens"),
    of_range=f"{quantile(0.5, _DURATIONS)} AS p50, {quantile(0.95, _DURATIONS)} AS p95, "
    f"{quantile(0.95, _FIRSTS)} AS first_chunk",
    of_source=replace(TOTALS, more="durations, first_chunks", finer=""),
    shown="name, key, spend, share, before, change, per_million, calls, input, cache_hit, output, "
    "reasoning, errors, p50, p95, first_chunk",
)


def tokens_per_day(zone: str) -> str:
    """Return the tokens of each of the zone's days by kind; the kinds add up to all tokens."""
    return (
        f"SELECT toStartOfDay(at, '{zone}') AS time, "
        "sum(ifNull(input_tokens, 0) - ifNull(cache_read_tokens, 0)) AS `input, not cached`, "
        "sum(ifNull(cache_read_tokens, 0)) AS `input, from the cache`, "
        "sum(ifNull(output_tokens, 0) - ifNull(reasoning_tokens, 0)) AS answers, "
        f"sum(ifNull(reasoning_tokens, 0)) AS reasoning {IN_RANGE} GROUP BY time ORDER BY time"
    )


def by(dimension: str, column: str) -> str:
    """Return calls, spend and errors by the column, from the rows that know the dimension."""
    return (
        f"SELECT {name(column)} AS name, {COUNT} AS calls, {FAILED} AS errors, "
        f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {UNPRICED} AS unpriced "
        f"{in_range(dimension)} "
        "GROUP BY name HAVING calls != 0 ORDER BY spend DESC NULLS LAST, name LIMIT 100"
    )


_WITH_ERROR = f"{CHOSEN} AND error_type != ''"
COSTLY_ERRORS = (
    f"SELECT error_type AS error, {name('model_name')} AS model, {FAILED} AS calls, "
    "sum(total_tokens) AS tokens, sum(cost_usd) AS spend, max(at) AS last_call "
    f"{SOURCE.in_range(_WITH_ERROR)} GROUP BY error, model HAVING calls > 0 "
    "ORDER BY spend DESC NULLS LAST, calls DESC, error, model LIMIT 100"
)

UNPRICED_CALLS = f"SELECT {UNPRICED} AS unpriced {IN_RANGE}"
_WITH_UNPRICED = replace(SOURCE, more="unpriced_tokens").in_range()
UNPRICED_TOKENS = f"SELECT sum(unpriced_tokens) AS tokens {_WITH_UNPRICED}"
COVERAGE = f"SELECT 1 - {UNPRICED} / nullIf({COUNT}, 0) AS priced {IN_RANGE}"
ESTIMATED_SPEND = (
    "SELECT if(count() = 0, 0, ifNull(sumIf(cost_usd, usage_source = 'estimated'), 0)) AS spend "
    f"{_BY_PRICE}"
)
UNKNOWN_USAGE = (
    "SELECT sumIf(call_count, usage_source = 'unknown' AND cost_status != 'not_billed') AS calls "
    f"{_BY_PRICE}"
)
# The entry that prices a call later takes it back without its reason: the reason is that of most.
_UNPRICED_BY = (
    "SELECT {keys}, unpriced_reason, sum(unpriced_count) AS reason_count, "
    "sum(unpriced_tokens) AS unpriced_tokens, minIf(at, unpriced_count > 0) AS first_at, "
    "maxIf(at, unpriced_count > 0) AS last_at {source} GROUP BY {keys}, unpriced_reason"
)
UNPRICED_MODELS = (
    f"SELECT provider_name AS provider, {name('model_name')} AS name, endpoint_id AS endpoint, "
    "argMax(unpriced_reason, reason_count) AS reason, sum(reason_count) AS calls, "
    "sum(u.unpriced_tokens) AS tokens, minIf(first_at, reason_count > 0) AS first_call, "
    "maxIf(last_at, reason_count > 0) AS last_call FROM ("
    + _UNPRICED_BY.format(keys="provider_name, model_name, endpoint_id", source=_WITH_UNPRICED)
    + ") AS u GROUP BY provider, name, endpoint HAVING calls > 0 "
    "ORDER BY tokens DESC NULLS LAST, calls DESC, name LIMIT 200"
)
_WITH_PRICE = f"{CHOSEN} AND cost_status NOT IN ('not_billed', 'unpriced')"
PRICES_USED = (
    f"SELECT provider_name AS provider, {name('model_name')} AS name, service_tier AS tier, "
    f"price_source AS price, {COUNT} AS calls, sum(total_tokens) AS tokens, "
    "sum(cost_usd) AS spend, "
    f"{ratio('1000000 * sum(cost_usd)', 'sum(total_tokens)')} AS per_million "
    f"{SOURCE.in_range(_WITH_PRICE)} "
    "GROUP BY provider, name, tier, price ORDER BY spend DESC NULLS LAST, name, tier LIMIT 500"
)
# A call that got its price later was booked as unpriced, and is not any more.
HOW_PRICED = (
    "SELECT part.1 AS state, usage_source AS counted_by, sum(part.2) AS calls, "
    "sum(part.3) AS tokens, sum(part.4) AS spend FROM (SELECT usage_source, arrayJoin(["
    "('unpriced', unpriced_count, unpriced_tokens, NULL), "
    "(if(cost_status = 'unpriced', 'priced', toString(cost_status)), "
    "call_count - unpriced_count, ifNull(total_tokens, 0) - unpriced_tokens, cost_usd)]) AS part "
    f"{_WITH_UNPRICED}) GROUP BY state, counted_by HAVING calls != 0 OR spend != 0 "
    "ORDER BY calls DESC, state, counted_by"
)


def unpriced_per_day(zone: str) -> str:
    """Return the unpriced calls of each of the zone's days by reason."""
    inner = _UNPRICED_BY.format(keys=f"toStartOfDay(at, '{zone}') AS time, model_name, endpoint_id",
                                source=_WITH_UNPRICED)  # fmt: skip
    inner = inner.replace(f"GROUP BY toStartOfDay(at, '{zone}') AS time", "GROUP BY time")
    return (
        "SELECT time, reason, sum(unpriced) AS calls FROM (SELECT time, "
        "argMax(unpriced_reason, reason_count) AS reason, sum(reason_count) AS unpriced "
        f"FROM ({inner}) GROUP BY time, model_name, endpoint_id) "
        "GROUP BY time, reason HAVING calls > 0 ORDER BY time, reason"
    )
