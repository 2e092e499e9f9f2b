"""One call: what it used, what its price depends on, what it costs, what is doubtful."""

from tallyspan_clickhouse.query.binding import Binding
from tallyspan_grafana.sql.common import Figure, Query, key, name
from tallyspan_grafana.sql.drill_down import in_newest_days

_TRACE_CHARACTERS = 32


def _in(view: str) -> Query:
    """Return the FROM of the call in a view, whatever the range is: its identity is enough."""

    def rows(binding: Binding) -> str:
        chosen = binding.name("call")
        # By both ids and not by log_id, which has no index.
        return (
            f"FROM {binding.view(view)} "
            f"WHERE trace_id = substring({chosen}, 1, {_TRACE_CHARACTERS}) "
            f"AND span_id = substring({chosen}, {_TRACE_CHARACTERS + 2})"
        )

    return rows


_CALL = _in("calls")


def _if_any(binding: Binding) -> str:
    return f"{_CALL(binding)} HAVING count() > 0"


def variable(binding: Binding) -> str:
    """Return key and label of calls, the newest first."""
    return (
        f"SELECT {key('log_id')} AS key, concat(formatDateTime(start_time, '%F %T', 'UTC'), ' ', "
        f"{name('model_name')}, ' ', {name('user_id')}) AS label FROM {binding.view('calls')} "
        f"WHERE {binding.within('start_time')} AND {in_newest_days(binding)} "
        f"AND {binding.searched('label')} "
        f"ORDER BY start_time DESC, log_id LIMIT {binding.most_choices}"
    )


MODEL = Figure(f"any({name('model_name')})", "name", _if_any)
ENDPOINT = Figure(f"any({name('endpoint_id')})", "name", _if_any)
USER = Figure(f"any({name('user_id')})", "name", _if_any)
STATE = Figure("any(toString(cost_status))", "name", _if_any)
COST = Figure("any(cost_usd)", "cost", _if_any)
OTHER_COST = Figure("any(other_cost_usd)", "other_cost", _if_any)


def meters(binding: Binding) -> str:
    """Return each meter of the call and its amount."""
    return f"SELECT meter AS name, amount {_in('call_meters')(binding)} ORDER BY name"


def conditions(binding: Binding) -> str:
    """Return what the price depends on: names and values, those of the map and of columns."""
    return (
        "SELECT pair.1 AS name, pair.2 AS value FROM (SELECT arrayConcat(["
        "('provider', toString(provider_name)), ('model', toString(model_name)), "
        "('endpoint', toString(endpoint_id)), ('service_tier', toString(service_tier)), "
        "('time', concat(formatDateTime(start_time, '%F %T', 'UTC'), ' UTC'))], "
        "arrayMap((n, v) -> (toString(n), toString(v)), mapKeys(conditions), "
        f"mapValues(conditions))) AS pairs {_CALL(binding)}) "
        "ARRAY JOIN pairs AS pair WHERE value != ''"
    )


def price(binding: Binding) -> str:
    """Return the price that was used and the parts of the cost."""
    return (
        "SELECT if(price_id = '', NULL, toString(price_id)) AS price, "
        "if(price_source = '', NULL, toString(price_source)) AS source, "
        "if(unpriced_reason = '', NULL, toString(unpriced_reason)) AS why, "
        "input_cost_usd AS of_input, output_cost_usd AS of_output, "
        "cost_usd - ifNull(input_cost_usd, 0) - ifNull(output_cost_usd, 0) AS of_rest, "
        "cost_usd AS cost, other_cost_usd AS other_way, reported_cost_usd AS reported, "
        f"claimed_cost_usd AS claimed {_CALL(binding)}"
    )


def doubts(binding: Binding) -> str:
    """Return what is doubtful about the call, and the line that decides it."""
    return (
        "SELECT kind, doubt AS name, if(setting = '', NULL, setting) AS to_set "
        f"{_in('call_doubts')(binding)} ORDER BY kind, name"
    )
