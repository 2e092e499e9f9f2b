"""Data health: is it fresh, is it complete, can the sum be trusted."""

from dataclasses import replace

from tallyspan_grafana.sql.common import (
    CHOSEN,
    COUNT,
    MODELS,
    NO_USER_CHOSEN,
    RANGE,
    UNPRICED,
    key,
    name,
    quantile,
    ratio,
    some,
)
from tallyspan_grafana.sql.common import SERVICES as BY_SERVICE

_WITH_LAGS = replace(MODELS, more="lags").in_range()
_ATTRIBUTED = replace(BY_SERVICE, more="no_user_calls, no_conversation_calls", finer="").in_range()
_OF_SERVICES = replace(
    BY_SERVICE,
    more="lags, estimated_calls, unknown_usage_calls, no_user_calls, no_conversation_calls",
    finer="",
).in_range()

LAG_P95 = f"SELECT {quantile(0.95, 'sumMap(lags)')} AS lag {_WITH_LAGS}"
COMPLETE = (
    "SELECT * FROM (SELECT "
    f"1 - {UNPRICED} / nullIf({COUNT}, 0) AS priced, "
    "sumIf(call_count, usage_source = 'provider') / "
    "nullIf(sumIf(call_count, cost_status != 'not_billed'), 0) AS `counted by the provider` "
    f"{MODELS.in_range()}) AS m CROSS JOIN (SELECT "
    f"1 - sum(no_user_calls) / nullIf({COUNT}, 0) AS `names a user`, "
    f"sumIf(call_count, department != '') / nullIf({COUNT}, 0) AS `names a department`, "
    f"1 - sum(no_conversation_calls) / nullIf({COUNT}, 0) AS `names a conversation` "
    f"{_ATTRIBUTED}) AS t"
)
# Hours of UTC are whole where its days are: from the first one that is, by the hour.
_FIRST_HOUR = "toStartOfHour($__fromTime + INTERVAL 1 HOUR)"
_LAST_HOUR = "toStartOfHour($__toTime)"
_ON_HOURS = CHOSEN.replace(some("user") + " AND ", "").replace(" AND " + some("user"), "")
CALLS_PER_HOUR = (
    f"SELECT toStartOfHour(at) AS time, {name('service_name')} AS service, {COUNT} AS calls "
    "FROM (SELECT toDateTime(hour, 'UTC') AS at, service_name, calls AS call_count "
    f"FROM tallyspan.usage_hourly WHERE hour >= {_FIRST_HOUR} AND hour < {_LAST_HOUR} "
    f"AND {NO_USER_CHOSEN} AND {_ON_HOURS} "
    "UNION ALL SELECT toDateTime(start_time, 'UTC') AS at, service_name, calls AS call_count "
    f"FROM tallyspan.usage_entries WHERE {RANGE} AND (start_time < {_FIRST_HOUR} "
    f"OR start_time >= {_LAST_HOUR} OR NOT {NO_USER_CHOSEN}) AND {CHOSEN}) "
    "GROUP BY time, service HAVING calls != 0 ORDER BY time, service"
)
LAG_PER_DAY = (
    f"SELECT toStartOfDay(at, 'UTC') AS time, {quantile(0.5, 'sumMap(lags)')} AS median, "
    f"{quantile(0.95, 'sumMap(lags)')} AS `95 %` {_WITH_LAGS} GROUP BY time ORDER BY time"
)
SERVICES = (
    f"SELECT {name('service_name')} AS name, {name('source')} AS key_name, {COUNT} AS calls, "
    "sum(no_user_calls) / calls AS no_user, "
    "sumIf(call_count, department = '') / calls AS no_department, "
    "sum(no_conversation_calls) / calls AS no_conversation, "
    "sum(estimated_calls) / calls AS estimated, "
    "sum(unknown_usage_calls) / calls AS unknown, "
    f"{UNPRICED} / calls AS unpriced, {quantile(0.95, 'sumMap(lags)')} AS lag, max(at) AS "
    f"last_call {_OF_SERVICES} GROUP BY name, key_name HAVING calls > 0 "
    "ORDER BY calls DESC, name, key_name LIMIT 200"
)
UNKNOWN_USERS = (
    f"SELECT user_id AS name, {key('user_id')} AS key, any(reason) AS why, "
    f"arrayStringConcat(groupUniqArray({name('department')}), ', ') AS departments, "
    "sum(calls) AS call_count, sum(cost_usd) AS spend, "
    "toDateTime(max(day), 'UTC') AS last_day FROM tallyspan.unknown_users "
    "WHERE day >= toDate($__fromTime, 'UTC') AND day <= toDate($__toTime, 'UTC') "
    "GROUP BY user_id ORDER BY spend DESC, call_count DESC, name LIMIT 200"
)
_RECONCILED = (
    "FROM tallyspan.reconciliations "
    "WHERE day >= toDate($__fromTime, 'UTC') AND day <= toDate($__toTime, 'UTC')"
)
RECONCILED = (
    "SELECT toDateTime(day, 'UTC') AS day_of_bill, provider, model_name AS name, "
    "if(project = '', NULL, project) AS part, recorded_cost_usd AS recorded, billed_cost_usd AS "
    "billed, cost_drift, recorded_tokens, billed_tokens, token_drift, "
    "if(reason = '', NULL, replaceAll(toString(reason), '_', ' ')) AS why, "
    "if(detail = '', NULL, detail) AS because, run_at "
    f"{_RECONCILED} ORDER BY is_within, day DESC, abs(ifNull(toFloat64(recorded_cost_usd), 0) - "
    "ifNull(toFloat64(billed_cost_usd), 0)) DESC, provider, name, part LIMIT 500"
)
DRIFT_PER_DAY = (
    "SELECT toDateTime(day, 'UTC') AS time, "
    f"{ratio('sum(recorded_cost_usd) - sum(billed_cost_usd)', 'sum(billed_cost_usd)')} AS `cost`, "
    f"{ratio('sum(recorded_tokens) - sum(billed_tokens)', 'sum(billed_tokens)')} AS `tokens` "
    f"{_RECONCILED} GROUP BY time ORDER BY time"
)
COLLECTORS = (
    "SELECT collector AS name, multiIf(is_stopped, 'stopped', "
    "last_seen < now('UTC') - INTERVAL 10 MINUTE, 'silent', lost_spans > 0, 'loses spans', "
    "is_price_file_broken, 'price file broken', 'ok') AS state, calls AS stored, "
    "lost_spans AS lost, refused_requests AS refused, insert_failures AS failed, "
    "ifNull(waiting_bytes, 0) AS waiting, last_seen "
    "FROM tallyspan.collector_health ORDER BY state = 'ok', name LIMIT 200"
)
