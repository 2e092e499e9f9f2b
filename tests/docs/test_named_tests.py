"""Each test that a page of the docs names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
NAME = re.compile(r"`([a-z_/]+\.py)::(\w+)`")
PAGES = {page.name: NAME.findall(page.read_text()) for page in TESTS.parent.glob("docs/*.md")}


@cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("page", [name for name, named in PAGES.items() if named])
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    missing = [
        f"{path}::{test}" for path, test in PAGES[page] if test not in functions(TESTS / path)
    ]
    assert missing == []


def test_each_fault_has_a_test() -> None:
    table = (TESTS.parent / "docs/operations.md").read_text().partition("## Faults and their")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]

    assert len(rows) > 20
    assert [row for row in rows if not NAME.search(row)] == []


def test_each_number_of_the_security_test_has_a_test() -> None:
    text = (TESTS.parent / "docs/security.md").read_text()
    rows = re.findall(r"^\| (S\d+b?) \|(.*)\|$", text, re.MULTILINE)

    assert [number for number, _ in rows] == ["S1", "S1b", *(f"S{n}" for n in range(2, 22))]
    assert [number for number, row in rows if not NAME.search(row)] == []
