import csv
import io
import json
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from tallyspan_collector.commands.report_text import cost_text, render
from tallyspan_collector.commands.sql import run_sql
from tallyspan_collector.summary import MEASURES, RequestError
from tallyspan_collector.units.money import dollars


def row(user: str, **measures: Any) -> dict[str, Any]:
    return {"user": user} | dict.fromkeys(MEASURES, 0) | {"cost_usd": None} | measures


ROWS = [
    row("ada", calls=1200, input_tokens=1_000_000, output_tokens=5, total_tokens=1_000_005)
    | {"cost_usd": Decimal("1234.5678"), "priced_calls": 1200},
    row("山田", calls=3, input_tokens=10, output_tokens=None, total_tokens=10)
    | {"cost_usd": Decimal("0.0123"), "unpriced_calls": 2, "estimated_calls": 1},
    row("", calls=2, input_tokens=None, output_tokens=None, total_tokens=None)
    | {"unpriced_calls": 2, "unknown_usage_calls": 2},
]
TABLE = """\
user    calls      input   output      total                    cost
--------------------------------------------------------------------
ada     1,200  1,000,000        5  1,000,005               $1,234.57
山田        3         10  unknown         10    $0.0123 + 2 unpriced
(none)      2    unknown  unknown    unknown              2 unpriced
--------------------------------------------------------------------
total   1,205  1,000,010        5  1,000,015  $1,234.58 + 4 unpriced
1 call with estimated token counts
2 calls with unknown token counts
"""


def test_notional_cost_stands_beside_the_cost_and_is_no_part_of_it() -> None:
    plan = row("ada", calls=3, cost_usd=Decimal(2), notional_calls=2)

    assert cost_text(plan | {"notional_cost_usd": Decimal("7.5")}) == "$2.00 ($7.50 notional)"
    assert "2 calls paid by a subscription or a commitment" in rendered(
        "table", [plan | {"notional_cost_usd": Decimal(7)}]
    )


def test_what_caches_saved_or_cost_is_a_line_below_the_table() -> None:
    saved, lost = (row("ada", calls=1, cache_saved_usd=Decimal(usd)) for usd in ("2.5", "-0.25"))

    assert "caches saved $2.50 against the price of input\n" in rendered("table", [saved])
    assert "caches cost $0.25 more than they saved" in rendered("table", [lost])
    assert "caches saved $2.25 " in rendered("table", [saved, lost])
    assert "caches" not in rendered("table")


def test_the_table_says_what_of_the_cost_is_use_commitment_plan_and_unused() -> None:
    parts = {
        "use_cost_usd": Decimal(2),
        "commitment_cost_usd": Decimal(5),
        "unused_cost_usd": Decimal("0.5"),
    }
    text = rendered("table", [row("ada", calls=3, cost_usd=Decimal("7.5")) | parts])

    assert text.endswith("\nof the cost $2.00 use, $5.00 commitment, $0.50 unused\n")


def rendered(fmt: Any, rows: list[dict[str, Any]] = ROWS, **options: Any) -> str:
    out = io.StringIO()
    render(rows, ["user"], fmt, out, **options)
    return out.getvalue()


def test_the_table_is_aligned_and_shows_what_is_unpriced_estimated_and_unknown() -> None:
    assert rendered("table") == TABLE


def test_every_figure_of_the_table_ends_in_its_column() -> None:
    lines = [line for line in rendered("table", [ROWS[0], ROWS[2]]).splitlines() if "  " in line]

    assert len({len(line) for line in lines}) == 1


def test_totals_given_are_the_total_line_even_if_the_rows_are_fewer() -> None:
    total = row("", calls=9_999, cost_usd=Decimal(50))

    assert rendered("table", totals=total).splitlines()[-1].split()[:2] == ["total", "9,999"]


def test_a_user_id_cannot_send_an_escape_sequence_to_the_terminal() -> None:
    shown = rendered("table", [row("\x1b[2Jada\nbob")])

    assert r"\x1b[2Jada\nbob" in shown
    assert "\x1b" not in shown


def test_json_has_exact_amounts_and_null_for_unpriced() -> None:
    answer = json.loads(rendered("json"))

    assert [r["cost_usd"] for r in answer["rows"]] == ["1234.5678", "0.0123", None]
    assert answer["totals"]["cost_usd"] == "1234.5801"
    assert answer["totals"]["calls"] == 1205


def test_csv_reads_back_as_the_same_rows_with_nothing_for_unpriced() -> None:
    read = list(csv.DictReader(io.StringIO(rendered("csv"))))

    assert [(r["user"], r["cost_usd"], r["calls"]) for r in read] == [
        ("ada", "1234.5678", "1200"),
        ("山田", "0.0123", "3"),
        ("", "", "2"),
    ]


def test_nothing_to_report_is_a_table_with_a_total_of_no_calls() -> None:
    assert rendered("table", []).splitlines()[-1].split()[:2] == ["total", "0"]


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("0.000000000001", "<$0.000001"),
        ("0.000001", "$0.000001"),
        ("0.0123", "$0.0123"),
        ("0.5", "$0.50"),
        ("0.9999999", "$1.00"),
        ("1234567.891", "$1,234,567.89"),
        ("-0.0123", "-$0.0123"),
    ],
)
def test_money_is_shown_as_people_read_it(amount: str, text: str) -> None:
    assert dollars(Decimal(amount)) == text


def test_a_group_nobody_bills_is_not_shown_as_free() -> None:
    assert cost_text(row("ada", calls=1)) == "not billed"


def test_sql_answers_in_the_format_asked_for(client: Client) -> None:
    out = io.BytesIO()

    run_sql(client, "SELECT number AS n FROM numbers(2); -- two", "CSVWithNames", out)

    assert out.getvalue() == b'"n"\n0\n1\n'


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DROP TABLE llm_calls", "readonly"),
        ("INSERT INTO llm_calls (user_id) VALUES ('ada')", "readonly"),
        ("SELECT 1 SETTINGS readonly = 0", "readonly"),
        ("SELECT 1; DROP TABLE llm_calls", "Multi-statements are not allowed"),
        ("TRUNCATE TABLE llm_calls", "readonly"),
    ],
)
def test_sql_cannot_write(client: Client, sql: str, why: str) -> None:
    with pytest.raises(RequestError, match=f"the store refused the SQL: .*{why}"):
        run_sql(client, sql, "TSV", io.BytesIO())


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT * FROM nowhere", "", "SELECT 'a"])
def test_sql_the_store_does_not_understand_is_one_line_about_why(client: Client, sql: str) -> None:
    out = io.BytesIO()
    with pytest.raises(RequestError) as refused:
        run_sql(client, sql, "TSV", out)

    assert str(refused.value).startswith("the store refused the SQL: ")
    assert "\n" not in str(refused.value)
    assert "Expected one of" not in str(refused.value)
    assert out.getvalue() == b""


@pytest.mark.parametrize("fmt", ["", "TSV; DROP TABLE t", "TSV SETTINGS readonly=0"])
def test_a_format_that_is_no_name_is_refused(client: Client, fmt: str) -> None:
    with pytest.raises(RequestError, match="--format must be the name of a ClickHouse format"):
        run_sql(client, "SELECT 1", fmt, io.BytesIO())
