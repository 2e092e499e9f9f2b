"""Users, User, Departments, Agents."""

from tallyspan_clickhouse.query.binding import Binding
from tallyspan_clickhouse.query.days import Source
from tallyspan_grafana.sql.common import AGENTS as BY_AGENT
from tallyspan_grafana.sql.common import (
    CONVERSATIONS,
    COUNT,
    IN_CONVERSATION,
    IN_RANGE,
    IS_NOW,
    LAST_CALL,
    TALKS,
    UNPRICED,
    Figure,
    Rows,
    compared,
    day_of,
    key,
    name,
    quantile,
    ratio,
    spent_if,
)
from tallyspan_grafana.sql.common import USERS as BY_USER

_CALLS_NOW = f"sumIf(call_count, {IS_NOW})"
_TOKENS_NOW = f"sumIf(total_tokens, {IS_NOW})"
_UNPRICED_NOW = f"sumIf(unpriced_count, {IS_NOW})"
_IN_CONVERSATIONS = f"sumIf(cost_usd, {IN_CONVERSATION})"
_CACHE_HIT_NOW = (
    f"ifNull(sumIf(cache_read_tokens, {IS_NOW}), 0) / nullIf(sumIf(input_tokens, {IS_NOW}), 0)"
)

_ALL_USERS, _SOMEBODY = Rows(BY_USER), Rows(BY_USER, only="user_id != ''")
ACTIVE_USERS = Figure("uniqExactIf(cityHash64(user_id), user_id != '')", "users", _ALL_USERS)


def _of_users(binding: Binding) -> str:
    return (
        "FROM (SELECT user_id, sum(cost_usd) AS spend "
        f"{_SOMEBODY(binding)} GROUP BY user_id HAVING sum(call_count) != 0)"
    )


_NO_USER = "count() = 0"
MEDIAN_OF_USERS = Figure(f"if({_NO_USER}, 0, quantileExact(0.5)(spend))", "median", _of_users)
NINETIETH_OF_USERS = Figure(f"if({_NO_USER}, 0, quantileExact(0.9)(spend))", "ninetieth", _of_users)
MAX_OF_USERS = Figure(f"if({_NO_USER}, 0, max(spend))", "most", _of_users)
NOBODY = Figure(spent_if("user_id = ''"), "nobody", _ALL_USERS)

# The model most of the user's calls went to.
_TOP_MODEL = "arrayElementOrNull(topKWeighted(1)(model_name, toUInt64(greatest(call_count, 0))), 1)"
USERS = compared(
    "user_id",
    f"{_CALLS_NOW} AS calls, {_TOKENS_NOW} AS tokens, {_CACHE_HIT_NOW} AS cache_hit, "
    f"{_UNPRICED_NOW} AS unpriced, "
    f"{day_of(f'maxOrNullIf(at, {IS_NOW} AND call_count > 0)')} AS last_call",
    BY_USER,
    of_range=[
        (
            (
                f"{CONVERSATIONS} AS conversations, "
                f"{ratio(_IN_CONVERSATIONS, 'conversations')} AS per_conversation, "
                f"{_TOP_MODEL} AS top_model"
            ),
            TALKS,
        )
    ],
    shown="name, key, spend, share, before, change, conversations, calls, tokens, "
    "per_conversation, cache_hit, top_model, unpriced, last_call",
)

OF_USER = Rows(TALKS, one="user")


def _if_any(binding: Binding) -> str:
    return f"{OF_USER(binding)} HAVING count() > 0"


USER_NAME = Figure(f"any({name('user_id')})", "name", _if_any)
USER_DEPARTMENTS = Figure(
    f"arrayStringConcat(arraySort(groupUniqArray({name('department')})), ', ')", "name", _if_any
)


def user_variable(binding: Binding) -> str:
    """Return key and label of users, those who spend most in the range first."""
    rows = BY_USER.rows(binding, BY_USER.in_range(binding), {})
    return (
        f"SELECT {key('user_id')} AS key, {name('user_id')} AS label FROM (SELECT user_id, "
        f"sum(cost_usd) AS spend FROM {rows} GROUP BY user_id) WHERE {binding.searched('label')} "
        f"ORDER BY spend DESC NULLS LAST, label LIMIT {binding.most_choices}"
    )


def user_conversations(binding: Binding) -> str:
    """Return the conversations of the user, those that cost most first."""
    return (
        f"SELECT {name('conversation_id')} AS name, {key('conversation_id')} AS key, "
        f"{day_of('minOrNullIf(at, call_count > 0)')} AS first_call, {LAST_CALL}, "
        f"{COUNT} AS calls, "
        f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {UNPRICED} AS unpriced "
        f"{OF_USER(binding)} GROUP BY name, key HAVING calls != 0 "
        f"ORDER BY spend DESC NULLS LAST, name {binding.cut}"
    )


DEPARTMENTS = compared(
    "department",
    f"uniqExactIf(cityHash64(user_id), user_id != '' AND {IS_NOW}) AS users, "
    f"{_CALLS_NOW} AS calls, "
    f"{_TOKENS_NOW} AS tokens, {ratio('spend', 'users')} AS per_user, {_UNPRICED_NOW} AS unpriced",
    BY_USER,
)
DEPARTMENT_COUNT = Figure("uniqExactIf(department, department != '')", "departments", IN_RANGE)
NO_DEPARTMENT = Figure(spent_if("department = ''"), "nobody", IN_RANGE)


def departments_by_model(binding: Binding) -> str:
    """Return pairs of department and model, those that cost most first."""
    return (
        f"SELECT {name('department')} AS name, {name('model_name')} AS model, {COUNT} AS calls, "
        f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {UNPRICED} AS unpriced "
        f"{IN_RANGE(binding)} GROUP BY name, model HAVING calls != 0 "
        f"ORDER BY spend DESC NULLS LAST, name, model {binding.cut}"
    )


AGENTS = compared(
    "agent_id",
    f"{_CALLS_NOW} AS calls, sumIf(error_count, {IS_NOW}) AS errors, {_UNPRICED_NOW} AS unpriced",
    BY_AGENT,
    first=f"anyIf(agent_name, {IS_NOW}) AS called",
    of_range=[
        (
            (
                "uniqExactIf(cityHash64(user_id), user_id != '') AS users, "
                f"{CONVERSATIONS} AS conversations, "
                f"{ratio(_IN_CONVERSATIONS, 'conversations')} AS per_conversation"
            ),
            TALKS,
        ),
        (
            f"{quantile(0.95, 'sumMap(durations)')} AS p95",
            Source(("agent_id",), ("durations",)),
        ),
    ],
    shown="name, key, called, spend, share, before, change, users, conversations, calls, "
    "per_conversation, errors, p95, unpriced",
)
AGENT_COUNT = Figure("uniqExactIf(agent_id, agent_id != '')", "agents", Rows(BY_AGENT))
PER_CONVERSATION = Figure(ratio(_IN_CONVERSATIONS, CONVERSATIONS), "per_conversation", Rows(TALKS))
