"""Statements: what a department or cost centre spent in a month, with sums worked out by hand."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pypdf
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import strategies as st

from command_line import CommandLine
from ledger import book, call, unpriced
from shared_store import SharedStore
from tallyspan_clickhouse.query.access import Access
from tallyspan_collector.months import close as closing
from tallyspan_collector.months.schedule import Closing
from tallyspan_collector.statements import files, pdf
from tallyspan_collector.statements.read import of_name, owners, read
from tallyspan_collector.statements.statement import Owner, Statement
from tallyspan_collector.summary import RequestError
from tallyspan_collector.units.shares import shares, to_cents

JAN, FEB, MARCH, APRIL = (date(2026, month, 1) for month in (1, 2, 3, 4))
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
RESEARCH, SALES = (Owner("", "department", name) for name in ("research", "sales"))


@pytest.fixture(autouse=True)
def _empty(empty_store: SharedStore) -> None:
    """Each test begins with an empty ledger."""


def used(month: date, cost: str, day: int = 15, **columns: Any) -> dict[str, Any]:
    at = datetime(month.year, month.month, day, 12, tzinfo=UTC)
    return call(start_time=at, cost_usd=Decimal(cost), ingested_at=at, **columns)


def people(client: Client, *of: tuple[str, str, str]) -> None:
    """Say who belongs where: user, department, cost centre, as everybody's name in capitals."""
    client.insert(
        "directory",
        [["", user, date(1970, 1, 1), date(2299, 12, 31), department, centre, user.upper(), 1]
         for user, department, centre in of],
        column_names=["tenant", "user_id", "valid_from", "valid_to", "department", "cost_centre",
                      "display_name", "version"],
    )  # fmt: skip


def close(client: Client, month: date) -> None:
    closing.close(client, month, {"no_bill": "no provider sends bills here"}, by="finance")


def rows(statement: Statement, section: str) -> dict[str, Decimal]:
    """Return name -> cost of a section of a statement's file."""
    return {row["name"]: row["cost_usd"] for row in statement.rows() if row["section"] == section}


def text_of(content: bytes) -> list[str]:
    """Return the text of each page of a PDF."""
    return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages]


def test_a_statement_has_the_spend_of_its_department_by_model_user_agent_and_service(
    client: Client,
) -> None:
    people(client, ("ada", "research", ""))
    book(
        client,
        [
            used(MARCH, "6", agent_id="a1", agent_name="Helpdesk"),
            used(MARCH, "0.25", model_name="o4-mini", user_id="bob", service_name="batch"),
            used(MARCH, "3", department="sales"),
            used(FEB, "5"),
            unpriced(start_time=datetime(2026, 3, 2, tzinfo=UTC)),
        ],
    )

    statement = read(client, MARCH, RESEARCH, now=NOW)

    assert rows(statement, "total") == {
        "recorded": Decimal("6.25"), "true_up": 0, "corrections": 0, "total": Decimal("6.25"),
    }  # fmt: skip
    assert rows(statement, "model") == {"gpt-4.1": 6, "o4-mini": Decimal("0.25")}
    assert rows(statement, "user") == {"ada": 6, "bob": Decimal("0.25")}
    assert rows(statement, "agent") == {"a1": 6, "": Decimal("0.25")}
    assert rows(statement, "service") == {"chat": 6, "batch": Decimal("0.25")}
    assert [item.label for item in statement.listed("user")] == ["ADA", "bob"]
    assert statement.listed("agent")[0].label == "Helpdesk"
    assert statement.sums["unpriced_calls"] == 1
    # Whole months: 6.25 against the 5 of February.
    assert rows(statement, "comparison") == {
        "this": Decimal("6.25"), "last": 5, "difference": Decimal("1.25"),
    }  # fmt: skip
    assert statement.comparison is not None
    assert statement.comparison.percent == Decimal("25.0")
    assert statement.ledger_version() == (
        "provisional: the month is open; newest entry 2026-03-31 12:00:00 UTC"
    )


