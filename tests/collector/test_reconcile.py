"""What was recorded against what the provider billed."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from billing_server import BillingServer, Used, billing_server
from grafana_pages import run
from ledger import book, call, unpriced
from reconcile_bench import DAY, MODEL, PERIOD, Bench, bench_of, calls
from shared_store import SharedStore
from tallyspan_collector.bills import pages
from tallyspan_collector.bills.billed import model_key
from tallyspan_collector.bills.openai import model_of
from tallyspan_collector.reconcile.compare import TO_DO, Reason


@pytest.fixture
def bench(
    empty_store: SharedStore,
    client: Client,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    return bench_of(empty_store, client, capsys, monkeypatch)


def test_what_agrees_is_told_line_by_line_with_exit_code_0(bench: Bench) -> None:
    calls(bench.client, 2)
    with billing_server(BillingServer([Used(DAY, MODEL, 2, 200, 20, usd="2.5")])) as server:
        code = bench.run("openai", "--url", server.url, *PERIOD)

    assert code == 0
    assert f"2026-03-31  {MODEL}" in bench.out
    assert "0 of 1 lines are off by more than 1 %" in bench.out


def test_every_page_of_every_usage_and_of_the_costs_is_read(bench: Bench) -> None:
    days = [date(2026, 3, 30) + timedelta(days=n) for n in range(4)]
    used = [Used(day, MODEL, usd="1.25") for day in days]
    used += [
        Used(day, "text-embedding-3-small", 3, 50, 0, usd="0.5", kind="embeddings") for day in days
    ]
    with billing_server(BillingServer(used, page_days=1)) as server:
        lines = bench.lines("openai", "--url", server.url, *PERIOD)

    assert [(line["day"], line["model"]) for line in lines] == [
        (str(day), model) for day in days for model in (MODEL, "text-embedding-3-small")
    ]
    assert {line["billed_tokens"] for line in lines} == {110, 50}
    assert {query["group_by[]"][0] for _, query in server.requests} == {"model", "line_item"}


def test_anthropic_s_cents_and_its_cache_beside_the_input_become_ours(bench: Bench) -> None:
    calls(
        bench.client,
        provider_name="anthropic",
        model_name="claude-opus-4-5-20251101",
        input_tokens=1000,
    )
    used = [Used(DAY, "claude-opus-4-5-20251101", 1, 100, 10, cached=700, written=200, usd="1.25")]
    (line,) = bench.against(used, provider="anthropic")

    assert (line["recorded_tokens"], line["billed_tokens"]) == (1010, 1010)
    assert (line["recorded_cost_usd"], Decimal(line["billed_cost_usd"])) == (
        "1.250000000000",
        Decimal("1.25"),
    )
    assert line["reason"] == ""


MISSING = [Used(DAY, MODEL, 4, 400, 40, usd="5")]


def test_requests_that_nobody_recorded_are_missing_calls(bench: Bench) -> None:
    calls(bench.client, 3)

    assert bench.reason(MISSING) == "missing_calls"
    (line,) = bench.against(MISSING)
    assert line["detail"] == "1 of 4 requests were not recorded"
    assert (line["token_drift_percent"], line["cost_drift_percent"]) == (-25.0, -25.0)


def test_a_model_that_was_not_recorded_at_all_is_missing_calls(bench: Bench) -> None:
    assert bench.reason(MISSING) == "missing_calls"


def test_tokens_that_came_without_counts_are_unknown_usage(bench: Bench) -> None:
    calls(bench.client, 3)
    book(
        bench.client,
        [unpriced(input_tokens=None, output_tokens=None, usage_source="unknown")],
    )

    assert bench.reason(MISSING) == "unknown_usage"


def test_estimates_that_are_off_are_estimated_usage(bench: Bench) -> None:
    calls(bench.client, 3)
    calls(bench.client, 1, input_tokens=70, usage_source="estimated")

    assert bench.reason(MISSING) == "estimated_usage"


def test_the_same_tokens_in_another_tier_are_a_service_tier(bench: Bench) -> None:
    calls(bench.client, 4, service_tier="default")
    used = [
        Used(DAY, MODEL, 3, 300, 30, usd="3.75"),
        Used(DAY, MODEL, 1, 100, 10, tier="priority", usd="2.50"),
    ]

    assert bench.reason(used) == "service_tier"


def test_the_same_tokens_for_other_money_are_a_price(bench: Bench) -> None:
    calls(bench.client, 4)
    (line,) = bench.against([Used(DAY, MODEL, 4, 400, 40, usd="4.25")])

    assert line["reason"] == "price"
    assert line["detail"].startswith(
        "recorded is 17.65 % more than billed for the same tokens: a discount"
    )


def test_calls_without_a_price_are_unpriced(bench: Bench) -> None:
    calls(bench.client, 3)
    book(bench.client, [unpriced()])

    assert bench.reason(MISSING) == "unpriced"


def test_more_recorded_than_billed_are_extra_calls(bench: Bench) -> None:
    calls(bench.client, 5)

    assert bench.reason(MISSING) == "extra_calls"


def test_more_recorded_than_billed_yesterday_is_a_late_bill(bench: Bench) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    calls(bench.client, 5, start_time=yesterday)
    with billing_server(
        BillingServer([Used(yesterday.date(), MODEL, 4, 400, 40, usd="5")])
    ) as server:
        (line,) = bench.lines("openai", "--url", server.url)  # the period is the last seven days

    assert line["reason"] == "late_bill"


def test_days_of_another_zone_are_a_time_zone(bench: Bench, tmp_path: Path) -> None:
    start = datetime(2026, 3, 30, tzinfo=UTC)
    hours = [start + timedelta(hours=n) for n in range(-12, 110)]
    book(
        bench.client,
        [
            call(start_time=at, input_tokens=100 + 900 * (at.day % 2), cost_usd=Decimal(1))
            for at in hours
        ],
    )
    pacific: dict[date, int] = {}
    for at in hours:
        day = (at - timedelta(hours=7)).date()
        pacific[day] = pacific.get(day, 0) + 110 + 900 * (at.day % 2)
    path = tmp_path / "bill.csv"
    path.write_text(
        "day,model,input_tokens\n" + "".join(f"{d},{MODEL},{n}\n" for d, n in pacific.items())
    )
    arguments = ("csv", "--file", str(path), *PERIOD)

    assert {line["reason"] for line in bench.lines(*arguments) if line["reason"]} == {"time_zone"}
    assert "days that begin 7 hours later fit the bill" in bench.out
    assert bench.run(*arguments, "--zone", "America/Los_Angeles") == 0


def test_what_the_bill_has_apart_and_the_ledger_in_the_calls_adds_up_by_day(bench: Bench) -> None:
    calls(bench.client, 4)
    bill = BillingServer(
        [Used(DAY, MODEL, 4, 400, 40, usd="4.25")],
        extra_costs=[(DAY, "web search tool calls", "0.75")],
    )
    with billing_server(bill) as server:
        code = bench.run("openai", "--url", server.url, *PERIOD, "--format", "csv")

    assert code == 0
    rows = list(csv.DictReader(io.StringIO(bench.out)))
    assert [(row["model"], row["reason"]) for row in rows] == [
        (MODEL, "billed_apart"),
        ("web search tool calls", "billed_apart"),
    ]


def test_the_exit_code_goes_by_the_threshold(bench: Bench) -> None:
    calls(bench.client, 4)
    with billing_server(BillingServer([Used(DAY, MODEL, 4, 400, 40, usd="5.20")])) as server:
        flags = ("openai", "--url", server.url, *PERIOD, "--threshold")

        assert [bench.run(*flags, percent) for percent in ("3", "4", "5%")] == [1, 0, 0]


def test_projects_are_compared_with_what_the_ledger_calls_them(bench: Bench) -> None:
    calls(bench.client, 1, department="research")
    calls(bench.client, 2, department="sales")
    used = [
        Used(DAY, MODEL, 1, 100, 10, usd="1.25", project="proj_1"),
        Used(DAY, MODEL, 2, 200, 20, usd="2.50", project="proj_2"),
    ]
    lines = bench.against(
        used, "--by", "project", "--recorded-as", "department",
        "--name", "proj_1=research", "--name", "proj_2=sales",
    )  # fmt: skip

    assert [(line["project"], line["recorded_calls"], line["reason"]) for line in lines] == [
        ("research", 1, ""),
        ("sales", 2, ""),
    ]


def test_a_run_is_kept_with_who_and_when_and_the_newest_of_a_day_is_shown(bench: Bench) -> None:
    calls(bench.client, 3)
    bench.against(MISSING)
    calls(bench.client, 1)
    bench.against(MISSING)
    bench.against(MISSING, "--no-store")
    kept = bench.client.query(
        "SELECT run_by, is_within FROM reconciliation_lines WHERE charge != '' ORDER BY run_at"
    )
    shown = bench.client.query("SELECT recorded_calls, cost_drift, reason FROM reconciliations")

    assert [row[1] for row in kept.result_rows] == [False, True]
    assert "@" in kept.result_rows[0][0]
    assert shown.result_rows == [(4, 0.0, "")]


def test_a_line_that_is_neither_on_the_bill_nor_in_the_ledger_any_more_is_not_shown(
    bench: Bench,
) -> None:
    next_day = Used(DAY + timedelta(days=1), MODEL, usd="1")
    bench.against([*MISSING, next_day])
    bench.against([next_day])

    shown = bench.client.query("SELECT day, billed_cost_usd FROM reconciliations").result_rows
    assert shown == [(next_day.day, 1)]


def test_the_data_health_page_shows_what_is_off_and_why(bench: Bench) -> None:
    calls(bench.client, 3)
    bench.against([*MISSING, Used(DAY, "gpt-5-mini", usd="0")])
    (row, _) = run(bench.client, "health", "Recorded against billed", 3650)

    assert (row["name"], row["recorded"], row["billed"]) == (MODEL, Decimal("3.75"), Decimal(5))
    assert (row["cost_drift"], row["why"]) == (-0.25, "missing calls")


def test_every_reason_is_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs/reconcile.md").read_text()

    assert [reason for reason in Reason if f"| `{reason}` |" not in page] == []
    assert set(TO_DO) == set(Reason)


def test_a_reason_says_what_to_do(bench: Bench) -> None:
    calls(bench.client, 4)
    with billing_server(BillingServer([Used(DAY, MODEL, 4, 400, 40, usd="4.25")])) as server:
        assert bench.run("openai", "--url", server.url, *PERIOD, "--format", "table") == 1
        assert "price (1 line): " in bench.out
        assert "; write the contract's price into the price file" in bench.out
        (line,) = bench.lines("openai", "--url", server.url, *PERIOD)

    assert line["to_do"].startswith("write the contract's price")


def test_only_what_the_provider_bills_is_compared(bench: Bench) -> None:
    calls(bench.client, 4)
    calls(bench.client, 1, provider_name="anthropic")
    calls(bench.client, 1, is_notional=True)
    calls(bench.client, 1, endpoint_id="gateway.example.com")

    (line,) = bench.against(MISSING, "--endpoint", "api.openai.*")
    assert line["recorded_calls"] == 4


LIMITED = (429, {"Retry-After": "7"}, b'{"error": {"message": "slow down"}}')
TRUNCATED: tuple[int, dict[str, str], bytes] = (
    200,
    {},
    b'{"object": "page", "data": [{"start_time": 17',
)


def test_a_limit_is_waited_for_as_long_as_the_provider_says(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(pages.Api.__init__, "__defaults__", (pages.ADMIN_KEY, waits.append))
    calls(bench.client, 4)
    faults = [LIMITED, TRUNCATED, (503, {}, b"")]
    with billing_server(BillingServer(MISSING, faults=faults)) as server:
        code = bench.run("openai", "--url", server.url, *PERIOD)

    assert code == 0
    assert waits == [7.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("faults", "code", "words"),
    [
        ([LIMITED] * 5, 1, ("answered 429 (slow down)", "5 attempts", "try again later")),
        ([TRUNCATED] * 5, 1, ("45 bytes that is no whole JSON", "try again later")),
        ([(400, {}, b'{"error": {"message": "bad start"}}')], 1, ("answered 400 (bad start)",)),
        ([(200, {}, b'{"hello": 1}')], 1, ("is no page of data", "is the address right?")),
        ([(302, {"Location": "http://elsewhere/"}, b"")], 1, ("answered 302",)),
    ],
)  # fmt: skip
def test_a_bill_that_cannot_be_had_is_one_sentence_and_nothing_is_kept(
    bench: Bench, faults: Any, code: int, words: tuple[str, ...]
) -> None:
    with billing_server(BillingServer(MISSING, faults=[*faults])) as server:
        assert bench.run("openai", "--url", server.url, *PERIOD) == code

    assert len(bench.err.splitlines()) == 1
    for word in words:
        assert word in bench.err
    assert bench.client.query("SELECT count() FROM reconciliation_lines").first_row == (0,)


def test_pages_that_do_not_end_are_not_taken_for_all(bench: Bench) -> None:
    with billing_server(BillingServer(MISSING, says_more_for_ever=True)) as server:
        assert bench.run("openai", "--url", server.url, *PERIOD) == 1

    assert "says there is more and does not say where" in bench.err


def test_a_refused_key_is_named_by_where_it_is_from_and_never_shown(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_text("sk-wrong-one\n")
    with billing_server(BillingServer(MISSING)) as server:
        assert bench.run("openai", "--url", server.url, "--key-file", str(path)) == 2
        assert f"the key of --key-file {path} is refused" in bench.err
        assert "wrong-one" not in bench.err + bench.out
        monkeypatch.setenv("ANTHROPIC_ADMIN_KEY", "sk-wrong-too")
        assert bench.run("anthropic", "--url", server.url) == 2
        assert "401, the key of ANTHROPIC_ADMIN_KEY is refused" in bench.err
        assert "wrong-too" not in bench.err + bench.out


ANTHROPIC_USAGE = """\
usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,\
usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,\
usage_output_tokens,web_search_count,inference_geo,speed
2026-03-31,claude-haiku-4-5-20251001,"key, one",Default,standard,\u2264 200k,50,20,10,20,10,0,global,
"""
ANTHROPIC_COST = """\
usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,\
cost_type,inference_geo,speed
2026-03-31,Claude Haiku 4.5,Default,key,message,\u2264 200k,input_no_cache,1.00,1.00,token,global,
2026-03-31,Claude Haiku 4.5,Default,key,message,\u2264 200k,output,0.25,0.25,token,global,
"""
OPENAI_COST = """\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,\
line_item,user_id,api_key_id,project_id,organization_id
1774828800,1774915200,2026-03-30T00:00:00+00:00,2026-03-31T00:00:00+00:00,,,,,,,,,
1774915200,1775001600,2026-03-31T00:00:00+00:00,2026-04-01T00:00:00+00:00,\
1.250000000000000000,usd,,,"gpt-4.1-2025-04-14, input",,,proj_1,org
"""
OPENAI_USAGE = """\
start_time,end_time,start_time_iso,end_time_iso,input_tokens,output_tokens,num_model_requests,\
project_id,user_id,api_key_id,model,batch,service_tier,input_cached_tokens
1774915200,1775001600,x,y,100,10,1,proj_1,,,gpt-4.1-2025-04-14,False,default,0
"""


@pytest.mark.parametrize(
    ("text", "provider", "model"),
    [
        (ANTHROPIC_USAGE, "anthropic", "claude-haiku-4-5-20251001"),
        (ANTHROPIC_COST, "anthropic", "claude-haiku-4-5-20251001"),
        (OPENAI_COST, "openai", MODEL),
        (OPENAI_USAGE, "openai", MODEL),
        ("day,model,cost_usd,input_tokens,output_tokens\n2026-03-31,gpt-4.1,$1.25,100,10\n", "openai", MODEL),
        ("\ufeffday;model;cost_usd\n\n2026-03-31;gpt-4.1;1.25\n", "openai", MODEL),
    ],
    ids=["claude usage", "claude cost", "openai cost", "openai usage", "ours", "semicolons"],
)  # fmt: skip
def test_exports_of_the_consoles_and_columns_of_ours_are_read(
    bench: Bench, tmp_path: Path, text: str, provider: str, model: str
) -> None:
    calls(bench.client, provider_name=provider, model_name=model)
    path = tmp_path / "bill.csv"
    path.write_text(text)

    lines = bench.lines(provider, "--file", str(path), *PERIOD)
    assert [(line["recorded_calls"], line["reason"]) for line in lines] == [(1, "")]
    assert lines[0]["billed_tokens"] == 110 or Decimal(lines[0]["billed_cost_usd"]) == Decimal(
        "1.25"
    )


def test_other_columns_are_mapped(bench: Bench, tmp_path: Path) -> None:
    calls(bench.client)
    path = tmp_path / "azure.csv"
    path.write_text("Date,Meter,Cost\n2026-03-31,gpt-4.1,1.25\n2025-01-01,gpt-4.1,9\n")
    columns = ("day=Date", "model=Meter", "cost_usd=Cost")
    flags = [flag for column in columns for flag in ("--column", column)]

    assert bench.run("csv", "--file", str(path), *flags, *PERIOD) == 0
    assert "1 line of the bill left out: of other days" in bench.out


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ("", (), "is empty"),
        ("a,b\n1,2\n", (), "bill.csv:1: no column 'day'; it has a, b. Map them with --column"),
        ("day,model\n2026-03-31,x\n", (), "no column with an amount"),
        ("day,cost_usd\n31/03/2026,1\n", (), "bill.csv:2: day: must be a day like 2026-01-31"),
        ('day,cost_usd\n2026-03-31,"1,25"\n', (), "bill.csv:2: cost_usd: must be a number"),
        ("day,cost_usd\n2026-03-31,NaN\n", (), "bill.csv:2: cost_usd: must be a number"),
        ("day,input_tokens\n2026-03-31,-4\n", (), "input_tokens: must be a whole number"),
        ("day,cost_usd\n2026-03-31,1,2\n", (), "bill.csv:2: has not as many columns"),
        ("day,cost_usd\n2026-03-31\n", (), "bill.csv:2: has not as many columns"),
        (
            OPENAI_COST.replace("usd,,,", "eur,,,"),
            (),
            "bill.csv:3: amount_currency: the bill is in eur: the price file (--prices) has no rate",
        ),
        ("day,cost\n2026-03-31,1\n", (), "bill.csv:1: 'cost' needs a column 'currency'"),
        (
            "day,end,cost_usd\n2026-03-31T12:00,2026-04-01T12:00,1\n",
            (),
            "bill.csv:2: day: 2026-03-31T12:00 to 2026-04-01T12:00 is of more than one day in UTC",
        ),
        ("day,x\n2026-03-31,1\n", ("--column", "price=x"), "--column price: must be one of"),
        ("day,x\n2026-03-31,1\n", ("--column", "cost_usd=y"), "no column for --column cost_usd=y"),
        ("day,x\n2026-03-31,1\n", ("--column", "cost_usd"), "--column cost_usd: must be LEFT=RIGHT"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_by_line_and_column(
    bench: Bench, tmp_path: Path, text: str, flags: tuple[str, ...], words: str
) -> None:
    path = tmp_path / "bill.csv"
    path.write_text(text)

    assert bench.run("csv", "--file", str(path), *flags) == 2
    assert words in bench.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("csv",), "name the bill with --file"),
        (("openai", "--url", "http://api.example.com"), "must begin with https://"),
        (("openai", "--from", "yesterday"), "--from: must be a day like"),
        (("openai", "--from", "2026-03-31T12:00"), "--from: must be a day like"),
        (("openai", "--from", "2026-04-02", "--to", "2026-04-01"), "is after --to"),
        (("openai", "--threshold", "lots"), "--threshold: must be 0 to 100 percent"),
        (("openai", "--by", "project"), "--by and --recorded-as go together"),
        (("openai", "--zone", "Europe/Berlin"), "--zone is for --file"),
        (("csv", "--file", "x.csv", "--zone", "Mars/Base"), "no such time zone"),
        (("csv", "--file", "/nowhere.csv"), "cannot be read"),
        (("openai", "--key-file", "/nowhere"), "cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(
    bench: Bench, arguments: tuple[str, ...], words: str
) -> None:
    assert bench.run(*arguments) == 2
    assert words in bench.err


def test_without_a_key_it_says_how_to_give_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_ADMIN_KEY")

    assert bench.run("openai") == 2
    assert "OPENAI_ADMIN_KEY: no key; set OPENAI_ADMIN_KEY or --key-file" in bench.err


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("gpt-4.1-2025-04-14", "GPT-4.1", True),
        ("claude-3-5-haiku-20241022", "Claude Haiku 3.5", True),
        ("claude-haiku-4-5@20251001", "claude haiku 4.5", True),
        ("claude-haiku-5-3", "claude-haiku-3-5", False),
        ("gpt-4.5", "gpt-5.4", False),
        ("gpt-4o-mini", "gpt-4o", False),
    ],
)
def test_a_model_has_several_names_and_no_two_share_one(
    one: str, other: str, is_same: bool
) -> None:
    assert (model_key(one) == model_key(other)) is is_same


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("gpt-4o-mini-2024-07-18, cached input", ("gpt-4o-mini-2024-07-18", "")),
        ("priority | gpt-5.6-sol, output, long context", ("gpt-5.6-sol", "priority")),
        ("gpt-audio-mini-2025-12-15 audio, input", ("gpt-audio-mini-2025-12-15", "")),
        ("web search tool calls", ("", "")),
        ("", ("", "")),
    ],
)
def test_a_line_of_openai_s_costs_names_model_and_tier(line: str, found: tuple[str, str]) -> None:
    assert model_of(line) == found
