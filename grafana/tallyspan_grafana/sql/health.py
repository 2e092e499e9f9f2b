"""Data health: is it fresh, is it complete, can the sum be trusted."""

from tallyspan_clickhouse.query.bill_figures import COVERAGE, DRIFT, IS_USE
from tallyspan_clickhouse.query.binding import Binding
from tallyspan_clickhouse.query.days import Source
from tallyspan_clickhouse.schema_types import HOUR
from tallyspan_grafana.sql.common import (
    COUNT,
    LAST_CALL,
    MODELS,
    TOTALS,
    UNPRICED,
    Figure,
    Rows,
    choice,
    days,
    key,
    name,
    quantile,
)
from tallyspan_grafana.sql.common import SERVICES as BY_SERVICE

_MISSING = ("no_user_calls", "no_conversation_calls")
_WITH_LAGS = Rows(Source(TOTALS.columns, ("lags",)))
_ATTRIBUTED = Rows(Source(BY_SERVICE.columns, _MISSING))
_OF_SERVICES = Rows(
    Source(BY_SERVICE.columns, ("lags", "estimated_calls", "unknown_usage_calls", *_MISSING))
)
_BY_HOUR = Rows(Source(("service_name",), unit=HOUR))

LAG_P95 = Figure(quantile(0.95, "sumMap(lags)"), "lag", _WITH_LAGS)


def complete(binding: Binding) -> str:
    """Return which parts of all calls are priced, counted by the provider, and attributed."""
    return (
        "SELECT * FROM (SELECT "
        f"1 - {UNPRICED} / nullIf({COUNT}, 0) AS priced, "
        "sumIf(call_count, usage_source = 'provider') / "
        "nullIf(sumIf(call_count, cost_status != 'not_billed'), 0) AS `counted by the provider` "
        f"{Rows(MODELS)(binding)}) AS m CROSS JOIN (SELECT "
        f"1 - sum(no_user_calls) / nullIf({COUNT}, 0) AS `names a user`, "
        f"sumIf(call_count, department != '') / nullIf({COUNT}, 0) AS `names a department`, "
        f"1 - sum(no_conversation_calls) / nullIf({COUNT}, 0) AS `names a conversation` "
        f"{_ATTRIBUTED(binding)}) AS t"
    )


def calls_per_hour(binding: Binding) -> str:
    """Return the calls of each hour by service."""
    return (
        f"SELECT toStartOfHour(at) AS time, {name('service_name')} AS service, {COUNT} AS calls "
        f"{_BY_HOUR(binding)} GROUP BY time, service HAVING calls != 0 ORDER BY time, service"
    )


def lag_per_day(binding: Binding) -> str:
    """Return median and 95 % quantile of the seconds until a call is in the ledger, by day."""
    return (
        f"SELECT toStartOfDay(at, 'UTC') AS time, {quantile(0.5, 'sumMap(lags)')} AS median, "
        f"{quantile(0.95, 'sumMap(lags)')} AS `95 %` {_WITH_LAGS(binding)} "
        "GROUP BY time ORDER BY time"
    )


def services(binding: Binding) -> str:
    """Return what the calls of each service and ingest key lack, as parts of its calls."""
    return (
        f"SELECT {name('service_name')} AS name, {name('source')} AS key_name, {COUNT} AS calls, "
        "sum(no_user_calls) / calls AS no_user, "
        "sumIf(call_count, department = '') / calls AS no_department, "
        "sum(no_conversation_calls) / calls AS no_conversation, "
        "sum(estimated_calls) / calls AS estimated, "
        "sum(unknown_usage_calls) / calls AS unknown, "
        f"{UNPRICED} / calls AS unpriced, {quantile(0.95, 'sumMap(lags)')} AS lag, "
        f"{LAST_CALL} {_OF_SERVICES(binding)} GROUP BY name, key_name HAVING calls > 0 "
        f"ORDER BY calls DESC, name, key_name {binding.cut}"
    )