def test_a_closed_month_keeps_its_statement_and_the_next_one_lists_the_correction(
    client: Client,
) -> None:
    people(client, ("ada", "research", "0042"))
    book(client, [used(MARCH, "6"), used(APRIL, "1"), used(APRIL, "2", department="sales")])
    close(client, MARCH)
    before = [writer(client, read(client, MARCH, RESEARCH, now=NOW)) for writer in WRITERS]

    book(client, [used(MARCH, "3"), used(MARCH, "0.5", department="sales")])  # late
    Closing().look(client)

    again = read(client, MARCH, RESEARCH, now=NOW)
    assert [writer(client, again) for writer in WRITERS] == before
    assert again.ledger_version().startswith("closed, version 1 of ")
    april = read(client, APRIL, RESEARCH, now=NOW)
    assert april.corrections == [(MARCH, Decimal(3))]
    assert rows(april, "total") == {
        "recorded": 1, "true_up": 0, "corrections": 3, "total": 4,
    }  # fmt: skip
    [page] = text_of(pdf.pdf(april))
    assert "Correction of 2026-03 $3.00" in page
    of_centre = read(client, APRIL, Owner("", "cost_centre", "0042"), now=NOW)
    assert of_centre.corrections == [(MARCH, Decimal(3))]


def test_a_correction_that_changed_again_is_still_in_the_sum_of_what_is_listed(
    client: Client,
) -> None:
    book(client, [used(JAN, "1"), used(FEB, "2")])
    close(client, JAN)
    book(client, [used(JAN, "10")])
    Closing().look(client)
    close(client, FEB)  # with the 10 of January

    closing.reopen(client, JAN, reason="the bill was wrong")

    february = read(client, FEB, RESEARCH, now=NOW)
    assert february.sums["prior_period_cost_usd"] == 10
    assert february.corrections == [(None, Decimal(10))]
    assert "Other corrections $10.00" in text_of(pdf.pdf(february))[0]


WRITERS = tuple(files.FORMATS.values())


def test_a_running_month_is_compared_with_the_same_days_of_the_one_before(client: Client) -> None:
    correction: dict[str, Any] = {"sign": 0, "tags": {"closed_month": "2026-02"}}
    book(
        client,
        [used(MARCH, "10", day=4), used(MARCH, "90", day=20),
         used(APRIL, "12", day=4), used(APRIL, "7", day=6),
         used(APRIL, "100", day=1, entry_kind="prior_period", **correction)],
    )  # fmt: skip

    statement = read(client, APRIL, RESEARCH, now=datetime(2026, 4, 6, 18, tzinfo=UTC))

    assert rows(statement, "total")["total"] == 119
    # Five days of April are over: 12 against 10, though 7 more are of today, 100 of February.
    assert rows(statement, "comparison") == {"this": 12, "last": 10, "difference": 2}
    first = read(client, APRIL, RESEARCH, now=datetime(2026, 4, 1, 8, tzinfo=UTC))
    assert first.comparison is None
    assert "nothing to compare" in text_of(pdf.pdf(first))[0]
    # The 30th of March has 28 days of February beside it.
    march = read(client, MARCH, RESEARCH, now=datetime(2026, 3, 30, 8, tzinfo=UTC))
    assert march.comparison is not None
    assert march.comparison.days == 28


def test_a_cost_centre_has_a_statement_of_its_own(client: Client) -> None:
    people(client, ("ada", "research", "0042"), ("bob", "sales", "0042"))
    book(client, [used(MARCH, "6"), used(MARCH, "3", user_id="bob", department="sales"),
                  used(MARCH, "1", user_id="eve", department="ops")])  # fmt: skip

    of_month = owners(client, MARCH, "cost_centre")
    statement = read(client, MARCH, Owner("", "cost_centre", "0042"), now=NOW)

    assert of_month == [Owner("", "cost_centre", ""), Owner("", "cost_centre", "0042")]
    assert rows(statement, "user") == {"ada": 6, "bob": 3}
    limited = read(
        client, MARCH, Owner("", "cost_centre", "0042"), access=Access(("sales",)), now=NOW
    )
    assert rows(limited, "user") == {"bob": 3}
    assert "only sales" in text_of(pdf.pdf(limited))[0]


def test_who_is_limited_to_a_department_gets_nothing_of_others(client: Client) -> None:
    book(client, [used(MARCH, "6"), used(MARCH, "3", user_id="bob", department="sales")])
    own = Access(("sales",))

    assert owners(client, MARCH, "department", own) == [SALES]
    assert read(client, MARCH, SALES, access=own, now=NOW).sums["cost_usd"] == 3
    foreign = read(client, MARCH, RESEARCH, access=own, now=NOW)
    assert (foreign.sums["cost_usd"], foreign.newest_entry_at) == (0, None)
    close(client, MARCH)
    assert owners(client, MARCH, "department", own) == [SALES]
    assert read(client, MARCH, SALES, access=own, now=NOW).sums["cost_usd"] == 3
    assert read(client, MARCH, RESEARCH, access=own, now=NOW).sums["cost_usd"] == 0


