"""What departments are charged inside: which entry holds, and sums worked out by hand."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from config_sections import section
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.statements.rate_card import ChargeItem, Cost, RateCard, of_section

MARCH = date(2026, 3, 1)
CARD = """
rate_card:
  - {department: sales, model: 'o4*', percent: -10}
  - {department: sales, percent: 25, valid_to: 2026-03}
  - {department: sales, percent: 30, valid_from: 2026-04}
  - {department: sales, fee_usd: 100}
  - {department: '*', fee_usd: 7.5, name: platform}
"""


def card(folder: Path, text: str = CARD) -> RateCard:
    read = of_section(section(folder, text))
    assert read is not None
    return read


def cost(model: str, usd: str, department: str = "sales") -> Cost:
    return Cost(department, model, 0, Decimal(usd))


def test_the_first_entry_that_matches_holds_and_a_fee_comes_once(tmp_path: Path) -> None:
    charge = card(tmp_path).charge(MARCH, [cost("o4-mini", "20"), cost("gpt-4.1", "4")], "sales")

    assert charge.items == [
        ChargeItem("cost", "Cost", Decimal(24)),
        ChargeItem("margin", "sales o4*: -10%", Decimal(-2), Decimal(20)),
        ChargeItem("margin", "sales: +25%", Decimal(1), Decimal(4)),
        ChargeItem("fee", "sales monthly fee", Decimal(100)),
    ]
    assert charge.charged_usd == 123


def test_an_entry_holds_in_its_months_alone(tmp_path: Path) -> None:
    april = card(tmp_path).charge(date(2026, 4, 1), [cost("gpt-4.1", "4")], "sales")

    assert [item.label for item in april.items] == [
        "Cost", "sales since 2026-04: +30%", "sales monthly fee",
    ]  # fmt: skip
    assert april.charged_usd == Decimal("105.2")


def test_a_department_without_an_entry_is_charged_its_cost_and_the_fee_of_all(
    tmp_path: Path,
) -> None:
    charge = card(tmp_path).charge(MARCH, [cost("gpt-4.1", "4", "ops")], "ops")

    assert [(item.kind, item.cost_usd) for item in charge.items] == [
        ("cost", 4), ("fee", Decimal("7.5")),
    ]  # fmt: skip


def test_a_cost_centre_is_charged_the_margins_of_its_departments_and_no_fee(
    tmp_path: Path,
) -> None:
    costs = [cost("gpt-4.1", "4"), cost("gpt-4.1", "10", "ops")]

    assert card(tmp_path).charge(MARCH, costs, None).charged_usd == 15


def test_a_margin_is_rounded_once_an_entry_half_to_even(tmp_path: Path) -> None:
    one = card(tmp_path, "rate_card: [{department: '*', percent: 50}]\n")

    # Twice half of the last digit is a whole one of it, and is not rounded away twice.
    twice = [cost("a", "0.000000000001"), cost("b", "0.000000000001")]
    assert one.charge(MARCH, twice, None).items[1].cost_usd == Decimal("0.000000000001")
    assert one.charge(MARCH, twice[:1], None).items[1].cost_usd == 0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{percent: 5}", "tallyspan.yaml:2: rate_card.0: an entry needs a department"),
        ("{department: a}", "rate_card.0: an entry needs either percent or fee_usd"),
        ("{department: a, percent: 5, fee_usd: 1}", "rate_card.0: an entry needs either"),
        ("{department: a, percnt: 5}", "unknown key 'percnt'; did you mean 'percent'"),
        ("{department: a, percent: five}", "rate_card.0.percent: must be a number, not 'five'"),
        ("{department: a, percent: -101}", "rate_card.0.percent: must be -100 to 10000"),
        ("{department: a, fee_usd: -1}", "rate_card.0.fee_usd: must be 0 to 1000000000"),
        ("{department: a, fee_usd: 1, model: b}", "rate_card.0.model: a fee is of a department"),
        ("{department: a, percent: 5, valid_from: 2026-3}", "2026-3: must be a month like 2026-10"),
        (
            "{department: a, percent: 5, valid_from: 2026-05, valid_to: 2026-04}",
            "rate_card.0.valid_to: is before valid_from",
        ),
        (
            "{department: a, percent: 5}\n  - {department: a, percent: 6}",
            "a second entry is called",
        ),
    ],
)
def test_an_entry_that_cannot_be_is_refused_by_line_and_key(
    tmp_path: Path, entry: str, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        card(tmp_path, f"rate_card:\n  - {entry}\n")

    assert message in str(refused.value)
