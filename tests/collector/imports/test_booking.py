"""Provider-side usage as entries of the ledger: what no span covers, once, replaced by the next import."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from billing_server import KEY, BillingServer, Used, billing_server
from command_line import CommandLine
from ledger import Entry, book, call, reversal
from shared_store import SharedStore
from tallyspan_collector.bills import pages
from tallyspan_collector.summary import Filters, summarise
from tallyspan_collector.summary.totals import totals

DAY = date(2026, 3, 31)
MODEL = "gpt-4.1"
PERIOD = ["--from", "2026-03-31", "--to", "2026-03-31"]


class Bench(CommandLine):
    """The command on a ledger and against a report."""

    name = "import"

    def imported(self, server: BillingServer, *arguments: str, source: str = "openai") -> Any:
        """Import from the server and return the lines."""
        code = self.run(source, "--url", server.url, *(arguments or PERIOD), "--format", "json")
        assert code == 0, self.err
        return json.loads(self.out)["lines"]

    def booked(self, by: str = "model_name") -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """Return input, output and USD of what is booked as imported, without what is nothing."""
        rows = self.client.query(
            f"SELECT {by}, sum(input_tokens), sum(output_tokens), sum(cost_usd) FROM llm_calls"
            " WHERE entry_kind = 'imported' GROUP BY ALL ORDER BY ALL"
        ).result_rows
        return {tuple(row[:-3]): tuple(row[-3:]) for row in rows if any(row[-3:])}


@pytest.fixture
def bench(
    empty_store: SharedStore,
    client: Client,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_ADMIN_KEY", KEY)
    monkeypatch.setattr(pages.Api.__init__, "__defaults__", (pages.ADMIN_KEY, lambda _: None))
    return Bench(empty_store.data_dir, client, capsys)


def calls(client: Client, count: int = 1, **columns: Any) -> list[Entry]:
    """Book calls of 100 and 10 tokens at 0.00028 USD, the price of gpt-4.1."""
    made = [call(**{"cost_usd": Decimal("0.00028"), **columns}) for _ in range(count)]
    book(client, made)
    return made


def test_what_no_span_covers_is_booked_at_the_stated_cost(bench: Bench) -> None:
    with billing_server(BillingServer([Used(DAY, MODEL, 5, 500, 50, usd="0.0014")])) as server:
        calls(bench.client, 2)
        (line,) = [each for each in bench.imported(server) if each["model_name"]]

    assert bench.booked() == {(MODEL,): (300, 30, Decimal("0.00084"))}
    assert (line["reported_tokens"], line["recorded_tokens"], line["imported_tokens"]) == (
        550,
        220,
        330,
    )
    assert (line["recorded_calls"], line["reported_requests"]) == (2, 5)


def test_an_import_again_books_nothing_more(bench: Bench) -> None:
    with billing_server(BillingServer([Used(DAY, MODEL, 5, 500, 50, usd="0.0014")])) as server:
        bench.imported(server)
        bench.imported(server)

    assert bench.booked() == {(MODEL,): (500, 50, Decimal("0.0014"))}
    assert bench.client.query("SELECT count() FROM usage_reports").result_rows == [(2,)]


def test_a_report_that_is_corrected_replaces_what_was_booked(bench: Bench) -> None:
    used = Used(DAY, MODEL, 5, 500, 50, usd="0.0014")
    with billing_server(BillingServer([used])) as server:
        bench.imported(server)
        server.used = [Used(DAY, MODEL, 4, 400, 40, usd="0.00112"), Used(DAY, "gpt-5", usd="0.5")]
        bench.imported(server)
        more = bench.booked()
        server.used = []
        bench.imported(server)

    assert more == {
        (MODEL,): (400, 40, Decimal("0.00112")),
        ("gpt-5",): (100, 10, Decimal("0.5")),
    }
    assert bench.booked() == {}
    versions = "SELECT countDistinct(fetch_id) FROM usage_report_days WHERE day = '2026-03-31'"
    assert bench.client.query(versions).result_rows == [(3,)]


def test_a_span_that_comes_late_lowers_what_is_imported_and_one_taken_back_raises_it(
    bench: Bench,
) -> None:
    with billing_server(BillingServer([Used(DAY, MODEL, 5, 500, 50, usd="0.0014")])) as server:
        bench.imported(server)
        (late,) = calls(bench.client)
        bench.imported(server)
        after = bench.booked()
        book(bench.client, [reversal(late)])
        bench.imported(server)

    assert after == {(MODEL,): (400, 40, Decimal("0.00112"))}
    assert bench.booked() == {(MODEL,): (500, 50, Decimal("0.0014"))}


def test_a_report_that_says_less_books_nothing_and_says_so(bench: Bench) -> None:
    with billing_server(BillingServer([Used(DAY, MODEL, 1, 100, 10, usd="0.00028")])) as server:
        calls(bench.client, 3)
        (line,) = [each for each in bench.imported(server) if each["model_name"]]

    assert bench.booked() == {}
    assert (line["less_tokens"], line["imported_tokens"]) == (220, 0)
    assert Decimal(line["less_cost_usd"]) == Decimal("0.00056")
    view = "SELECT less_tokens FROM imports WHERE model_name = 'gpt-4.1'"
    assert bench.client.query(view).result_rows == [(220,)]


def test_a_preview_books_and_keeps_nothing(bench: Bench) -> None:
    with billing_server(BillingServer([Used(DAY, MODEL, usd="1.25")])) as server:
        lines = bench.imported(server, *PERIOD, "--preview")

    assert [line["imported_cost_usd"] for line in lines if line["model_name"]] == ["1.250000000000"]
    assert bench.booked() == {}
    for table in ("usage_reports", "usage_report_days", "import_lines", "price_changes"):
        assert bench.client.query(f"SELECT count() FROM {table}").result_rows == [(0,)]


def test_imports_are_in_every_total_and_told_apart(bench: Bench) -> None:
    with billing_server(BillingServer([Used(DAY, MODEL, 5, 500, 50, usd="0.0014")])) as server:
        calls(bench.client)
        bench.imported(server)

    day = datetime(2026, 3, 31, tzinfo=UTC)
    filters = Filters(start=day, end=day + timedelta(days=1))
    result = totals(bench.client, filters)
    assert (result["calls"], result["input_tokens"]) == (1, 500)
    assert (result["cost_usd"], result["imported_cost_usd"], result["use_cost_usd"]) == (
        Decimal("0.0014"),
        Decimal("0.00112"),
        Decimal("0.00028"),
    )
    rows = summarise(bench.client, filters, ("source",))
    assert {row["source"]: row["cost_usd"] for row in rows} == {
        "": Decimal("0.00028"),
        "import:openai": Decimal("0.00112"),
    }
    half = Filters(start=day, end=day + timedelta(hours=13, minutes=7))
    assert totals(bench.client, half)["imported_cost_usd"] == Decimal("0.00112")
    assert bench.client.query("SELECT count() FROM calls").result_rows == [(1,)]


def test_without_a_stated_cost_the_price_book_says_what_it_costs(bench: Bench) -> None:
    """2,000 requests of 300,000 tokens together: none of them has a long context."""
    used = Used(DAY, "gpt-4.1", 2_000, 300_000, 1_000, usd="0", cached=0)
    with billing_server(BillingServer([used])) as server:
        server.used = [used]
        server.costs_nothing = True
        bench.imported(server)

    # 300,000 at 2 USD a million, 1,000 at 8
    assert bench.booked("cost_status") == {("priced",): (300_000, 1_000, Decimal("0.608"))}


def test_use_without_a_price_is_counted_and_priced_when_a_price_comes(
    bench: Bench, tmp_path: Path
) -> None:
    prices = tmp_path / "models_pricing.yaml"
    prices.write_text("prices:\n  - {model: new-model, unit: 1M tokens, input: 10, output: 20}\n")
    with billing_server(BillingServer([Used(DAY, "new-model", usd="0")])) as server:
        server.costs_nothing = True
        bench.imported(server)
        unpriced = bench.client.query(
            "SELECT sum(unpriced_tokens), sum(cost_usd) FROM llm_calls"
        ).result_rows
        bench.imported(server, *PERIOD, "--prices", str(prices))

    assert unpriced == [(110, None)]
    assert bench.booked() == {("new-model",): (100, 10, Decimal("0.0012"))}
    left = "SELECT sum(unpriced_tokens) FROM llm_calls"
    assert bench.client.query(left).result_rows == [(0,)]


def test_a_department_is_that_of_the_user_else_of_the_key_or_project(bench: Bench) -> None:
    directory = "INSERT INTO directory (tenant, user_id, department, valid_from, valid_to) VALUES"
    bench.client.command(
        f"{directory} ('', 'ada@example.com', 'research', '2026-01-01', '2026-12-31')"
    )
    used = [
        Used(DAY, MODEL, user="user-1", usd="1"),
        Used(DAY, MODEL, api_key="key-1", usd="1"),
        Used(DAY, MODEL, project="proj-1", usd="1"),
    ]
    with billing_server(BillingServer(used)) as server:
        bench.imported(
            server, *PERIOD, "--names", "user-1=ada@example.com", "--departments", "key-1=sales",
            "--departments", "proj-1=support",
        )  # fmt: skip

    by = "user_id, department, department_source, tags['api_key'], tags['project']"
    assert {*bench.booked(by)} == {
        ("ada@example.com", "research", "directory", "", ""),
        ("", "sales", "import", "key-1", ""),
        ("", "support", "import", "", "proj-1"),
    }


def test_projects_meet_where_the_ledger_has_them(bench: Bench) -> None:
    used = [
        Used(DAY, MODEL, 1, 100, 10, project="proj-1", usd="0.00028"),
        Used(DAY, MODEL, 2, 200, 20, project="proj-2", usd="0.00056"),
    ]
    with billing_server(BillingServer(used)) as server:
        calls(bench.client, tags={"team": "one"})
        calls(bench.client, tags={"team": "two"})
        bench.imported(
            server, *PERIOD, "--recorded-as", "tag:team", "--names", "proj-1=one", "--names",
            "proj-2=two",
        )  # fmt: skip

    assert bench.booked("tags['project'], length(quality_flags)") == {
        ("two", 0): (100, 10, Decimal("0.00028"))
    }


def test_calls_of_another_account_are_left_out_where_they_are_named(bench: Bench) -> None:
    with billing_server(BillingServer([Used(DAY, MODEL, usd="0.00028")])) as server:
        calls(bench.client, endpoint_id="eu.api.openai.com", source="eu")
        bench.imported(server, *PERIOD, "--only", "source=us")

    assert bench.booked() == {(MODEL,): (100, 10, Decimal("0.00028"))}


def test_a_limit_that_stays_leaves_whole_weeks_booked_and_says_where_to_go_on(
    bench: Bench,
) -> None:
    first, later = date(2026, 3, 20), date(2026, 3, 28)
    used = [Used(first, MODEL, usd="1"), Used(later, MODEL, usd="2")]
    with billing_server(BillingServer(used, page_days=7)) as server:
        limited = (429, {"Retry-After": "3600"}, b"{}")
        server.fault_after = (7, [limited] * 5)  # a week is seven requests
        code = bench.run(
            "openai", "--url", server.url, "--from", "2026-03-20", "--to", "2026-03-31"
        )
        said, booked = bench.err, bench.booked()
        again = bench.run(
            "openai", "--url", server.url, "--from", "2026-03-27", "--to", "2026-03-31"
        )

    assert (code, again) == (1, 0)
    assert "429" in said
    assert "2026-03-27 to 2026-03-31 are missing" in said
    assert "--from 2026-03-27" in said
    assert booked == {(MODEL,): (100, 10, Decimal(1))}
    assert bench.booked() == {(MODEL,): (200, 20, Decimal(3))}


def test_an_answer_that_is_not_whole_changes_nothing(bench: Bench) -> None:
    with billing_server(BillingServer([Used(DAY, MODEL, usd="1")])) as server:
        bench.imported(server)
        server.used = []
        server.says_more_for_ever = True
        code = bench.run("openai", "--url", server.url, *PERIOD)

    assert code == 1
    assert "not all of it" in bench.err
    assert bench.booked() == {(MODEL,): (100, 10, Decimal(1))}


def test_a_refused_key_is_one_sentence_without_the_key_and_is_not_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-wrong")
    with billing_server(BillingServer([Used(DAY, MODEL, usd="1")])) as server:
        code = bench.run("openai", "--url", server.url, *PERIOD)

    assert code == 2
    assert len(server.requests) == 1
    assert "the key of OPENAI_ADMIN_KEY is refused" in bench.err
    assert "sk-wrong" not in bench.err
    assert bench.booked() == {}


def test_claude_code_s_use_is_booked_once_though_two_reports_have_it(bench: Bench) -> None:
    """By user from its own report; what the organisation's report has beyond that stays its own."""
    record = {
        "actor": {"type": "user_actor", "email_address": "ada@example.com"},
        "customer_type": "api",
        "model_breakdown": [
            {
                "model": "claude-opus-4-5-20251101",
                "estimated_cost": {"amount": 40, "currency": "USD"},
                "tokens": {"input": 400, "output": 40, "cache_read": 0, "cache_creation": 0},
            }
        ],
    }
    path = "/v1/organizations/usage_report/claude_code"
    server = BillingServer(
        [Used(DAY, "claude-opus-4-5-20251101", 1, 1000, 100, usd="1")],
        reports={path: lambda query: [record] * (query["starting_at"] == ["2026-03-31"])},
    )
    service: dict[str, Any] = {"service_name": "claude-code", "provider_name": "anthropic"}
    with billing_server(server):
        for source in ("anthropic", "claude-code", "anthropic"):
            bench.imported(server, source=source)
        both = bench.booked("source, user_id")
        model = "claude-opus-4-5"
        calls(
            bench.client,
            model_name=model,
            cost_usd=Decimal("0.1"),
            user_id="ada@example.com",
            **service,
        )
        bench.imported(server, source="claude-code")
        covered = bench.booked("source, user_id")

    assert both == {
        ("import:anthropic", ""): (600, 60, Decimal("0.6")),
        ("import:claude-code", "ada@example.com"): (400, 40, Decimal("0.4")),
    }
    assert covered == {
        ("import:anthropic", ""): (600, 60, Decimal("0.6")),
        ("import:claude-code", "ada@example.com"): (300, 30, Decimal("0.3")),
    }