def _doubts(binding: Binding, kind: str) -> str:
    return (
        f"FROM {binding.view('call_doubts')} WHERE {binding.within('start_time')} "
        f"AND {choice(binding)} AND kind = '{kind}'"
    )


_A_CALL = f"{key('argMax(log_id, start_time)')} AS key"
"""The newest call of a group: one to look at."""
_BY_MONEY = "ORDER BY spend DESC NULLS LAST, calls DESC, provider, name"


def unread(binding: Binding) -> str:
    """Return places in the usage that no rule reads, and the calls whose cost may lack them."""
    return (
        f"SELECT {name('provider_name')} AS provider, {name('model_name')} AS name, "
        "toString(doubt) AS path, "
        "min(start_time) AS first_seen, count() AS calls, sum(total_tokens) AS tokens, "
        f"sum(cost_usd) AS spend, {_A_CALL} {_doubts(binding, 'unread')} "
        f"GROUP BY provider, name, path {_BY_MONEY} {binding.cut}"
    )


def undecided(binding: Binding) -> str:
    """Return prices that nobody has decided, what is at stake, and the line that decides them."""
    return (
        f"SELECT doubt AS flag, {name('provider_name')} AS provider, {name('endpoint_id')} AS "
        f"endpoint, {name('model_name')} AS name, count() AS calls, sum(cost_usd) AS spend, "
        "if(countIf(other_cost_usd IS NOT NULL) = 0, NULL, "
        "sum(ifNull(other_cost_usd, cost_usd))) AS other_way, other_way - spend AS difference, "
        f"any(setting) AS to_set, {_A_CALL} {_doubts(binding, 'price')} "
        f"GROUP BY flag, provider, endpoint, name {_BY_MONEY} {binding.cut}"
    )


def flags(binding: Binding) -> str:
    """Return the quality flags of calls, and what those calls cost."""
    return (
        "SELECT toString(doubt) AS flag, count() AS calls, "
        f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {_A_CALL} "
        f"{_doubts(binding, 'quality')} GROUP BY flag ORDER BY calls DESC, flag {binding.cut}"
    )


def unknown_users(binding: Binding) -> str:
    """Return users of calls whom the directory does not have on the day, the dearest first."""
    return (
        f"SELECT user_id AS name, {key('user_id')} AS key, any(reason) AS why, "
        f"arrayStringConcat(groupUniqArray({name('department')}), ', ') AS departments, "
        "sum(calls) AS call_count, sum(cost_usd) AS spend, "
        f"toString(max(day)) AS last_day FROM {binding.view('unknown_users')} "
        f"WHERE {days(binding)} "
        f"GROUP BY user_id ORDER BY spend DESC, call_count DESC, name {binding.cut}"
    )


def _reconciled(binding: Binding) -> str:
    return f"FROM {binding.view('reconciliations')} WHERE {days(binding)}"


def reconciled(binding: Binding) -> str:
    """Return what was recorded against what was billed, what is off first."""
    return (
        "SELECT toString(day) AS day_of_bill, provider, model_name AS name, "
        "if(project = '', NULL, project) AS part, recorded_cost_usd AS recorded, billed_cost_usd "
        "AS billed, cost_drift, if(reason = '', NULL, replaceAll(toString(reason), '_', ' ')) AS "
        "why, if(detail = '', NULL, detail) AS because, recorded_tokens, billed_tokens, "
        "token_drift, run_at "
        f"{_reconciled(binding)} "
        "ORDER BY is_within, day DESC, abs(ifNull(toFloat64(recorded_cost_usd), 0) - "
        f"ifNull(toFloat64(billed_cost_usd), 0)) DESC, provider, name, part {binding.cut}"
    )


