"""What the console gets of the pages: questions grouped, every view read as the reader may."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

import tallyspan_grafana.sql
from call_facts import FACTS, fill
from grafana_pages import SINGLE
from set_clock import clock_at
from tallyspan_clickhouse.query.binding import Bound
from tallyspan_clickhouse.schema import READABLE_VIEWS
from tallyspan_collector.console import answers
from tallyspan_collector.console.dashboards import Question
from tallyspan_grafana import console
from tallyspan_grafana.__main__ import CONSOLE, PAGES
from tallyspan_grafana.console import questions
from tallyspan_grafana.sql.common import Figure, Query

COMMITTED = json.loads((CONSOLE / "pages.json").read_text())
NAMES = {"ada", "c1", "all calls, month"}
PARAMETERS: dict[str, Any] = {
    "from_s": 1_700_000_000, "to_s": 2_100_000_000,
    **{name: sorted(NAMES) for name in ("user", "department", "model", "budget", "conversation", "call")},
    "contains": "", "max_rows": 100, "own_department": ["sales"], "own_tenant": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def ledger(client: Client) -> Iterator[Client]:
    fill(client, FACTS)
    with clock_at(client, datetime.now(UTC)):
        yield client


def texts(*kinds: str) -> list[tuple[str, str]]:
    """A name and the SQL of every question and variable."""
    return [
        (f"{entry['page']['uid']} {name}", each[kind])
        for entry in COMMITTED
        for name, each in [
            *((str(question["panels"]), question) for question in entry["questions"]),
            *entry["variables"].items(),
        ]
        for kind in kinds
        if kind in each
    ]


UNLIMITED, LIMITED_TOO = ("sql", "unfiltered_sql"), ("limited_sql", "limited_unfiltered_sql")


def test_every_panel_is_answered_once_and_figures_of_the_same_rows_together() -> None:
    for entry in COMMITTED:
        panels = [panel["id"] for panel in entry["page"]["panels"]]
        answered = [panel for each in entry["questions"] for panel in each["panels"]]
        assert sorted(answered) == panels
        assert len(entry["questions"]) <= 15, entry["page"]["uid"]
        stats = {each["id"] for each in entry["page"]["panels"] if each["type"] == "stat"}
        for each in entry["questions"]:
            assert len(each["panels"]) == 1 or set(each["panels"]) <= stats
    (models,) = [each for each in COMMITTED if each["page"]["uid"] == "tallyspan-models"]
    assert max(len(each["panels"]) for each in models["questions"]) == 5


def test_only_figures_are_grouped_and_only_those_of_the_same_rows() -> None:
    def one(_: object) -> str:
        return "FROM numbers(1)"

    def two(_: object) -> str:
        return "FROM numbers(2)"

    def table(_: object) -> str:
        return "SELECT number FROM numbers(1)"

    count = Figure("count()", "calls", one)
    queries: dict[int, Query] = {
        1: count,
        2: table,
        3: Figure("sum(number)", "b", two),
        4: count,
        5: table,
    }
    grouped = questions(queries)

    assert [each.panels for each in grouped] == [(1, 4), (2,), (3,), (5,)]
    assert [each.columns for each in grouped] == [("calls", "calls"), (), ("b",), ()]
    assert grouped[0].query(Bound()) == (
        "SELECT count() AS figure_1, count() AS figure_4 FROM numbers(1)"
    )


@pytest.mark.parametrize("name", PAGES)
def test_a_figure_is_the_same_among_others_as_alone(ledger: Client, name: str) -> None:
    page = PAGES[name]()
    alone = page.queries()
    for question in questions(alone):
        if len(question.panels) > 1:
            row = answers.ask(ledger, question.query(Bound()), PARAMETERS)["rows"]
            for place, panel in enumerate(question.panels):
                figure = answers.ask(ledger, alone[panel](Bound()), PARAMETERS)["rows"]
                assert figure == [[each[place]] for each in row], (name, panel)


def test_no_query_names_a_database_or_a_macro_itself() -> None:
    folder = Path(tallyspan_grafana.sql.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text()
        assert not re.search(r"\$[_{a-z]", text), path.name
        assert "FROM tallyspan" not in text, path.name
    assert "$" not in "".join(sql for _, sql in texts(*UNLIMITED, *LIMITED_TOO))


@pytest.mark.parametrize("entry", COMMITTED, ids=lambda entry: entry["page"]["uid"])
def test_a_page_above_which_nothing_is_chosen_is_asked_by_shorter_texts_with_the_same_answers(
    ledger: Client, entry: dict[str, Any]
) -> None:
    for each in (Question(**question) for question in entry["questions"]):
        if not each.filters:
            continue
        of_all = PARAMETERS | {name: [] for name in each.filters}
        short = each.text(of_all, is_limited=False)
        assert len(short) < len(each.sql)
        assert not any(f"{{{name}:" in short for name in each.filters)
        assert answers.ask(ledger, short, of_all) == answers.ask(ledger, each.sql, of_all)
        chosen = of_all | {each.filters[-1]: ["ada"]}
        assert each.text(chosen, is_limited=False) == each.sql
        assert each.text(chosen, is_limited=True) == each.limited_sql
        assert each.text(of_all, is_limited=True) == each.limited_unfiltered_sql


# The proof of access. ClickHouse itself reads the text; what is compared is its syntax tree.


@dataclass
class Node:
    text: str
    above: "Node | None" = None
    below: "list[Node]" = field(default_factory=list)

    def all(self) -> "Iterator[Node]":
        yield self
        for each in self.below:
            yield from each.all()

    def shape(self) -> Any:
        """The tree without aliases of its root."""
        return (self.text.partition(" (alias")[0], [each.shape() for each in self.below])


def parsed(client: Client, sql: str) -> Node:
    """The syntax tree; each level of EXPLAIN AST is one blank further in."""
    bound = {name: value for name, value in PARAMETERS.items() if f"{{{name}:" in sql}
    root = Node("")
    path = [root]
    # As a subquery: a server would take the FORMAT that the driver adds for a part of the text.
    explained = f"SELECT * FROM (EXPLAIN AST {sql})"
    for (line,) in client.query(explained, parameters=bound).result_rows:
        depth = len(line) - len(line.lstrip()) + 1
        path = path[:depth]
        node = Node(line.strip().partition(" (children")[0], path[-1])
        path[-1].below.append(node)
        path.append(node)
    return root


COMMON = {"largest", "spent"}
"""Names of common table expressions. What they read stands in the tree too."""


def tables(root: Node) -> list[Node]:
    """Every table and view that a query names. Fails for a table function or `x IN table`."""
    for each in root.all():
        if each.text == "TableExpression":
            assert not each.below[0].text.startswith("Function"), each.below[0].text
        if re.match(r"Function (global)?(not)?in\b", each.text, re.IGNORECASE):
            assert not each.below[0].below[1].text.startswith("Identifier"), each.text
    identifiers = [each for each in root.all() if each.text.startswith("TableIdentifier")]
    return [each for each in identifiers if name_of(each) not in COMMON]


def name_of(node: Node) -> str:
    return node.text.split(" ")[1]


def unlimited(client: Client, sql: str) -> list[str]:
    """The views that a query reads in any other way than `Bound(is_limited=True)` writes it."""
    loose = []
    for node in tables(parsed(client, sql)):
        name = name_of(node)
        if name not in READABLE_VIEWS:
            loose.append(name)
            continue
        view = f"SELECT 1 FROM {Bound(is_limited=True).view(name)}"
        (expected,) = [each for each in parsed(client, view).all() if each.text == "Subquery"]
        above = node.above
        while above is not None and not above.text.startswith("Subquery"):
            above = above.above
        if above is None or above.shape() != expected.shape():
            loose.append(name)
    return loose


@pytest.mark.parametrize(("name", "sql"), texts(*LIMITED_TOO), ids=lambda each: each[:40])
def test_every_view_of_a_limited_query_is_read_through_the_condition(
    ledger: Client, name: str, sql: str
) -> None:
    assert tables(parsed(ledger, sql)), name
    assert unlimited(ledger, sql) == []


def test_no_query_reads_anything_but_the_reporting_views(ledger: Client) -> None:
    for name, sql in texts(*UNLIMITED):
        read = {name_of(each) for each in tables(parsed(ledger, sql))}
        assert read, name
        assert read <= set(READABLE_VIEWS), name


LIMITED = Bound(is_limited=True).view("calls")
# Each reads `calls` once more, or something that is no view, past the condition.
LOOSE = [
    "SELECT count() FROM calls",
    "SELECT count() FROM tallyspan.calls",
    f"SELECT count() FROM {LIMITED} AS a LEFT JOIN calls AS b ON a.user_id = b.user_id",
    f"SELECT count() FROM calls AS b, {LIMITED} AS a",
    f"SELECT count() FROM {LIMITED} WHERE user_id IN (SELECT user_id FROM calls)",
    f"SELECT count() FROM {LIMITED} UNION ALL SELECT count() FROM calls",
    f"WITH largest AS (SELECT * FROM calls) SELECT count() FROM largest, {LIMITED} AS a",
    f"SELECT (SELECT count() FROM calls), count() FROM {LIMITED}",
    f"SELECT count() FROM {LIMITED} WHERE exists(SELECT 1 FROM calls)",
    "SELECT count() FROM calls ARRAY JOIN quality_flags",
    "SELECT count() FROM (SELECT * FROM calls WHERE department IN ('sales'))",
    f"SELECT count() FROM (SELECT * FROM calls WHERE 1) UNION ALL SELECT count() FROM {LIMITED}",
    "SELECT count() FROM llm_calls",
    "SELECT count() FROM system.query_log",
]


@pytest.mark.parametrize("sql", LOOSE)
def test_the_proof_sees_a_view_that_is_read_past_the_condition(ledger: Client, sql: str) -> None:
    assert len(unlimited(ledger, sql)) == 1


def test_the_proof_sees_a_table_function_and_a_table_behind_in(ledger: Client) -> None:
    for sql in ("SELECT * FROM numbers(1)", f"SELECT 1 FROM {LIMITED} WHERE user_id IN calls"):
        with pytest.raises(AssertionError):
            unlimited(ledger, sql)


def test_what_is_drawn_has_no_query_in_it() -> None:
    for entry in COMMITTED:
        assert not {"targets", "datasource", "query"} & set(entry["page"]["panels"][0])
        single = entry["page"]["uid"].removeprefix("tallyspan-") in SINGLE
        for variable in entry["page"]["templating"]["list"]:
            assert set(variable) <= set(console.VARIABLE_KEYS)
            assert bool(variable.get("multi")) is not single
