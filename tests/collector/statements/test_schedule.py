"""Statements that the collector writes by itself: once a close, by one collector, or a warning."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from config_sections import section
from ledger import book, call
from shared_store import SharedStore
from tallyspan_clickhouse.ledger_lock import statements_lock
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.months import close as closing
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.statements import pdf
from tallyspan_collector.statements.schedule import Schedule
from tallyspan_collector.statements.settings import Written, of_section

MARCH = date(2026, 3, 1)


def schedule(folder: Path, *formats: str) -> Schedule:
    return Schedule(Written(folder, formats or ("csv",)), None, PriceBook)


@pytest.fixture
def closed(empty_store: SharedStore, client: Client) -> Client:
    """March has a department, and is closed."""
    book(client, [call(start_time=datetime(2026, 3, 15, tzinfo=UTC), cost_usd=Decimal(6))])
    closing.close(client, MARCH, {"no_bill": "no provider sends bills here"})
    return client


def test_each_close_has_its_statements_written_once(closed: Client, tmp_path: Path) -> None:
    first, second = schedule(tmp_path / "a"), schedule(tmp_path / "b")

    first.look(closed)
    second.look(closed)  # another machine

    path = tmp_path / "a" / "2026-03" / "version-1" / "2026-03_department_research.csv"
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]
    path.unlink()
    first.look(closed)
    assert not path.exists()
    closing.reopen(closed, MARCH, reason="the bill was wrong")
    first.look(closed)
    closing.close(closed, MARCH, {"no_bill": "still none"})
    first.look(closed)
    assert [each.parent.name for each in tmp_path.rglob("*.csv")] == ["version-2"]
    runs = closed.query("SELECT version, files FROM statement_runs ORDER BY version").result_rows
    assert runs == [(1, 1), (2, 1)]


def test_what_cannot_be_written_is_a_warning_and_is_tried_again(
    closed: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.write_text("in the way")
    writes = schedule(folder)

    writes.look(closed)

    [warning] = writes.warnings
    assert warning.startswith(f"statements of 2026-03, version 1: {folder}/2026-03/version-1/")
    assert "cannot be written: Not a directory" in warning
    folder.unlink()
    writes.look(closed)
    assert writes.warnings == []
    assert len([*folder.rglob("*.csv")]) == 1


def test_who_finds_another_collector_writing_leaves_it_to_that(
    closed: Client, tmp_path: Path
) -> None:
    with statements_lock(closed, "statements", 0):
        schedule(tmp_path).look(closed)

    assert [*tmp_path.iterdir()] == []


def test_a_section_says_where_in_which_formats_and_whose(tmp_path: Path) -> None:
    text = "statements: {folder: /srv/statements, formats: [csv, parquet], by: cost_centre}\n"

    written = of_section(section(tmp_path, text), PriceBook)

    assert written == Written(Path("/srv/statements"), ("csv", "parquet"), "cost_centre")
    assert of_section(None, PriceBook) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("{formats: [csv]}", "tallyspan.yaml:1: statements.folder: the folder that"),
        ("{folder: a, formats: [docx]}", "statements.formats: 'docx': must be one or several of"),
        ("{folder: a, formats: []}", "statements.formats: '': must be one or several of pdf, csv"),
        ("{folder: a, by: team}", "statements.by: no 'team'"),
        ("{folder: a, currency: EUR}", "statements.currency: currency must be one with rates"),
        ("{folder: a, folders: b}", "unknown key 'folders'; did you mean 'folder'"),
        ("[a]", "statements: must be a mapping"),
    ],
)
def test_a_section_that_cannot_be_is_refused_by_line_and_key(
    tmp_path: Path, values: str, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        of_section(section(tmp_path, f"statements: {values}\n"), PriceBook)

    assert message in str(refused.value)


def test_pdf_without_its_package_is_refused_when_the_collector_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf, "find_spec", lambda _: None)

    with pytest.raises(ConfigError, match=r"pip install 'tallyspan\[statements\]'"):
        of_section(section(tmp_path, "statements: {folder: a}\n"), PriceBook)
