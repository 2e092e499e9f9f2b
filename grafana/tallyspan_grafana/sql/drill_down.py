"""One conversation, call by call."""

from tallyspan_grafana.sql.common import CALLS, RANGE, SPENT, key, name, one

_HERE = f"{CALLS} WHERE {RANGE} AND {one('conversation')}"
# Of the whole days that had the last 20,000 calls, and of the last day: those have the newest.
_LAST_DAY = "toDate($__toTime, 'UTC')"
_NEWEST_DAY = (
    "(SELECT ifNull(maxOrNull(day), toDate(0)) FROM (SELECT day, sum(sum(calls)) "
    "OVER (ORDER BY day DESC) AS since FROM tallyspan.usage_totals WHERE day >= "
    f"toDate($__fromTime, 'UTC') AND day < {_LAST_DAY} GROUP BY day) WHERE since >= 20000)"
)
VARIABLE = (
    f"SELECT {key('conversation_id')} AS key, {name('conversation_id')} AS label FROM ("
    "SELECT conversation_id, max(start_time) AS last_at FROM tallyspan.usage_entries "
    f"WHERE {RANGE} AND start_time >= toDateTime({_NEWEST_DAY}, 'UTC') GROUP BY conversation_id "
    "HAVING sum(calls) != 0 ORDER BY last_at DESC, conversation_id LIMIT 500) "
    "ORDER BY last_at DESC, label"
)
NAME = f"SELECT any({name('conversation_id')}) AS name {_HERE} HAVING count() > 0"
USERS = (
    f"SELECT arrayStringConcat(arraySort(groupUniqArray({name('user_id')})), ', ') AS name "
    f"{_HERE} HAVING count() > 0"
)
SPEND = f"SELECT {SPENT} AS spend {_HERE}"
CALL_COUNT = f"SELECT count() AS calls {_HERE}"
TOKENS = f"SELECT if(count() = 0, 0, sum(total_tokens)) AS tokens {_HERE}"
LASTED = (
    "SELECT if(count() = 0, NULL, dateDiff('second', min(start_time), max(start_time))) AS lasted "
    f"{_HERE}"
)
CALLS_IN_ORDER = (
    f"SELECT start_time AS time, {name('model_name')} AS model, operation_name AS operation, "
    f"{name('agent_id')} AS agent, input_tokens AS input, cache_read_tokens AS cached, "
    "output_tokens AS output, reasoning_tokens AS reasoning, usage_source AS counted_by, "
    "cost_usd AS cost, if(cost_usd IS NULL, unpriced_reason, price_source) AS price, "
    "duration_us / 1e6 AS seconds, if(error_type = '', status, error_type) AS result "
    f"{_HERE} ORDER BY start_time, span_id LIMIT 1000"
)
