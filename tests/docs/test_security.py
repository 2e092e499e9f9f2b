"""The tests that docs/security.md names are there, for each number of the security test."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (S\d+b?) \|(.*)\|$", (ROOT / "docs/security.md").read_text(), re.MULTILINE)


@cache
def functions(path: Path) -> set[str]:
    return {each.name for each in ast.parse(path.read_text()).body if hasattr(each, "name")}


def test_every_number_has_its_line() -> None:
    assert [number for number, _ in ROWS] == ["S1", "S1b", *(f"S{n}" for n in range(2, 22))]


def test_every_test_that_is_named_is_there() -> None:
    for number, row in ROWS:
        names = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert names, number
        for path, name in names:
            assert name in functions(ROOT / "tests" / path), (number, path, name)
