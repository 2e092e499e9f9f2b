"""Models & efficiency, and Prices & unpriced."""

from tallyspan_clickhouse.query.binding import Binding
from tallyspan_clickhouse.query.days import Source
from tallyspan_grafana.sql.common import (
    CACHE_HIT,
    COUNT,
    FAILED,
    IN_RANGE,
    IS_NOW,
    LAST_CALL,
    UNPRICED,
    Figure,
    Query,
    Rows,
    by_dimension,
    column_of,
    compared,
    day_of,
    name,
    quantile,
    ratio,
    spent_if,
)
from tallyspan_grafana.sql.common import MODELS as SOURCE

_BY_PRICE = Rows(SOURCE)
PER_MILLION = Figure(
    ratio("1000000 * sum(cost_usd)", "ifNull(sum(total_tokens), 0) - sum(unpriced_tokens)"),
    "per_million",
    IN_RANGE,
)
CACHED = Figure(CACHE_HIT, "cache_hit", IN_RANGE)
REASONING = Figure(
    "ifNull(sum(reasoning_tokens), 0) / nullIf(sum(output_tokens), 0)", "reasoning", IN_RANGE
)
ERRORS = Figure(f"{FAILED} / nullIf({COUNT}, 0)", "errors", IN_RANGE)
ERROR_COST = Figure(spent_if("error_type != ''"), "spend", _BY_PRICE)

_SPENT_NOW = f"1000000 * sumIf(cost_usd, {IS_NOW})"
_PRICED_NOW = f"ifNull(sumIf(total_tokens, {IS_NOW}), 0) - sumIf(unpriced_tokens, {IS_NOW})"
_DURATIONS, _FIRSTS = "sumMap(durations)", "sumMap(first_chunks)"
MODELS = compared(
    "model_name",
    f"{ratio(_SPENT_NOW, _PRICED_NOW)} "
    f"AS per_million, sumIf(call_count, {IS_NOW}) AS calls, "
    f"sumIf(input_tokens, {IS_NOW}) AS input, "
    f"ifNull(sumIf(cache_read_tokens, {IS_NOW}), 0) / nullIf(input, 0) AS cache_hit, "
    f"sumIf(cache_saved_usd, {IS_NOW}) AS cache_saved, "
    f"sumIf(output_tokens, {IS_NOW}) AS output, sumIf(reasoning_tokens, {IS_NOW}) AS reasoning, "
    f"sumIf(error_count, {IS_NOW}) AS errors",
    IN_RANGE.source,
    of_range=[
        (
            (
                f"{quantile(0.5, _DURATIONS)} AS p50, {quantile(0.95, _DURATIONS)} AS p95, "
                f"{quantile(0.95, _FIRSTS)} AS first_chunk"
            ),
            Source(("model_name",), ("durations", "first_chunks")),
        )
    ],
    shown="name, key, spend, share, before, change, per_million, calls, input, cache_hit, "
    "cache_saved, output, reasoning, errors, p50, p95, first_chunk",
)


def tokens_per_day(zone: str) -> Query:
    """Return the tokens of each of the zone's days by kind; the kinds add up to all tokens."""
    return lambda binding: (
        f"SELECT toStartOfDay(at, '{zone}') AS time, "
        "sum(ifNull(input_tokens, 0) - ifNull(cache_read_tokens, 0)) AS `input, not cached`, "
        "sum(ifNull(cache_read_tokens, 0)) AS `input, from the cache`, "
        "sum(ifNull(output_tokens, 0) - ifNull(reasoning_tokens, 0)) AS answers, "
        f"sum(ifNull(reasoning_tokens, 0)) AS reasoning {IN_RANGE(binding)} "
        "GROUP BY time ORDER BY time"
    )


def by(dimension: str) -> Query:
    """Return calls, spend and errors by the dimension."""
    column, rows = column_of(dimension), by_dimension(dimension)
    return lambda binding: (
        f"SELECT {name(column)} AS name, {COUNT} AS calls, {FAILED} AS errors, "
        f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {UNPRICED} AS unpriced "
        f"{rows(binding)} "
        f"GROUP BY name HAVING calls != 0 ORDER BY spend DESC NULLS LAST, name {binding.cut}"
    )


_WITH_ERROR = Rows(SOURCE, only="error_type != ''")


def costly_errors(binding: Binding) -> str:
    """Return failed calls by error and model, those that cost most first."""
    return (
        f"SELECT error_type AS error, {name('model_name')} AS model, {FAILED} AS calls, "
        f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {LAST_CALL} "
        f"{_WITH_ERROR(binding)} GROUP BY error, model HAVING calls > 0 "
        f"ORDER BY spend DESC NULLS LAST, calls DESC, error, model {binding.cut}"
    )


UNPRICED_CALLS = Figure(UNPRICED, "unpriced", IN_RANGE)
_WITH_UNPRICED = Rows(Source(SOURCE.columns, ("unpriced_tokens",)))
UNPRICED_TOKENS = Figure("sum(unpriced_tokens)", "tokens", _WITH_UNPRICED)
COVERAGE = Figure(f"1 - {UNPRICED} / nullIf({COUNT}, 0)", "priced", IN_RANGE)
ESTIMATED_SPEND = Figure(
    spent_if("usage_source = 'estimated'"),
    "spend",
    _BY_PRICE,
)
UNKNOWN_USAGE = Figure(
    "sumIf(call_count, usage_source = 'unknown' AND cost_status != 'not_billed')",
    "calls",
    _BY_PRICE,
)