def bills(binding: Binding) -> str:
    """Return coverage and drift of each bill: as a whole, by model, by project or key, by day.

    Where the schedule failed since the last comparison, the whole bill says so.
    """
    parts = (
        "('whole bill', ''), ('model', model_name), ('project or key', project), "
        "('day', toString(day))"
    )
    return (
        "SELECT c.bill AS bill, c.kind AS kind, if(c.name = '', NULL, c.name) AS name, c.recorded "
        "AS recorded, c.billed AS billed, c.coverage AS coverage, c.drift AS drift, "
        "if(c.kind = 'whole bill', r.run_at, NULL) AS run_at, "
        "if(c.kind = 'whole bill', r.run_by, NULL) AS run_by, "
        "if(c.kind = 'whole bill' AND notEmpty(r.notes), arrayStringConcat(r.notes, '; '), NULL) "
        "AS notes, if(c.kind = 'whole bill', r.failed_at, NULL) AS failed_at, "
        "if(c.kind = 'whole bill' AND r.error != '', r.error, NULL) AS error "
        "FROM (SELECT provider AS bill, part.1 AS kind, part.2 AS name, "
        "sum(recorded_cost_usd) AS recorded, sum(billed_cost_usd) AS billed, "
        f"{COVERAGE} AS coverage, {DRIFT} AS drift "
        f"FROM {binding.view('reconciliations')} ARRAY JOIN [{parts}] AS part "
        f"WHERE {days(binding)} AND {IS_USE} AND (kind = 'whole bill' OR name != '') "
        "GROUP BY bill, kind, name "
        "UNION ALL SELECT provider, 'whole bill', '', NULL, NULL, NULL, NULL "
        f"FROM {binding.view('bill_runs')} WHERE run_at IS NULL) AS c "
        f"LEFT JOIN {binding.view('bill_runs')} AS r ON r.provider = c.bill "
        "ORDER BY bill, indexOf(['whole bill', 'model', 'project or key'], kind) = 0, "
        "indexOf(['whole bill', 'model', 'project or key'], kind), "
        "if(kind = 'day', name, '') DESC, "
        "abs(ifNull(toFloat64(c.recorded), 0) - ifNull(toFloat64(c.billed), 0)) DESC, name "
        f"{binding.cut}"
    )


def imported(binding: Binding) -> str:
    """Return what providers report beside what spans tell of, the most that was imported first."""
    return (
        "SELECT toString(day) AS day_of_use, source, model_name AS name, "
        "reported_tokens AS reported, recorded_tokens AS recorded, imported_tokens, "
        "imported_cost_usd AS imported, nullIf(unpriced_tokens, 0) AS unpriced, "
        "nullIf(less_tokens, 0) AS less, nullIf(less_cost_usd, 0) AS less_cost, run_at "
        f"FROM {binding.view('imports')} WHERE {days(binding)} "
        f"ORDER BY imported DESC, imported_tokens DESC, day DESC, source, name {binding.cut}"
    )


def not_understood(binding: Binding) -> str:
    """Return requests to providers that no format knows, the newest kinds first."""
    return (
        "SELECT provider, request AS name, requests, first_seen, last_seen "
        f"FROM {binding.view('requests_not_understood')} "
        f"ORDER BY first_seen DESC, requests DESC, provider, name {binding.cut}"
    )


def collectors(binding: Binding) -> str:
    """Return every collector of the last day and its state, those in trouble first."""
    return (
        "SELECT collector AS name, multiIf(is_stopped, 'stopped', "
        "last_seen < now('UTC') - INTERVAL 10 MINUTE, 'silent', lost_spans > 0, 'loses spans', "
        "is_price_file_broken, 'price file broken', 'ok') AS state, calls AS stored, "
        "lost_spans AS lost, refused_requests AS refused, insert_failures AS failed, "
        "ifNull(waiting_bytes, 0) AS waiting, last_seen "
        f"FROM {binding.view('collector_health')} ORDER BY state = 'ok', name {binding.cut}"
    )
