"""Each test that the table of faults names is there."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "operations.md"
NAME = re.compile(r"`([a-z_/]+\.py)::(\w+)`")


def test_every_test_that_the_table_of_faults_names_is_there() -> None:
    table = PAGE.read_text().partition("## Faults and their tests")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    named = [NAME.findall(row) for row in rows]
    missing = [
        f"{path}::{test}"
        for row in named
        for path, test in row
        if test not in {each.name for each in functions(TESTS / path)}
    ]

    assert len(rows) > 20
    assert all(named[1:])
    assert missing == []


def functions(path: Path) -> list[ast.FunctionDef]:
    return [each for each in ast.parse(path.read_text()).body if isinstance(each, ast.FunctionDef)]
