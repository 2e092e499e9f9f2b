"""One conversation, call by call."""

from tallyspan_clickhouse.query.binding import Binding
from tallyspan_clickhouse.query.days import ENTRIES
from tallyspan_grafana.sql.common import SPENT, Figure, choice, key, name


def _here(binding: Binding) -> str:
    """Return the FROM of all calls of the conversation: a part of its cost is no cost of it.

    Calls of no conversation are those in the range.
    """
    return (
        f"FROM {binding.view('calls')} WHERE {choice(binding, 'conversation')} "
        f"AND (conversation_id != '' OR {binding.within('start_time')})"
    )


def _if_any(binding: Binding) -> str:
    return f"{_here(binding)} HAVING count() > 0"


def in_newest_days(binding: Binding) -> str:
    """Return the condition that a call is of the days of the range that have the newest calls.

    Those are the whole days that had the last 20,000 calls, and the last day; all days of the range
    where the reader searches for a name.
    """
    last_day = f"toDate({binding.end}, 'UTC')"
    newest_day = (
        "(SELECT ifNull(maxOrNull(day), toDate(0)) FROM (SELECT day, sum(sum(calls)) "
        f"OVER (ORDER BY day DESC) AS since FROM {binding.view('usage_totals')} WHERE day >= "
        f"toDate({binding.start}, 'UTC') AND day < {last_day} GROUP BY day) WHERE since >= 20000)"
    )
    return f"({binding.is_searched()} OR start_time >= toDateTime({newest_day}, 'UTC'))"


def variable(binding: Binding) -> str:
    """Return key and label of conversations, those with the newest calls first."""
    return (
        f"SELECT {key('conversation_id')} AS key, {name('conversation_id')} AS label FROM ("
        f"SELECT conversation_id, max(start_time) AS last_at FROM {binding.view(ENTRIES)} "
        f"WHERE {binding.within('start_time')} AND {in_newest_days(binding)} "
        "GROUP BY conversation_id "
        "HAVING sum(calls) != 0) "
        f"WHERE {binding.searched('label')} "
        f"ORDER BY last_at DESC, label LIMIT {binding.most_choices}"
    )


NAME = Figure(f"any({name('conversation_id')})", "name", _if_any)
USERS = Figure(
    f"arrayStringConcat(arraySort(groupUniqArray({name('user_id')})), ', ')", "name", _if_any
)
SPEND = Figure(SPENT, "spend", _here)
CALL_COUNT = Figure("count()", "calls", _here)
TOKENS = Figure("if(count() = 0, 0, sum(total_tokens))", "tokens", _here)
LASTED = Figure(
    "if(count() = 0, NULL, dateDiff('second', min(start_time), max(start_time)))", "lasted", _here
)


def calls_in_order(binding: Binding) -> str:
    """Return the calls of the conversation."""
    return (
        f"SELECT start_time AS time, {key('log_id')} AS key, {name('model_name')} AS model, "
        "operation_name AS operation, "
        f"{name('agent_id')} AS agent, input_tokens AS input, cache_read_tokens AS cached, "
        "output_tokens AS output, reasoning_tokens AS reasoning, usage_source AS counted_by, "
        "cost_usd AS cost, if(cost_usd IS NULL, unpriced_reason, price_source) AS price, "
        "duration_us / 1e6 AS seconds, if(error_type = '', status, error_type) AS result "
        f"{_here(binding)} ORDER BY start_time, span_id {binding.cut}"
    )
