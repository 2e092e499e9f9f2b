"""Totals in a second currency, and with the prices of today; neither is stored."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from ledger import NOON, book, call, empty, price_change, reversal, unpriced
from shared_store import SharedStore
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.api import create_app
from tallyspan_collector.booked.reprice import Reprice, Scope
from tallyspan_collector.booked.run import run
from tallyspan_collector.cli import main
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.summary import Filters, RequestError, summarise, totals
from tallyspan_collector.summary.as_of_today import as_of_today
from tallyspan_collector.summary.currency import Currency, currency_of

KEY = "correct-horse"
SUMMARY = "/api/admin/token_usage/summary"
PRICES = """\
currencies:
  EUR:
    - {from: 2026-03-01, usd: 1.10}
    - {from: 2026-04-01, usd: 1.25}
  GBP:
    - {usd: 1.3}
prices:
  - {model: gpt-4.1, unit: 1M tokens, input: 3, output: 10}
  - {model: homemade, unit: 1M tokens, input: 1, output: 1}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "models_pricing.yaml"
    made.write_text(PRICES)
    return made


@pytest.fixture
def prices(path: Path) -> PriceBook:
    return PriceBook.load(path)


@pytest.fixture
def api(client: Client, prices: PriceBook) -> TestClient:
    app = create_app(client, Keys.of({"finance": KEY}), dict, CollectorRegistry(), lambda: prices)
    return TestClient(app, headers={"Authorization": f"Bearer {KEY}"})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def months(client: Client) -> None:
    """Spend of March and April, over the change of the rate at midnight, and what is no spend."""
    empty(client)
    gone = call(start_time=at("2026-04-02T12:00"), cost_usd=Decimal(99))
    changed = call(start_time=at("2026-04-03T12:00"), user_id="bob", cost_usd=Decimal(1))
    book(
        client,
        [
            call(start_time=at("2026-03-31T23:59:59.999999"), cost_usd=Decimal("1.10")),
            call(start_time=at("2026-04-01T00:00"), cost_usd=Decimal("2.50")),
            call(start_time=at("2026-04-02T12:00"), cost_usd=Decimal(1), user_id="bob"),
            call(start_time=at("2026-04-02T12:00"), cost_usd=Decimal(5), is_notional=True),
            unpriced(start_time=at("2026-04-02T12:00"), user_id="eve"),
            gone,
            reversal(gone),
            changed,
            price_change(changed, Decimal(4), at("2026-05-01T00:00")),
        ],
    )


@pytest.mark.parametrize("end", [None, "2026-04-04T00:00", "2026-04-04T13:07"])
def test_each_day_is_converted_at_its_own_rate(
    client: Client, prices: PriceBook, end: str | None
) -> None:
    months(client)
    euro = currency_of(prices.file, "EUR")
    filters = Filters(end=end and at(end))  # type: ignore[arg-type]
    rows = summarise(client, filters, ["user"], currency=euro)

    assert {row["user"]: row["cost_in_currency"] for row in rows} == {
        "ada": Decimal("1.10") / Decimal("1.10") + Decimal("2.50") / Decimal("1.25"),
        "bob": (Decimal(1) + Decimal(4)) / Decimal("1.25"),
        "eve": None,
    }
    assert totals(client, filters, currency=euro)["cost_in_currency"] == Decimal(7)


def test_days_and_models_and_tags_are_converted_alike(client: Client, prices: PriceBook) -> None:
    months(client)
    euro = currency_of(prices.file, "EUR")
    for groups in (["day"], ["hour", "model"], ["model", "conversation"], ["tag:project"]):
        rows = summarise(client, Filters(), groups, currency=euro)
        assert sum(row["cost_in_currency"] or 0 for row in rows) == Decimal(7), groups


def test_what_is_older_than_the_first_rate_is_not_guessed(
    client: Client, prices: PriceBook
) -> None:
    empty(client)
    book(client, [call(start_time=at("2026-02-28T12:00")), call()])
    euro, pound = (currency_of(prices.file, name) for name in ("EUR", "GBP"))

    assert totals(client, Filters(), currency=euro)["cost_in_currency"] is None
    assert totals(client, Filters(start=NOON), currency=euro)["cost_in_currency"] is not None
    assert totals(client, Filters(), currency=pound)["cost_in_currency"] == Decimal(
        "0.000189230769"
    )


def test_amounts_are_exact_and_rounded_once() -> None:
    third = Currency("XXX", ((0, Fraction(3)), (10, Fraction(7))))
    exact = Fraction(10) / 3 + Fraction(5) / 7

    assert third.amount(((1, 2), (Decimal(10), Decimal(5)))) == (
        Decimal(exact.numerator) / Decimal(exact.denominator)
    ).quantize(Decimal("1e-12"), ROUND_HALF_EVEN)
    assert third.amount(((0,), (Decimal(0),))) == 0


