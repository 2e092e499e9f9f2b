"""Statements by the API: formats, whose, and what a reader may see."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pypdf
import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from ledger import book, call
from shared_store import SharedStore
from tallyspan_collector.access.keys import Keys, make
from tallyspan_collector.api import create_app
from tallyspan_collector.statements import pdf
from tallyspan_collector.statements.rate_card import Rate, RateCard

MARCH = "/api/admin/statements/2026-03"


@pytest.fixture
def api(empty_store: SharedStore, client: Client) -> TestClient:
    """March has 6 dollars of research and 3 of sales; the client is an admin's."""
    at = datetime(2026, 3, 15, tzinfo=UTC)
    book(
        client,
        [call(start_time=at, cost_usd=Decimal(6)),
         call(start_time=at, cost_usd=Decimal(3), department="sales", user_id="=bob")],
    )  # fmt: skip
    return reader(client)


def reader(client: Client, *departments: str) -> TestClient:
    key, token = make("admin", "reader", departments=departments)
    card = RateCard((Rate("all", "*", percent=Decimal(10)),))
    app = create_app(
        client, Keys([key]), lambda: {"ready": True}, CollectorRegistry(), rate_card=card
    )
    return TestClient(app, headers={"Authorization": f"Bearer {token}"})


def test_a_statement_is_had_in_every_format(api: TestClient) -> None:
    url = f"{MARCH}?department=sales"

    answer = api.get(url).json()
    table = list(csv.DictReader(io.StringIO(api.get(f"{url}&format=csv").text)))
    document = api.get(f"{url}&format=pdf")
    parquet = api.get(f"{url}&format=parquet")

    assert (answer["of"], answer["state"], answer["cost_usd"]) == ("sales", "open", "3")
    assert answer["charged_usd"] == "3.3"
    assert [row["name"] for row in table if row["section"] == "user"] == ["'=bob"]
    assert len(table) == len(answer["rows"])
    assert document.headers["content-type"] == "application/pdf"
    name = document.headers["content-disposition"]
    assert name == 'attachment; filename="2026-03_department_sales.pdf"'
    assert "Total $3.00" in pypdf.PdfReader(io.BytesIO(document.content)).pages[0].extract_text()
    assert parquet.content.startswith(b"PAR1")
    etag = {"If-None-Match": document.headers["etag"]}
    assert api.get(f"{url}&format=pdf", headers=etag).status_code == 304


def test_who_is_limited_gets_the_statement_of_his_department_alone(
    api: TestClient, client: Client
) -> None:
    of_sales = reader(client, "sales")

    assert of_sales.get(f"{MARCH}?department=sales").json()["cost_usd"] == "3"
    for form in ("json", "csv", "pdf", "parquet"):
        refused = of_sales.get(f"{MARCH}?department=research&format={form}")
        assert (refused.status_code, "may not see" in refused.text) == (403, True)
    of_none = of_sales.get(f"{MARCH}?cost_centre=").json()
    assert (of_none["cost_usd"], of_none["departments"]) == ("3", ["sales"])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (MARCH, "name either a department or a cost_centre"),
        (f"{MARCH}?department=a&cost_centre=b", "name either a department or a cost_centre"),
        ("/api/admin/statements/2026-3?department=a", "month 2026-3: must be a month like 2026-10"),
        ("/api/admin/statements/2999-01?department=a", "2999-01 has not begun"),
        (f"{MARCH}?department=a&currency=EUR", "currency must be one with rates"),
        (f"{MARCH}?department=a&format=docx", "format must be one of json, csv, pdf, parquet"),
    ],
)
def test_what_cannot_be_answered_is_refused(api: TestClient, path: str, message: str) -> None:
    answer = api.get(path)

    assert (answer.status_code, message in answer.json()["error"]) == (400, True), answer.text


def test_pdf_without_its_package_says_which(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf, "find_spec", lambda _: None)

    answer = api.get(f"{MARCH}?department=sales&format=pdf")

    assert (answer.status_code, "tallyspan[statements]" in answer.text) == (501, True)