def test_a_cloud_s_cost_export_is_compared_with_all_its_calls(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "cur.csv"
    path.write_text(
        "line_item_usage_start_date,line_item_unblended_cost,line_item_product_code,"
        "line_item_usage_type,line_item_usage_account_id,line_item_currency_code\n"
        "2026-03-31T01:00:00Z,3,AmazonBedrock,USE1-Nova-input,1111,USD\n"
        "2026-03-31T02:00:00Z,1,AmazonBedrock,USE1-Nova-output,1111,USD\n"
        "2026-03-29T02:00:00Z,7,AmazonBedrock,USE1-Nova-output,1111,USD\n"
    )
    nova: dict[str, Any] = {"provider_name": "aws.bedrock", "model_name": "amazon.nova-pro-v1:0"}
    calls(bench.client, cost_usd=Decimal(1), **nova)
    code = bench.run("aws", "--file", str(path), *PERIOD)

    assert code == 0, bench.err
    assert bench.booked("tags['item'], tags['project']") == {
        ("USE1-Nova-input", "1111"): (None, None, Decimal("2.25")),
        ("USE1-Nova-output", "1111"): (None, None, Decimal("0.75")),
    }
    assert "1 line of the file left out: of other days" in bench.err


def test_days_of_a_file_in_another_zone_meet_the_calls_of_those_days(
    bench: Bench, tmp_path: Path
) -> None:
    """The 31st of March in Los Angeles is from 7:00 UTC to 7:00 UTC of the day after."""
    path = tmp_path / "bill.csv"
    header = "start_time,input_tokens,output_tokens,num_model_requests,model\n"
    path.write_text(f"{header}2026-03-31,400,40,4,gpt-4.1\n")
    for hour in (6, 7, 29, 30):
        at = datetime(2026, 3, 31, tzinfo=UTC) + timedelta(hours=hour)
        calls(bench.client, start_time=at)
    code = bench.run("openai", "--file", str(path), *PERIOD, "--zone", "America/Los_Angeles")

    assert code == 0, bench.err
    assert bench.booked("start_time") == {
        (datetime(2026, 3, 31, 19, tzinfo=UTC),): (100, 10, Decimal("0.00028"))
    }


def test_a_report_of_today_is_half_a_day_and_is_replaced(bench: Bench) -> None:
    today = datetime.now(UTC).date()
    period = ["--from", str(today), "--to", str(today)]
    with billing_server(BillingServer([Used(today, MODEL, usd="1")])) as server:
        bench.imported(server, *period)
        server.used = [Used(today, MODEL, 2, 200, 20, usd="2")]
        bench.imported(server, *period)
        too_early = bench.run("openai", "--to", str(today + timedelta(days=1)))

    assert bench.booked() == {(MODEL,): (200, 20, Decimal(2))}
    assert too_early == 2
    assert "that day has not begun" in bench.err


def test_a_cost_beyond_what_an_entry_can_hold_is_booked_in_several(bench: Bench) -> None:
    with billing_server(BillingServer([Used(DAY, MODEL, usd="2500000.5")])) as server:
        bench.imported(server)

    assert bench.booked() == {(MODEL,): (100, 10, Decimal("2500000.5"))}


def test_calls_that_are_not_billed_one_by_one_cover_nothing(bench: Bench) -> None:
    calls(bench.client, is_notional=True)
    calls(bench.client, cost_status="not_billed", cost_usd=Decimal(0))
    calls(bench.client, provider_name="azure.ai.openai")
    with billing_server(BillingServer([Used(DAY, MODEL, usd="0.00028")])) as server:
        bench.imported(server)

    assert bench.booked() == {(MODEL,): (100, 10, Decimal("0.00028"))}


def test_a_scripted_day_adds_up_to_the_provider_s_stated_total(bench: Bench) -> None:
    """Plain calls, a batch, a realtime session and searches, some of each without a span.

    Whenever the import runs: before the spans, between them, and again after all of them.
    """
    used = [
        Used(DAY, MODEL, 5, 500, 50, usd="0.0014"),
        Used(DAY, MODEL, 4, 400, 40, tier="batch", usd="0.00056"),
        Used(DAY, "gpt-realtime", 2, 2000, 500, usd="0.040000000001"),
    ]
    server = BillingServer(used, extra_costs=[(DAY, "web search tool calls", "0.02")])
    stated = Decimal("0.061960000001")

    def total() -> Decimal:
        (row,) = bench.client.query("SELECT sum(cost_usd) FROM llm_calls").result_rows
        return Decimal(row[0])

    totals_seen = []
    with billing_server(server):
        bench.imported(server)
        totals_seen.append(total())
        calls(bench.client, 2)
        calls(bench.client, service_tier="batch", cost_usd=Decimal("0.00014"), part="batch_item")
        bench.imported(server)
        totals_seen.append(total())
        calls(bench.client, cost_usd=Decimal("0.01028"), meters={"web_search": 1.0})
        calls(
            bench.client,
            model_name="gpt-realtime",
            input_tokens=1000,
            output_tokens=250,
            cost_usd=Decimal("0.02"),
        )
        bench.imported(server)
        totals_seen.append(total())

    assert totals_seen == [stated] * 3
    assert bench.booked("model_name, service_tier, tags['item']") == {
        ("", "", "web search tool calls"): (None, None, Decimal("0.01")),
        (MODEL, "", ""): (200, 20, Decimal("0.00056")),
        (MODEL, "batch", ""): (300, 30, Decimal("0.00042")),
        ("gpt-realtime", "", ""): (1000, 250, Decimal("0.020000000001")),
    }
