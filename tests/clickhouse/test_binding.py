"""A view as a limited reader gets it: in every clause a query can have, with a real engine."""

from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from call_facts import FACTS, fill
from tallyspan_clickhouse.query.access import LIMITS, OPEN, Access
from tallyspan_clickhouse.query.binding import Bound, Grafana

SALES = Access(departments=("sales",))
OWN = Bound(is_limited=True).view("calls")
OTHERS = Bound(is_limited=True).view("usage_by_user")
COUNT = sum(fact.department == "sales" for fact in FACTS)
CLAUSES = {
    "FROM": f"SELECT count() FROM {OWN} WHERE department != 'sales'",
    "alias": f"SELECT count() FROM {OWN} AS c WHERE c.department != 'sales'",
    "OR": f"SELECT count() FROM {OWN} WHERE 1 OR department = 'research' HAVING count() != {COUNT}",
    "JOIN": f"SELECT count() FROM {OWN} AS a JOIN {OTHERS} AS b ON true"
    " WHERE a.department != 'sales' OR b.department != 'sales'",
    "LEFT JOIN": f"SELECT countIf(b.department NOT IN ('sales', '')) FROM {OWN} AS a"
    f" LEFT JOIN {OTHERS} AS b USING (user_id)",
    "FULL JOIN": f"SELECT countIf(b.user_id = 'ada') FROM {OWN} AS a"
    f" FULL JOIN {OTHERS} AS b ON a.user_id = b.user_id",
    "CROSS JOIN": f"SELECT countIf(b.department != 'sales') FROM {OWN} AS a, {OTHERS} AS b",
    "subquery": f"SELECT count() FROM (SELECT * FROM (SELECT * FROM {OWN})) WHERE user_id = 'ada'",
    "scalar": f"SELECT (SELECT countIf(department != 'sales') FROM {OWN})",
    "WITH": f"WITH mine AS (SELECT * FROM {OWN}) SELECT count() FROM mine WHERE user_id = 'ada'",
    "UNION ALL": f"SELECT sum(n) FROM (SELECT count() AS n FROM {OWN} WHERE user_id = 'ada'"
    f" UNION ALL SELECT count() FROM {OTHERS} WHERE user_id = 'ada')",
    "IN": f"SELECT countIf('ada' IN (SELECT user_id FROM {OTHERS})) FROM {OWN}",
    "tuple IN": f"SELECT count() FROM {OWN} WHERE (user_id, 1) IN"
    f" (SELECT user_id, 1 FROM {OTHERS} WHERE department != 'sales')",
    "EXISTS": f"SELECT exists(SELECT 1 FROM {OTHERS} WHERE department != 'sales')",
    "ARRAY JOIN": f"SELECT count() FROM {OWN} ARRAY JOIN [1, 2] AS n WHERE department != 'sales'",
    "window": f"SELECT max(n) FROM (SELECT department, count() OVER () AS n FROM {OWN})"
    f" HAVING max(n) != {COUNT}",
    "GROUP BY": f"SELECT department FROM {OWN} GROUP BY department HAVING department != 'sales'",
    "LIMIT BY": f"SELECT department FROM {OWN} WHERE department != 'sales' LIMIT 1 BY department",
    "PREWHERE": f"SELECT count() FROM {OTHERS} WHERE department IN ('research', '')",
}


@pytest.fixture(scope="module")
def ledger(client: Client) -> Client:
    fill(client, FACTS)
    return client


def nothing(rows: Any) -> bool:
    return all(not any(row) for row in rows)


@pytest.mark.parametrize("clause", CLAUSES)
def test_no_clause_leads_to_rows_of_others(ledger: Client, clause: str) -> None:
    sql = CLAUSES[clause]
    own = ledger.query(sql, parameters=dict(SALES.parameters())).result_rows
    # A reader who may see everything asks the same text: it can tell rows of others.
    full = ledger.query(sql, parameters={"own_department": [], "own_tenant": []}).result_rows

    assert nothing(own), own
    assert not nothing(full)


@pytest.mark.parametrize("view", sorted(LIMITS.keys() - OPEN))
def test_a_limited_reader_sees_rows_with_the_own_department_or_none(
    ledger: Client, view: str
) -> None:
    sql = f"SELECT count() FROM {Bound(is_limited=True).view(view)}"
    [(count,)] = ledger.query(sql, parameters=dict(SALES.parameters())).result_rows
    if "department" in LIMITS[view]:
        [(own,)] = ledger.query(f"SELECT countIf(department = 'sales') FROM {view}").result_rows
        assert count == own
    else:
        assert count == 0


def test_a_tenant_limits_what_has_one(ledger: Client) -> None:
    sql = f"SELECT count() FROM {OWN}"
    elsewhere = Access(tenants=("elsewhere",))

    assert ledger.query(sql, parameters=dict(elsewhere.parameters())).result_rows == [(0,)]
    assert ledger.query(sql, parameters=dict(Access(tenants=("",)).parameters())).result_rows == [
        (len(FACTS),)
    ]


@pytest.mark.parametrize("binding", [Grafana(), Bound(), Bound(is_limited=True)])
def test_what_is_no_view_cannot_be_read(binding: Any) -> None:
    for name in ("llm_calls", "system.query_log", "calls; DROP TABLE llm_calls", ""):
        with pytest.raises(KeyError):
            binding.view(name)
