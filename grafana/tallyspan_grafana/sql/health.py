"""Data health: is it fresh, is it complete, can the sum be trusted."""

from tallyspan_grafana.sql.common import IN_RANGE, UNPRICED, key, name, ratio

_LAG = "dateDiff('millisecond', start_time, ingested_at) / 1e3 - duration_us / 1e6"

LAG_P95 = f"SELECT if(count() = 0, NULL, quantile(0.95)({_LAG})) AS lag {IN_RANGE}"
COMPLETE = (
    f"SELECT 1 - {UNPRICED} / nullIf(count(), 0) AS priced, "
    "countIf(usage_source = 'provider') / nullIf(countIf(cost_status != 'not_billed'), 0) "
    "AS `counted by the provider`, "
    "countIf(user_id != '') / nullIf(count(), 0) AS `names a user`, "
    "countIf(department != '') / nullIf(count(), 0) AS `names a department`, "
    "countIf(conversation_id != '') / nullIf(count(), 0) AS `names a conversation` "
    f"{IN_RANGE}"
)
CALLS_PER_HOUR = (
    f"SELECT toStartOfHour(start_time) AS time, {name('service_name')} AS service, count() AS "
    "calls "
    f"{IN_RANGE} GROUP BY time, service ORDER BY time, service"
)
LAG_PER_HOUR = (
    f"SELECT toStartOfHour(start_time) AS time, quantile(0.5)({_LAG}) AS median, "
    f"quantile(0.95)({_LAG}) AS `95 %` {IN_RANGE} GROUP BY time ORDER BY time"
)
SERVICES = (
    f"SELECT {name('service_name')} AS name, {name('source')} AS key_name, count() AS calls, "
    "countIf(user_id = '') / count() AS no_user, countIf(department = '') / count() AS "
    "no_department, "
    "countIf(conversation_id = '') / count() AS no_conversation, "
    "countIf(usage_source = 'estimated') / count() AS estimated, "
    "countIf(usage_source = 'unknown' AND cost_status != 'not_billed') / count() AS unknown, "
    f"{UNPRICED} / count() AS unpriced, quantile(0.95)({_LAG}) AS lag, max(start_time) AS "
    "last_call "
    f"{IN_RANGE} GROUP BY name, key_name ORDER BY calls DESC, name, key_name LIMIT 200"
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
