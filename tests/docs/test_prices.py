"""The worked example of docs/prices.md, worked."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from priced import ns, price
from tallyspan.usage import Usage
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.check import findings
from tallyspan_collector.pricing.cost import Priced, Unpriced, UnpricedReason
from tallyspan_collector.pricing.rates import PRICE_KEYS

PAGE = (Path(__file__).parents[2] / "docs/prices.md").read_text()
FILE = re.search(r"```yaml\n(# models_pricing.*?)```", PAGE, re.DOTALL)
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in re.findall(r"^\| (?:azure|llm|other)\S*, .*$", PAGE, re.MULTILINE)
]


def test_the_commitments_of_the_page_are_read(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(commitments:.*?)```", PAGE, re.DOTALL)
    assert example is not None
    path = tmp_path / "models_pricing.yaml"
    path.write_text(example[1])

    assert [each.name for each in PriceBook.load(path).file.commitments] == [
        "ptu-east", "claude-team", "azure-least",
    ]  # fmt: skip


@pytest.fixture
def book(tmp_path: Path) -> PriceBook:
    assert FILE is not None
    path = tmp_path / "models_pricing.yaml"
    path.write_text(FILE[1])
    return PriceBook.load(path)


def test_the_example_has_its_rows_and_nothing_to_complain_of(book: PriceBook) -> None:
    assert len(ROWS) == 5
    assert findings(book.file) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_call_of_the_example_costs_what_the_page_says(book: PriceBook, row: list[str]) -> None:
    place, model, day = row[0].split(", ")
    is_provider = place.startswith("azure")
    meters = {row[4].split()[1]: int(row[4].split()[0])} if row[4] else {}
    found = price(
        book,
        model,
        Usage(int(row[1]), int(row[3]), cache_read_tokens=int(row[2])),
        provider=place if is_provider else "openai",
        endpoint_id="" if is_provider else place,
        at_ns=ns(day),
        meters=meters,
    )

    if row[5] == "unpriced":
        assert found == Unpriced(UnpricedReason.UNKNOWN_MODEL)
    else:
        assert isinstance(found, Priced)
        assert Decimal(found.cost_picousd).scaleb(-12) == Decimal(row[5])


def test_every_key_and_every_reason_is_on_the_page() -> None:
    for name in (*PRICE_KEYS, *(reason.value for reason in UnpricedReason)):
        assert f"`{name}`" in PAGE, name
