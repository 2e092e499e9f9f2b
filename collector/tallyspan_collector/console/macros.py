"""Dashboard SQL with Grafana's macros and variables -> SQL with bound parameters.

Grafana and its ClickHouse plugin put values into the text; here none gets there. What the macros
mean is documented at https://github.com/grafana/clickhouse-datasource#macros.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

ALL = "$__all"
_CONDITIONAL = "$__conditionalAll("
_TIME_FILTER = re.compile(r"\$__timeFilter\(([^)]*)\)")
_VARIABLE = re.compile(r"\$\{(\w+):singlequote\}")
_FROM, _TO = "toDateTime({from_s:UInt32})", "toDateTime({to_s:UInt32})"

OF_ALL = ("tallyspan.reconciliations", "tallyspan.collector_health")
"""Views without a department: who may see some only does not see them."""
Parameters = dict[str, str | int]


def bind(
    sql: str, start: datetime, end: datetime, chosen: Mapping[str, Sequence[str]]
) -> tuple[str, Parameters]:
    """Return the query and its parameters; a variable that is not chosen is All, or none.

    Times are cut to seconds, as the plugin does. Raises ValueError for a macro not known here.
    """
    parameters: Parameters = {"from_s": int(start.timestamp()), "to_s": int(end.timestamp())}

    def values(match: re.Match[str]) -> str:
        name = match[1]
        names = [f"{name}_{number}" for number in range(len(chosen.get(name, ())))]
        parameters.update(zip(names, chosen.get(name, ()), strict=True))
        return ", ".join(f"{{{each}:String}}" for each in names) or "''"

    sql = _without_conditions(sql, chosen)
    sql = _TIME_FILTER.sub(rf"\1 >= {_FROM} AND \1 <= {_TO}", sql)
    sql = sql.replace("$__fromTime", _FROM).replace("$__toTime", _TO)
    sql = _VARIABLE.sub(values, sql)
    if "$" in sql:
        raise ValueError(f"a macro that the console does not know: {sql[sql.index('$') :][:40]}")
    used = {name: value for name, value in parameters.items() if f"{{{name}:" in sql}
    return sql, used


def limit(sql: str, parameters: Parameters, departments: Sequence[str]) -> tuple[str, Parameters]:
    """Return the query over the calls of these departments only; of none given, over all.

    What is of the whole organisation, such as a bill, has no rows then.
    """
    if not departments:
        return sql, parameters
    for view in OF_ALL:
        sql = re.sub(rf"FROM {view}\b", f"FROM (SELECT * FROM {view} WHERE 1 = 0)", sql)  # noqa: S608  a constant
    names = {f"own_{number}": name for number, name in enumerate(departments)}
    bound = ", ".join(f"{{{name}:String}}" for name in names)
    own = rf"FROM (SELECT * FROM \1 WHERE department IN ({bound}))"  # noqa: S608  bound
    others = "|".join(re.escape(view) for view in OF_ALL)
    sql = re.sub(rf"FROM (?!{others})(tallyspan\.\w+)", own, sql)
    return sql, {**parameters, **names}


def _without_conditions(sql: str, chosen: Mapping[str, Sequence[str]]) -> str:
    # The last one first, so that nothing between its brackets is still to be replaced.
    while (at := sql.rfind(_CONDITIONAL)) >= 0:
        begin = at + len(_CONDITIONAL)
        stop = _closing(sql, begin)
        condition, _, variable = sql[begin:stop].rpartition(",")
        values = chosen.get(variable.strip().lstrip("$"), ())
        is_all = not values or ALL in values
        sql = sql[:at] + ("1=1" if is_all else condition) + sql[stop + 1 :]
    return sql


def _closing(sql: str, at: int) -> int:
    depth = 1
    while depth:
        depth += {"(": 1, ")": -1}.get(sql[at], 0)
        at += 1
    return at - 1
