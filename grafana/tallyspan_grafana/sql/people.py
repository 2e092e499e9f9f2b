"""Users, User, Departments, Agents."""

from dataclasses import replace

from tallyspan_grafana.sql.common import AGENTS as BY_AGENT
from tallyspan_grafana.sql.common import (
    CHOSEN,
    CONVERSATIONS,
    COUNT,
    IN_RANGE,
    IS_NOW,
    TALKS,
    UNPRICED,
    compared,
    key,
    name,
    one,
    quantile,
    ratio,
)
from tallyspan_grafana.sql.common import USERS as BY_USER

_CALLS_NOW = f"sumIf(call_count, {IS_NOW})"
_TOKENS_NOW = f"sumIf(total_tokens, {IS_NOW})"
_UNPRICED_NOW = f"sumIf(unpriced_count, {IS_NOW})"
_IN_CONVERSATIONS = "sumIf(cost_usd, conversation_id != '')"
_CACHE_HIT_NOW = (
    f"ifNull(sumIf(cache_read_tokens, {IS_NOW}), 0) / nullIf(sumIf(input_tokens, {IS_NOW}), 0)"
)

_SOMEBODY = f"{CHOSEN} AND user_id != ''"
_ALL_USERS = BY_USER.in_range()
ACTIVE_USERS = f"SELECT uniqExactIf(cityHash64(user_id), user_id != '') AS users {_ALL_USERS}"
_OF_USERS = (
    "FROM (SELECT user_id, sum(cost_usd) AS spend "
    f"{BY_USER.in_range(_SOMEBODY)} GROUP BY user_id "
    "HAVING sum(call_count) != 0)"
)
MEDIAN_OF_USERS = f"SELECT quantileExact(0.5)(spend) AS median {_OF_USERS}"
NINETIETH_OF_USERS = f"SELECT quantileExact(0.9)(spend) AS ninetieth {_OF_USERS}"
MOST_OF_USERS = f"SELECT max(spend) AS most {_OF_USERS}"
NOBODY = f"SELECT if(count() = 0, 0, sumIf(cost_usd, user_id = '')) AS nobody {_ALL_USERS}"

# The model most of the user's calls went to.
_TOP_MODEL = "arrayElementOrNull(topKWeighted(1)(model_name, toUInt64(greatest(call_count, 0))), 1)"
USERS = compared(
    "user_id",
    f", {_CALLS_NOW} AS calls, {_TOKENS_NOW} AS tokens, {_CACHE_HIT_NOW} AS cache_hit, "
    f"{_UNPRICED_NOW} AS unpriced, maxIf(at, {IS_NOW}) AS last_call",
    BY_USER,
    of_range=f"{CONVERSATIONS} AS conversations, "
    f"{ratio(_IN_CONVERSATIONS, 'conversations')} AS per_conversation, {_TOP_MODEL} AS top_model",
    shown="name, key, spend, share, before, change, conversations, calls, tokens, "
    "per_conversation, cache_hit, top_model, unpriced, last_call",
)

_OF_USER = TALKS.in_range(one("user"))
USER_NAME = f"SELECT any({name('user_id')}) AS name {_OF_USER} HAVING count() > 0"
USER_DEPARTMENTS = (
    f"SELECT arrayStringConcat(arraySort(groupUniqArray({name('department')})), ', ') AS name "
    f"{_OF_USER} HAVING count() > 0"
)
USER_VARIABLE = (
    f"SELECT {key('user_id')} AS key, {name('user_id')} AS label FROM (SELECT user_id, "
    f"sum(cost_usd) AS spend {BY_USER.in_range('1=1')} GROUP BY user_id) "
    "ORDER BY spend DESC NULLS LAST, label LIMIT 1000"
)
USER_CONVERSATIONS = (
    f"SELECT {name('conversation_id')} AS name, {key('conversation_id')} AS key, "
    f"min(at) AS first_call, max(at) AS last_call, {COUNT} AS calls, "
    f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {UNPRICED} AS unpriced "
    f"{_OF_USER} GROUP BY name, key HAVING calls != 0 "
    "ORDER BY spend DESC NULLS LAST, name LIMIT 200"
)

DEPARTMENTS = compared(
    "department",
    f", uniqExactIf(cityHash64(user_id), user_id != '' AND {IS_NOW}) AS users, "
    f"{_CALLS_NOW} AS calls, "
    f"{_TOKENS_NOW} AS tokens, {ratio('spend', 'users')} AS per_user, {_UNPRICED_NOW} AS unpriced",
    BY_USER,
)
DEPARTMENT_COUNT = f"SELECT uniqExactIf(department, department != '') AS departments {IN_RANGE}"
NO_DEPARTMENT = f"SELECT if(count() = 0, 0, sumIf(cost_usd, department = '')) AS nobody {IN_RANGE}"
DEPARTMENTS_BY_MODEL = (
    f"SELECT {name('department')} AS name, {name('model_name')} AS model, {COUNT} AS calls, "
    f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {UNPRICED} AS unpriced {IN_RANGE} "
    "GROUP BY name, model HAVING calls != 0 ORDER BY spend DESC NULLS LAST, name, model LIMIT 200"
)

AGENTS = compared(
    "agent_id",
    f", {_CALLS_NOW} AS calls, sumIf(error_count, {IS_NOW}) AS errors, "
    f"{quantile(0.95, f'sumMapIf(durations, {IS_NOW})')} AS p95, {_UNPRICED_NOW} AS unpriced",
    replace(BY_AGENT, more="durations"),
    first=f"anyIf(agent_name, {IS_NOW}) AS called, ",
    of_range="uniqExactIf(cityHash64(user_id), user_id != '') AS users, "
    f"{CONVERSATIONS} AS conversations, "
    f"{ratio(_IN_CONVERSATIONS, 'conversations')} AS per_conversation",
    shown="name, key, called, spend, share, before, change, users, conversations, calls, "
    "per_conversation, errors, p95, unpriced",
)
AGENT_COUNT = f"SELECT uniqExactIf(agent_id, agent_id != '') AS agents {BY_AGENT.in_range()}"
PER_CONVERSATION = (
    f"SELECT {ratio(_IN_CONVERSATIONS, CONVERSATIONS)} AS per_conversation {TALKS.in_range()}"
)