def test_the_api_states_currency_and_rates_and_keeps_usd(client: Client, api: TestClient) -> None:
    months(client)
    said = api.get(SUMMARY, params={"currency": "EUR", "group_by": "user"}).json()

    assert said["currency"] == "EUR"
    assert said["rates"] == [
        {"from": "2026-03-01", "usd": "1.1"},
        {"from": "2026-04-01", "usd": "1.25"},
    ]
    assert (said["totals"]["cost_usd"], said["totals"]["cost_in_currency"]) == ("8.6", "7")
    text = api.get(SUMMARY, params={"currency": "EUR", "format": "csv"}).text
    rows = {row["user"]: row["cost_in_currency"] for row in csv.DictReader(io.StringIO(text))}
    assert rows == {"ada": "3", "bob": "4", "eve": ""}


@pytest.mark.parametrize("name", ["CHF", "eur", ""])
def test_a_currency_without_rates_is_refused_by_name(api: TestClient, name: str) -> None:
    answer = api.get(SUMMARY, params={"currency": name})

    assert answer.status_code == 400
    assert "it has USD, EUR, GBP" in answer.json()["error"]


def ledger(client: Client) -> None:
    empty(client)
    gone = call(user_id="bob")
    book(
        client,
        [
            call(),
            call(user_id="bob", department="sales"),
            call(user_id="bob", cost_status="reported", reported_cost_usd=Decimal("0.000123")),
            call(user_id="bob", is_notional=True),
            unpriced(model_name="homemade", user_id="eve"),
            unpriced(model_name="nobody's", user_id="eve"),
            gone,
            reversal(gone),
        ],
    )


def test_as_of_today_says_both_totals_and_the_difference_and_books_nothing(
    client: Client, api: TestClient
) -> None:
    ledger(client)
    before = client.query("SELECT count() FROM llm_calls").first_row
    said = api.get(SUMMARY, params={"as_of_today": "true", "order": "group"}).json()

    assert [
        (row["user"], row["cost_usd"], row["cost_usd_as_of_today"], row["difference_usd"])
        for row in said["rows"]
    ] == [
        ("ada", "0.000123", "0.0004", "0.000277"),
        ("bob", "0.000246", "0.000523", "0.000277"),
        ("eve", None, "0.00011", "0.00011"),
    ]
    assert said["totals"]["difference_usd"] == "0.000664"
    assert said["totals"]["newly_priced_calls"] == 1
    assert client.query("SELECT count() FROM llm_calls").first_row == before


def test_what_as_of_today_says_is_what_repricing_books(client: Client, prices: PriceBook) -> None:
    ledger(client)
    said = as_of_today(client, prices, Filters(), ["user", "day"]).add_to_totals(
        totals(client, Filters())
    )
    day = timedelta(days=1)
    run(client, Reprice(prices, Scope(NOON - day, NOON + day)), is_applied=True)

    assert totals(client, Filters())["cost_usd"] == said["cost_usd_as_of_today"]
    assert not any(as_of_today(client, prices, Filters(), ["user"]).differences.values())


@pytest.mark.parametrize(
    ("filters", "difference"),
    [
        ({"department": "sales"}, "0.000277"),
        ({"user_id": "eve"}, "0.00011"),
        ({"model": "gpt-4.1"}, "0.000554"),
        ({"start": NOON + timedelta(hours=1)}, "0"),
    ],
)
def test_as_of_today_is_of_the_calls_that_were_asked_for(
    client: Client, prices: PriceBook, filters: dict[str, Any], difference: str
) -> None:
    ledger(client)
    for groups in (["model"], ["hour"], ["conversation", "tag:x"]):
        found = as_of_today(client, prices, Filters(**filters), groups)
        assert sum(found.differences.values()) == Decimal(difference)


def test_as_of_today_refuses_what_it_cannot_tell(client: Client, prices: PriceBook) -> None:
    ledger(client)
    with pytest.raises(RequestError, match=r"2 at most in one answer, not 6: bring start_date"):
        as_of_today(client, prices, Filters(), ["user"], max_calls=2)
    with pytest.raises(RequestError, match="cannot be told by cost_status"):
        as_of_today(client, prices, Filters(cost_status="priced"), ["user"])


def test_the_report_has_both(
    store: SharedStore, client: Client, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty(client)
    book(client, [call(start_time=datetime.now(UTC) - timedelta(days=1), cost_usd=Decimal(25))])
    flags = ["report", "--data-dir", str(store.data_dir), "--prices", str(path)]
    asked = [*flags, "--currency", "EUR", "--as-of-today", "--prices-max-age", "1d"]
    assert main(asked) == 0
    said = capsys.readouterr()
    assert main([*flags, "--currency", "CHF"]) == 2
    refused = capsys.readouterr().err

    total = said.out.splitlines()[-1].split()
    assert total[-4:] == ["$25.00", "20.00", "$0.0004", "-$25.00"]
    assert "EUR, each day at its rate: 1 = 1.1 USD since 2026-03-01" in said.err
    assert "days old, more than 1: 'tallyspan prices update'" in said.err
    assert "not 'CHF'; it has USD, EUR, GBP" in refused
