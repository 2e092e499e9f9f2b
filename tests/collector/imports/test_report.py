"""Lines of a report as rows: usage, and the costs that stand in lines of their own."""

from datetime import date
from decimal import Decimal
from typing import Any

from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.imports.report import Row, rows

DAY = date(2026, 3, 31)
MODEL = "gpt-4.1-2025-04-14"


def used(tokens: int, **other: Any) -> Billed:
    return Billed(DAY, MODEL, input_tokens=tokens, output_tokens=0, **other)


def cost(usd: str, **other: Any) -> Billed:
    return Billed(DAY, other.pop("model", "gpt-4.1"), cost_usd=Decimal(usd), **other)


def costs(*lines: Billed, has_all_costs: bool = True) -> dict[tuple[str, ...], int | None]:
    """Return the cost of each row by tier, project, key and item; a batch is half the price."""

    def weigh(row: Row) -> int:
        return row.usage.get("input_tokens", 0) * (1 if row.tier == "batch" else 2)

    result = rows(lines, "openai", weigh, has_all_costs=has_all_costs)
    return {
        tuple(text for text in (row.tier, row.project, row.api_key, row.item) if text): (
            row.cost_picousd
        )
        for row in result
    }


def test_a_cost_goes_to_the_usage_of_its_model() -> None:
    assert costs(used(100), cost("0.000000000100"), cost("0.000000000023")) == {(): 123}


def test_costs_by_project_are_shared_by_its_keys_at_their_price() -> None:
    assert costs(
        used(100, project="a", api_key="k1"),
        used(300, project="a", api_key="k2"),
        used(100, api_key="k3"),
        cost("0.000000000400", project="a"),
        cost("0.000000000007"),
    ) == {("a", "k1"): 100, ("a", "k2"): 300, ("k3",): 7}


def test_a_tier_that_the_costs_name_has_its_own() -> None:
    assert costs(
        used(100), used(100, tier="batch"), cost("0.0000000002"), cost("0.0000000001", tier="batch")
    ) == {(): 200, ("batch",): 100}


def test_a_tier_that_the_costs_do_not_name_is_in_the_line_of_the_model() -> None:
    assert costs(used(100), used(100, tier="batch"), cost("0.0000000003")) == {
        (): 200,
        ("batch",): 100,
    }


def test_a_tier_whose_cost_no_report_has_is_left_to_the_price_book() -> None:
    """Anthropic's cost report is without the priority tier."""
    lines = used(100, tier="standard"), used(50, tier="priority"), cost("0.0000000002")

    assert costs(*lines, has_all_costs=False) == {(): 200, ("priority",): None}


def test_a_cost_that_is_of_no_usage_is_a_row_of_its_own() -> None:
    assert costs(
        used(100), cost("0.0000000001"), cost("0.0000000005", model="", item="searches")
    ) == {(): 100, ("searches",): 500}
