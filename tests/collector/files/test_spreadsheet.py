import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallyspan_collector.files.spreadsheet import cell, write_rows, write_texts


@pytest.mark.parametrize("first", [*"=+-@\t\r\n", "＝", "＋", "－", "＠"])  # noqa: RUF001  meant
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(first: str) -> None:
    assert cell(f"{first}1+1") == f"'{first}1+1"


@pytest.mark.parametrize("value", ["-0.5", "-12", "a=1", "", " =1", None, -3])
def test_a_number_and_any_other_text_stays_as_it_is(value: object) -> None:
    assert cell(value) == value


def test_rows_have_the_names_as_header_and_nothing_for_none() -> None:
    out = io.StringIO()
    write_rows([{"user": "@a", "cost": None, "more": 1}], ("user", "cost"), out)

    assert out.getvalue() == "user,cost\n'@a,\n"


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.text(), max_size=2), max_size=3))
@settings(max_examples=40)
def test_rows_of_texts_are_read_back_as_cells(rows: list[dict[str, str]]) -> None:
    out = io.StringIO(newline="")
    write_texts(rows, ("a", "b"), out)

    lines = list(csv.reader(io.StringIO(out.getvalue(), newline=""), strict=True))
    assert lines == [["a", "b"], *([cell(row.get(name, "")) for name in "ab"] for row in rows)]