def test_departments_of_one_name_in_two_organisations_are_not_mixed(client: Client) -> None:
    book(client, [used(MARCH, "6", tenant="acme"), used(MARCH, "3", tenant="globex")])

    with pytest.raises(RequestError, match="several organisations: name one as tenant: 'acme', 'g"):
        of_name(client, MARCH, "department", "research")

    owner = of_name(client, MARCH, "department", "research", "acme")
    assert read(client, MARCH, owner, now=NOW).sums["cost_usd"] == 6


def test_an_empty_month_and_an_unknown_department_have_a_statement_of_nothing(
    client: Client,
) -> None:
    statement = read(client, MARCH, of_name(client, MARCH, "department", "nobody"), now=NOW)

    assert owners(client, MARCH, "department") == []
    assert rows(statement, "total") == dict.fromkeys(
        ("recorded", "true_up", "corrections", "total"), Decimal(0)
    )
    assert rows(statement, "user") == {}
    [page] = text_of(pdf.pdf(statement))
    assert "Total $0.00" in page
    assert "no entries" in page
    with pytest.raises(RequestError, match="2026-06 has not begun"):
        read(client, date(2026, 6, 1), RESEARCH, now=NOW)


def test_the_parts_of_a_total_that_are_of_no_call_are_named(client: Client) -> None:
    nothing: dict[str, Any] = {"sign": 0, "input_tokens": None, "output_tokens": None}
    book(
        client,
        [
            used(MARCH, "6"),
            used(MARCH, "2", entry_kind="imported", **nothing),
            used(MARCH, "-0.5", entry_kind="true_up", **nothing),
            used(MARCH, "10", entry_kind="commitment", cost_status="unused", **nothing),
            used(MARCH, "4", entry_kind="commitment", cost_status="plan", **nothing),
        ],
    )

    statement = read(client, MARCH, RESEARCH, now=NOW)

    parts = rows(statement, "part")
    assert parts == {"calls": 6, "commitment": 0, "plan": 4, "unused": 10, "imported": 2}
    assert rows(statement, "total") == {
        "recorded": 22, "true_up": Decimal("-0.5"), "corrections": 0, "total": Decimal("21.5"),
    }  # fmt: skip


