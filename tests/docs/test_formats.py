"""What is made of the formats, providers and recordings is as `make formats` writes it."""

import gzip

import format_files
from tallyspan.conditions import CONDITIONS
from tallyspan.formats import FORMATS, PROVIDERS
from tallyspan.meters import METERS


def test_the_page_of_formats_is_up_to_date() -> None:
    text = format_files.PAGE.read_text(encoding="utf-8")

    missing = [name for name in FORMATS if f"| `{name}` |" not in text]
    assert missing == [], "run `make formats`"
    assert format_files.page(text) == text, "run `make formats`"


def test_the_page_of_meters_and_conditions_is_up_to_date() -> None:
    text = format_files.METERS_PAGE.read_text(encoding="utf-8")

    names = [*(each.name for each in METERS), *(each.name for each in CONDITIONS)]
    assert [name for name in names if f"| `{name}` |" not in text] == [], "run `make formats`"
    assert format_files.meters_page(text) == text, "run `make formats`"


def test_the_page_of_what_is_covered_is_up_to_date_and_has_no_blank() -> None:
    text = format_files.COVERAGE.read_text(encoding="utf-8")

    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [name for name in PROVIDERS if f"| `{name}` |" not in text] == [], "run `make formats`"
    assert [row for row in rows if "|  |" in row] == []
    assert format_files.coverage(text) == text, "run `make formats`"


def test_the_demo_replays_the_recordings_that_are_marked_for_it() -> None:
    packed = gzip.decompress(format_files.DEMO.read_bytes())

    assert packed.count(b"\n") > 0
    assert packed == format_files.demo_lines(), "run `make formats`"
