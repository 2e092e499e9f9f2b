"""One conversation, call by call."""

from tallyspan_grafana.sql.common import CALLS, RANGE, SPENT, TALKS, key, name, one

_HERE = f"{CALLS} WHERE {RANGE} AND {one('conversation')}"
VARIABLE = (
    f"SELECT {key('conversation_id')} AS key, {name('conversation_id')} AS label "
    f"{TALKS.in_range('1=1')} GROUP BY key, label HAVING sum(call_count) != 0 "
    "ORDER BY max(at) DESC, label LIMIT 500"
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
