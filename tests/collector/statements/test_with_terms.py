"""Statements in a second currency and with a rate card: sums worked out by hand."""

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pypdf
import pytest
from clickhouse_connect.driver.client import Client

from ledger import book, call
from shared_store import SharedStore
from tallyspan_collector.months import close as closing
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.statements.pdf import pdf
from tallyspan_collector.statements.rate_card import Rate, RateCard
from tallyspan_collector.statements.read import Terms, read
from tallyspan_collector.statements.statement import Owner
from tallyspan_collector.summary.currency import Currency, currency_of

MARCH = date(2026, 3, 1)
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
RESEARCH = Owner("", "department", "research")
CARD = RateCard(
    (Rate("all", "*", percent=Decimal(10)), Rate("platform", "*", fee_usd=Decimal("1.50")))
)


@pytest.fixture
def euro(empty_store: SharedStore, client: Client, tmp_path: Path) -> Currency:
    """A dollar is 0.80 EUR before the 16th, 0.50 EUR from then on; 6 and 3 dollars were spent."""
    path = tmp_path / "models_pricing.yaml"
    path.write_text("currencies: {EUR: [{usd: 1.25}, {from: 2026-03-16, usd: 2}]}\nprices: []\n")
    at = [datetime(2026, 3, day, 12, tzinfo=UTC) for day in (15, 16)]
    book(
        client,
        [call(start_time=at[0], cost_usd=Decimal(6)), call(start_time=at[1], cost_usd=Decimal(3))],
    )
    return currency_of(PriceBook.load(path).file, "EUR")


def test_an_open_month_has_the_rate_of_each_day(client: Client, euro: Currency) -> None:
    statement = read(client, MARCH, RESEARCH, Terms(euro, CARD), now=NOW)

    assert statement.cost_in_currency == Decimal("6.3")  # 6 / 1.25 + 3 / 2
    assert statement.listed("model")[0].cost_in_currency == Decimal("6.3")
    assert statement.charge is not None
    assert statement.charge.charged_usd == Decimal("11.4")  # 9 + 0.9 + 1.5
    # 6.6 / 1.25 + 3.3 / 2, and the fee at the rate of the last day: 1.5 / 2
    assert statement.charge_in_currency == Decimal("7.68")
    text = " ".join(
        page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf(statement))).pages
    )
    for shown in (
        "Total in EUR 6.30",
        "all: +10% of $9.00 $0.90",
        "platform $1.50",
        "Charged $11.40",
        "Charged in EUR 7.68",
    ):
        assert shown in " ".join(text.split()), shown  # fmt: skip
    assert "1 EUR = 1.25 USD; 1 EUR = 2 USD since 2026-03-16" in " ".join(text.split())


def test_a_closed_month_has_the_rate_of_its_last_day(client: Client, euro: Currency) -> None:
    closing.close(client, MARCH, {"no_bill": "no provider sends bills here"})

    statement = read(client, MARCH, RESEARCH, Terms(euro), now=NOW)

    assert statement.cost_in_currency == Decimal("4.5")  # 9 / 2
    assert statement.rates == [{"from": "2026-03-16", "usd": "2"}]
    assert statement.charge is None


def test_a_month_before_the_first_rate_has_no_amount_in_the_currency(
    client: Client, euro: Currency
) -> None:
    later = Currency("EUR", ((euro.rates[1][0], euro.rates[1][1]),))

    statement = read(client, MARCH, RESEARCH, Terms(later), now=NOW)

    assert statement.cost_in_currency is None
    assert (
        "Total in EUR no rate"
        in pypdf.PdfReader(io.BytesIO(pdf(statement))).pages[0].extract_text()
    )
