"""The very text, colour and link that Grafana shows, by Grafana's own @grafana/data in Node."""

import json
import shutil
import subprocess
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from call_facts import FACTS, fill
from grafana_macros import interpolate
from grafana_pages import ONE, SINGLE, key, pages
from tallyspan_collector.summary.budgets import Budget, put

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        not (shutil.which("node") and (HERE / "node_modules/@grafana/data").is_dir()),
        reason="no @grafana/data: npm ci --prefix tests/grafana --ignore-scripts",
    ),
]
TEXT, ORANGE, RED = "#CCCCDC", "#FF9830", "#F2495C"
LONG_AGO = date(2020, 1, 1)


def grafana(*questions: dict[str, Any]) -> list[dict[str, Any]]:
    """What @grafana/data makes of panels with figures."""
    done = subprocess.run(
        ["node", str(HERE / "displayed_text.cjs")],
        input="\n".join(json.dumps(each) for each in questions),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def panel(page: str, title: str) -> dict[str, Any]:
    (match,) = [each for each in pages()[page]["panels"] if each["title"] == title]
    return dict(match)


FIGURES = [
    ("overview", "Spend", 4321.5, "$4,321.50", TEXT),
    ("overview", "Spend", 1234567.891, "$1,234,567.89", TEXT),
    ("overview", "Spend", None, "unpriced", None),
    ("overview", "Spend", 0, "$0.00", TEXT),
    ("overview", "Against last month", 0.355, "35.5%", ORANGE),
    ("overview", "Against last month", 1.5, "150.0%", RED),
    ("overview", "Against last month", -0.2, "-20.0%", TEXT),
    ("overview", "Unpriced calls", 0, "0", TEXT),
    ("overview", "Unpriced calls", 3, "3", ORANGE),
    ("overview", "Tokens", 12_345_678, "12.3 Mil", TEXT),
    ("overview", "Forecast of this month", None, "fewer than 3 days known", None),
    ("budgets", "Used of the budget of all calls", 0.79, "79.0%", TEXT),
    ("budgets", "Used of the budget of all calls", 0.8, "80.0%", ORANGE),
    ("budgets", "Used of the budget of all calls", 1.021, "102.1%", RED),
    ("budgets", "Over their amount", 1, "1", RED),
]


def test_a_figure_reads_as_it_should() -> None:
    columns = [{"name": "figure", "type": "number"}]
    answers = grafana(
        *(
            {"panel": panel(page, title), "columns": columns, "rows": [[value]]}
            for page, title, value, _, _ in FIGURES
        )
    )

    for answer, (_, title, value, text, colour) in zip(answers, FIGURES, strict=True):
        ((cell,),) = answer["cells"]
        assert cell["text"] == text, (title, value)
        assert colour is None or cell["color"].upper() == colour, (title, value)


@pytest.fixture(scope="module")
def client(client: Client) -> Client:
    fill(client, FACTS)
    put(client, Budget("department", "research", "month", LONG_AGO, Decimal(10)))
    return client


def answered(client: Client, page: str, drawn: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC)
    chosen = {name: [key("ada")] for name in ONE} if page in SINGLE else {}
    sql = interpolate(drawn["targets"][0]["rawSql"], now - timedelta(days=90), now, chosen)
    types = [row[:2] for row in client.query(f"DESCRIBE TABLE ({sql})").result_rows]
    rows = client.query(sql)
    columns = [{"name": name, "type": kind_of(kind)} for name, kind in types]
    return {"panel": drawn, "columns": columns,
            "rows": [[plain(value) for value in row] for row in rows.result_rows]}  # fmt: skip


def kind_of(name: str) -> str:
    """As the plugin converts: times, numbers (Decimal too), else text."""
    inner = name.removeprefix("LowCardinality(").removeprefix("Nullable(")
    if inner.startswith("Date"):
        return "time"
    return "number" if inner.startswith(("Int", "UInt", "Float", "Decimal")) else "string"


def plain(value: Any) -> Any:
    match value:
        case Decimal():
            return float(value)
        case datetime():
            return value.timestamp() * 1000
        case list():
            return str(value)
        case _:
            return value


def test_every_cell_of_every_table_has_a_text_and_hidden_columns_stay_hidden(
    client: Client,
) -> None:
    tables = [
        (name, drawn)
        for name, page in pages().items()
        for drawn in page["panels"]
        if drawn["type"] == "table"
    ]
    questions = [answered(client, *each) for each in tables]

    for (page, drawn), question, shown in zip(tables, questions, grafana(*questions), strict=True):
        titles = [
            each["value"]
            for override in drawn["fieldConfig"]["overrides"]
            for each in override["properties"]
            if each["id"] == "displayName"
        ]
        assert shown["names"] == titles, (page, drawn["title"])
        assert {"key"} & {each["name"] for each in question["columns"]} <= set(shown["hidden"])
        for cells, row in zip(shown["cells"], question["rows"], strict=True):
            for cell, value in zip(cells, row, strict=True):
                assert not {"NaN", "undefined"} & set(cell["text"].split())
                assert cell["text"] or value in (None, ""), (page, drawn["title"])


def test_a_link_of_a_cell_leads_to_the_key_of_its_row(client: Client) -> None:
    (shown,) = grafana(answered(client, "overview", panel("overview", "Top users")))

    first = shown["cells"][0][0]
    assert (first["text"], shown["cells"][0][4]["text"]) == ("ada", "$15.00")
    assert first["href"] == f"/d/tallyspan-user?var-user={key('ada')}&from=now-30d&to=now"


def test_a_budget_is_in_the_colour_of_its_state(client: Client) -> None:
    (shown,) = grafana(answered(client, "budgets", panel("budgets", "All budgets")))
    (row,) = [dict(zip(shown["names"], cells, strict=True)) for cells in shown["cells"]]

    assert (row["Budget"]["text"], row["State"]["text"]) == ("$10.00", "over")
    assert row["Used"]["text"].endswith("%")
    assert row["State"]["color"].upper() == row["Used"]["color"].upper() == RED
    assert row["Name"]["href"].startswith("/d/tallyspan-budgets?var-budget=k")
