"""docs/focus.md has every column that an export writes, under the heading of its dataset."""

import re
from pathlib import Path

import pytest

from tallyspan_collector.focus.datasets import DATASETS

TEXT = (Path(__file__).parents[2] / "docs/focus.md").read_text()
SECTIONS = {
    heading.lower().replace(" ", "-"): text
    for heading, text in re.findall(r"^### (.+)\n((?:(?!^##).*\n)+)", TEXT, re.MULTILINE)
}


@pytest.mark.parametrize("name", DATASETS)
def test_every_column_of_a_dataset_is_documented_and_no_other(name: str) -> None:
    rows = re.findall(r"^\| ([A-Z][\w, ]+) \|", SECTIONS[name], re.MULTILINE)
    documented = [column for row in rows for column in row.split(", ")]

    assert sorted(documented) == sorted(DATASETS[name].columns)
