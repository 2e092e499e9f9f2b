"""Users, User, Departments, Agents."""

from tallyspan_grafana.sql.common import (
    CALLS,
    CONVERSATIONS,
    IN_RANGE,
    IS_NOW,
    RANGE,
    UNPRICED,
    WITH_BEFORE,
    compared,
    key,
    name,
    one,
    ratio,
)

_CALLS_NOW = f"countIf({IS_NOW})"
_TOKENS_NOW = f"sumIf(total_tokens, {IS_NOW})"
_UNPRICED_NOW = f"countIf(cost_status = 'unpriced' AND {IS_NOW})"
_CONVERSATIONS_NOW = f"uniqExactIf(conversation_id, conversation_id != '' AND {IS_NOW})"
_IN_CONVERSATIONS = f"sumIf(cost_usd, conversation_id != '' AND {IS_NOW})"
_CACHE_HIT_NOW = (
    f"ifNull(sumIf(cache_read_tokens, {IS_NOW}), 0) / nullIf(sumIf(input_tokens, {IS_NOW}), 0)"
)

ACTIVE_USERS = f"SELECT uniqExactIf(user_id, user_id != '') AS users {IN_RANGE}"
_OF_USERS = (
    f"FROM (SELECT user_id, sum(cost_usd) AS spend {IN_RANGE} AND user_id != '' GROUP BY user_id)"
)
MEDIAN_OF_USERS = f"SELECT quantileExact(0.5)(spend) AS median {_OF_USERS}"
NINETIETH_OF_USERS = f"SELECT quantileExact(0.9)(spend) AS ninetieth {_OF_USERS}"
MOST_OF_USERS = f"SELECT max(spend) AS most {_OF_USERS}"
NOBODY = f"SELECT if(count() = 0, 0, sumIf(cost_usd, user_id = '')) AS nobody {IN_RANGE}"

USERS = compared(
    "user_id",
    f", {_CONVERSATIONS_NOW} AS conversations, {_CALLS_NOW} AS calls, {_TOKENS_NOW} AS tokens, "
    f"{ratio(_IN_CONVERSATIONS, 'conversations')} AS per_conversation, "
    f"{_CACHE_HIT_NOW} AS cache_hit, "
    # The model most of the user's calls went to.
    f"arrayElementOrNull(topKIf(1)(model_name, {IS_NOW}), 1) AS top_model, "
    f"{_UNPRICED_NOW} AS unpriced, maxIf(start_time, {IS_NOW}) AS last_call",
)

_OF_USER = f"{CALLS} WHERE {RANGE} AND {one('user')}"
USER_NAME = f"SELECT any({name('user_id')}) AS name {_OF_USER} HAVING count() > 0"
USER_DEPARTMENTS = (
    f"SELECT arrayStringConcat(arraySort(groupUniqArray({name('department')})), ', ') AS name "
    f"{_OF_USER} HAVING count() > 0"
)
USER_VARIABLE = (
    f"SELECT {key('user_id')} AS key, {name('user_id')} AS label {CALLS} WHERE {RANGE} "
    "GROUP BY key, label ORDER BY sum(cost_usd) DESC NULLS LAST, label LIMIT 1000"
)
USER_CONVERSATIONS = (
    f"SELECT {name('conversation_id')} AS name, {key('conversation_id')} AS key, "
    f"min(start_time) AS first_call, max(start_time) AS last_call, count() AS calls, "
    f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {UNPRICED} AS unpriced "
    f"{_OF_USER} GROUP BY name, key ORDER BY spend DESC NULLS LAST, name LIMIT 200"
)

DEPARTMENTS = compared(
    "department",
    f", uniqExactIf(user_id, user_id != '' AND {IS_NOW}) AS users, {_CALLS_NOW} AS calls, "
    f"{_TOKENS_NOW} AS tokens, {ratio('spend', 'users')} AS per_user, {_UNPRICED_NOW} AS unpriced",
)
DEPARTMENT_COUNT = f"SELECT uniqExactIf(department, department != '') AS departments {IN_RANGE}"
NO_DEPARTMENT = f"SELECT if(count() = 0, 0, sumIf(cost_usd, department = '')) AS nobody {IN_RANGE}"
DEPARTMENTS_BY_MODEL = (
    f"SELECT {name('department')} AS name, {name('model_name')} AS model, count() AS calls, "
    f"sum(total_tokens) AS tokens, sum(cost_usd) AS spend, {UNPRICED} AS unpriced {IN_RANGE} "
    "GROUP BY name, model ORDER BY spend DESC NULLS LAST, name, model LIMIT 200"
)

AGENTS = (
    f"SELECT {name('agent_id')} AS name, {key('agent_id')} AS key, anyIf(agent_name, {IS_NOW}) "
    f"AS called, sumIf(cost_usd, {IS_NOW}) AS spend, {ratio('spend', 'sum(spend) OVER ()')} "
    "AS share, "
    f"sumIf(cost_usd, NOT ({IS_NOW})) AS before, "
    f"{ratio('ifNull(spend, 0) - before', 'before')} AS change, "
    f"uniqExactIf(user_id, user_id != '' AND {IS_NOW}) AS users, "
    f"{_CONVERSATIONS_NOW} AS conversations, {_CALLS_NOW} AS calls, "
    f"{ratio(_IN_CONVERSATIONS, 'conversations')} AS per_conversation, "
    f"countIf(status = 'error' AND {IS_NOW}) AS errors, "
    f"quantileIf(0.95)(duration_us, {IS_NOW}) / 1e6 AS p95, {_UNPRICED_NOW} AS unpriced "
    f"{WITH_BEFORE} GROUP BY name, key HAVING countIf({IS_NOW}) > 0 "
    "ORDER BY spend DESC NULLS LAST, name LIMIT 500"
)
AGENT_COUNT = f"SELECT uniqExactIf(agent_id, agent_id != '') AS agents {IN_RANGE}"
PER_CONVERSATION = (
    f"SELECT {ratio('sumIf(cost_usd, conversation_id != ' + chr(39) * 2 + ')', CONVERSATIONS)} "
    f"AS per_conversation {IN_RANGE}"
)