def test_the_lists_of_five_thousand_users_are_cut_and_still_add_up(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.command(
        "INSERT INTO llm_calls (start_time, entry_kind, sign, department, user_id, model_name,"
        " cost_usd, cost_status) SELECT '2026-03-15 12:00:00', 'call', 1, 'research',"
        " concat('user', toString(number)), 'gpt-4.1', toDecimal64(number, 12) / 1000, 'priced'"
        " FROM numbers(5000)"
    )
    # 0.000 + 0.001 + ... + 4.999
    total = Decimal("12497.5")

    whole = read(client, MARCH, RESEARCH, now=NOW)
    monkeypatch.setattr("tallyspan_collector.statements.read.MAX_ITEMS", 100)
    cut = read(client, MARCH, RESEARCH, now=NOW)

    assert whole.sums["cost_usd"] == total
    assert len(whole.listed("user")) == 5000
    assert sum(rows(whole, "user").values()) == total
    users = cut.listed("user")
    # The 100 of most: 4.900 + ... + 4.999 = 494.95
    assert (len(users), users[-1].label) == (101, "and 4,900 others")
    assert (users[-1].cost_usd, users[-1].calls) == (total - Decimal("494.95"), 4900)
    pages = text_of(pdf.pdf(whole))
    assert [f"page {n} of {len(pages)}" in page for n, page in enumerate(pages, 1)] == [True] * len(
        pages
    )
    assert 1 < len(pages) < 5
    assert "and 4,960 others 4,960" in " ".join(pages)
    assert text_of(pdf.pdf(cut)) == pages


NASTY = (
    '#eval("1") $x$ *b* _i_ `c` [a](b) // @cite <l> \\u{1F600}', '=HYPERLINK("x")', "-1+1",
    "שלום", "日本語", "a\u202egpj.exe", "line\nbreak\x1b[31m", "W" * 500, "</text>&amp;", "",
)  # fmt: skip


def test_names_of_any_text_are_shown_as_text(client: Client) -> None:
    book(
        client,
        [used(MARCH, "1", user_id=name, department="#panic()") for name in NASTY],
    )

    statement = read(client, MARCH, Owner("", "department", "#panic()"), now=NOW)
    text = " ".join(" ".join(text_of(pdf.pdf(statement))).split())
    table = list(csv.DictReader(io.StringIO(files.csv(client, statement).decode())))

    assert "Statement 2026-03 of #panic(), provisional" in text
    for shown in (
        "*b* _i_ `c` [a](b) //",
        '=HYPERLINK("x")',
        "-1+1",
        "שלום"[0],
        "</text>&amp;",
        "a\\u202egpj.exe",
        "line\\nbreak\\x1b[31m",
        "(none)",
        "a font on the machine",
    ):
        assert shown in text, shown  # fmt: skip
    users = [row["name"] for row in table if row["section"] == "user"]
    assert set(users) == {f"'{name}" if name[:1] in ("=", "-") else name for name in NASTY}
    assert statement.file_name("pdf") == "2026-03_department_-panic---67d95ed8.pdf"


def test_files_of_all_formats_have_the_same_exact_rows(client: Client, tmp_path: Path) -> None:
    book(client, [used(MARCH, "0.000123456789"), used(MARCH, "2", user_id="日本")])
    statement = read(client, MARCH, RESEARCH, now=NOW)

    paths = files.write(client, statement, tmp_path, tuple(files.FORMATS))

    assert [path.name for path in paths] == [
        f"2026-03_department_research.{name}" for name in ("pdf", "csv", "parquet")
    ]
    of_csv = list(csv.DictReader(io.StringIO(paths[1].read_text())))
    content = paths[2].read_bytes()
    assert content.startswith(b"PAR1")
    assert len(of_csv) == len(statement.rows())
    [total] = [row for row in of_csv if (row["section"], row["name"]) == ("total", "total")]
    assert (total["cost_usd"], total["calls"]) == ("2.000123456789", "2")


class StatementCommand(CommandLine):
    name = "statement"


def test_the_command_writes_a_file_for_each_department(
    empty_store: SharedStore, client: Client, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = StatementCommand(empty_store.data_dir, client, capsys)
    book(
        client,
        [used(MARCH, "6"), used(MARCH, "3", department="sales"), used(MARCH, "1", department="")],
    )
    out = ["--out", str(tmp_path / "new")]

    assert command.run("2026-03", *out) == 0, command.err
    assert command.run("2026-03", "--cost-centre", "0042", "--format", "csv", *out) == 0

    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "2026-03_cost-centre_0042.csv",
        *(f"2026-03_department_{name}.{end}" for name in ("_none", "research", "sales")
          for end in ("csv", "pdf")),
    ]  # fmt: skip
    assert command.run("2026-03", "--format", "docx", *out) == 2
    assert "--format 'docx': must be one or several of pdf, csv, parquet" in command.err
    assert command.run("2026-13", *out) == 2
    assert command.run("2026-02", *out) == 0
    assert "2026-02 has no entries: nothing is written" in command.err
    (tmp_path / "file").write_text("")
    assert command.run("2026-03", "--out", str(tmp_path / "file")) == 2
    assert "file/2026-03_department__none.pdf: cannot be written: File exists" in command.err


def test_without_the_package_csv_works_and_pdf_names_the_line_that_installs_it(
    empty_store: SharedStore, client: Client, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(pdf, "find_spec", lambda _: None)
    command = StatementCommand(empty_store.data_dir, client, capsys)
    book(client, [used(MARCH, "6")])

    assert command.run("2026-03", "--out", str(tmp_path)) == 2
    assert "pip install 'tallyspan[statements]'" in command.err
    assert command.run("2026-03", "--out", str(tmp_path), "--format", "csv,parquet") == 0


def test_the_parts_that_lose_most_by_rounding_down_are_rounded_up() -> None:
    thirds = [Decimal(each) for each in ("0.001", "0.009", "1.005")]

    assert shares(thirds, Decimal("1.02")) == [Decimal(each) for each in ("0.00", "0.01", "1.01")]


amounts = st.decimals(-1000, 1000, places=6)


@given(st.lists(amounts, max_size=30))
def test_cents_add_up_to_the_rounded_total_and_none_is_a_cent_off(parts: Sequence[Decimal]) -> None:
    total = to_cents(sum(parts, Decimal(0)))

    cents = shares(parts, total)

    assert sum(cents, Decimal(0)) == total
    assert all(abs(each - part) < Decimal("0.01") for each, part in zip(cents, parts, strict=True))