def _unpriced_by(binding: Binding, keys: str, names: str) -> str:
    """Return unpriced calls by these keys and the reason; `names` are the keys without their SQL.

    The entry that prices a call later takes it back without its reason: the reason of a group is
    that of most of its calls.
    """
    return (
        f"SELECT {keys}, unpriced_reason, sum(unpriced_count) AS reason_count, "
        "sum(unpriced_tokens) AS unpriced_tokens, minIf(at, unpriced_count > 0) AS first_at, "
        f"maxIf(at, unpriced_count > 0) AS last_at {_WITH_UNPRICED(binding)} "
        f"GROUP BY {names}, unpriced_reason"
    )


def unpriced_models(binding: Binding) -> str:
    """Return models without a price, those with most tokens first."""
    keys = "provider_name, model_name, endpoint_id"
    return (
        f"SELECT provider_name AS provider, {name('model_name')} AS name, endpoint_id AS endpoint, "
        "argMax(unpriced_reason, reason_count) AS reason, sum(reason_count) AS calls, "
        "sum(u.unpriced_tokens) AS tokens, "
        f"{day_of('minIf(first_at, reason_count > 0)')} AS first_call, "
        f"{day_of('maxIf(last_at, reason_count > 0)')} AS last_call "
        f"FROM ({_unpriced_by(binding, keys, keys)}) AS u "
        "GROUP BY provider, name, endpoint HAVING calls > 0 "
        f"ORDER BY tokens DESC NULLS LAST, calls DESC, name {binding.cut}"
    )


_WITH_PRICE = Rows(SOURCE, only="cost_status NOT IN ('not_billed', 'unpriced')")


_STANDARD_TIERS = "('', 'default', 'standard', 'auto', 'on_demand')"


def prices_used(binding: Binding) -> str:
    """Return what each model was priced by and what a second source has, the dearest first."""
    used = (
        f"SELECT provider_name AS provider, {name('model_name')} AS name, service_tier AS tier, "
        f"price_source AS price, {COUNT} AS calls, sum(total_tokens) AS tokens, "
        "sum(cost_usd) AS spend, "
        f"{ratio('1000000 * sum(cost_usd)', 'sum(total_tokens)')} AS per_million, "
        f"if(service_tier IN {_STANDARD_TIERS}, '', toString(service_tier)) AS second_tier, "
        "lower(model_name) AS second_name "
        f"{_WITH_PRICE(binding)} GROUP BY provider, name, tier, price, second_tier, second_name"
    )
    second = (
        "SELECT provider_name, model_name, service_tier, any(input_usd) AS input_usd, "
        "any(output_usd) AS output_usd, any(difference_percent) AS difference_percent, "
        "any(if(cause = '', toString(state), cause)) AS cause "
        f"FROM {binding.view('second_prices')} GROUP BY provider_name, model_name, service_tier"
    )
    return (
        "SELECT u.provider AS provider, u.name AS name, u.tier AS tier, u.price AS price, "
        "u.calls AS calls, u.tokens AS tokens, u.spend AS spend, u.per_million AS per_million, "
        "if(s.cause = '', NULL, s.input_usd) AS second_input, "
        "if(s.cause = '', NULL, s.output_usd) AS second_output, "
        "if(s.cause = '', NULL, ifNull(s.difference_percent, 0) / 100) AS apart, "
        "if(s.cause = '', NULL, s.cause) AS why "
        f"FROM ({used}) AS u LEFT JOIN ({second}) AS s ON s.provider_name = u.provider "
        "AND s.model_name = u.second_name AND s.service_tier = u.second_tier "
        f"ORDER BY spend DESC NULLS LAST, name, tier {binding.cut}"
    )


def how_priced(binding: Binding) -> str:
    """Return calls by the state of their cost and by who counted their tokens."""
    # A call that got its price later was booked as unpriced, and is not any more.
    return (
        "SELECT part.1 AS state, usage_source AS counted_by, sum(part.2) AS calls, "
        "sum(part.3) AS tokens, sum(part.4) AS spend FROM (SELECT usage_source, arrayJoin(["
        "('unpriced', unpriced_count, unpriced_tokens, NULL), "
        "(if(cost_status = 'unpriced', 'priced', toString(cost_status)), "
        "call_count - unpriced_count, ifNull(total_tokens, 0) - unpriced_tokens, cost_usd)]) "
        f"AS part {_WITH_UNPRICED(binding)}) "
        "GROUP BY state, counted_by HAVING calls != 0 OR spend != 0 "
        "ORDER BY calls DESC, state, counted_by"
    )


def unpriced_per_day(zone: str) -> Query:
    """Return the unpriced calls of each of the zone's days by reason."""
    keys = f"toStartOfDay(at, '{zone}') AS time, model_name, endpoint_id"
    names = "time, model_name, endpoint_id"
    return lambda binding: (
        "SELECT time, reason, sum(unpriced) AS calls FROM (SELECT time, "
        "argMax(unpriced_reason, reason_count) AS reason, sum(reason_count) AS unpriced "
        f"FROM ({_unpriced_by(binding, keys, names)}) GROUP BY {names}) "
        "GROUP BY time, reason HAVING calls > 0 ORDER BY time, reason"
    )
