"""What booked calls would have cost with another model, another tier, or without the cache."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from ledger import NOON, Entry, book, call, reversal, unpriced
from shared_store import SharedStore
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_clickhouse.query.access import Access
from tallyspan_collector.access.keys import Keys, make
from tallyspan_collector.api import create_app
from tallyspan_collector.booked.compare import Compared, compare, is_same_tokenizer
from tallyspan_collector.booked.ledger import Row
from tallyspan_collector.cli import main
from tallyspan_collector.commands import whatif
from tallyspan_collector.pricing.alternative import Alternative, read
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced
from tallyspan_collector.summary import Filters, RequestError
from tallyspan_collector.summary.what_if import WhatIf, what_if

DAY = timedelta(days=1)
PRICES = """\
prices:
  - model: big
    provider: openai
    service_tier: standard
    unit: 1M tokens
    input: 10
    output: 40
    cache_read: 1
    cache_write: 12.5
    tools: {maps_grounding: 0.01}
  - {model: big, provider: openai, service_tier: batch, unit: 1M tokens, input: 5, output: 20, cache_read: 0.5, tools: {maps_grounding: 0.01}}
  - {model: small, provider: openai, to: 2026-04-01, unit: 1M tokens, input: 1, output: 4, cache_read: 0.1}
  - {model: small, provider: openai, from: 2026-04-01, unit: 1M tokens, input: 2, output: 8, cache_read: 0.2}
  - {model: other, provider: anthropic, unit: 1M tokens, input: 3, output: 15, cache_read: 0.3, tools: {maps_grounding: 0.02}}
  - {model: sound, provider: openai, unit: 1M tokens, input: 1, output: 4, input_audio: 20, output_audio: 40}
  - {model: house, endpoint: llm.example.com, unit: 1M tokens, input: 1, output: 1}
  - {model: rank, provider: cohere, per_search_unit: 0.002}
"""
# 1,000 input of which 600 from the cache, 100 output: 400 x 10 + 600 x 1 + 100 x 40 per million
BIG = {"provider_name": "openai", "model_name": "big", "input_tokens": 1000, "output_tokens": 100,
       "cache_read_tokens": 600, "cost_usd": Decimal("0.0086")}  # fmt: skip


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    path = tmp_path_factory.mktemp("prices") / "models_pricing.yaml"
    path.write_text(PRICES)
    return PriceBook.load(path)


def row(**columns: Any) -> Row:
    """A booked call as the ledger is read."""
    others = dict.fromkeys(TOKEN_FIELDS)
    more: dict[str, Any] = {"meters": {}, "conditions": {}, "price_flags": []}
    return {**others, **more, **call(**BIG), **columns}


def usd(result: Compared | str) -> Decimal | str:
    return result if isinstance(result, str) else Decimal(result.cost_picousd).scaleb(-12)


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        # 400 x 1 + 600 x 0.1 + 100 x 4
        ("small", {}, "0.00086"),
        ("openai/small", {}, "0.00086"),
        # the price of the call's own time: 400 x 2 + 600 x 0.2 + 100 x 8
        ("small", {"start_time": datetime(2026, 4, 2, tzinfo=UTC)}, "0.00172"),
        # at its maker's, for OpenAI does not sell it: 400 x 3 + 600 x 0.3 + 100 x 15
        ("other", {}, "0.00288"),
        # 400 x 5 + 600 x 0.5 + 100 x 20
        ("batch", {}, "0.0043"),
        ("batch", {"service_tier": "default"}, "0.0043"),
        ("standard", {"service_tier": "batch"}, "0.0086"),
        # 1,000 x 10 + 100 x 40
        ("no-cache", {}, "0.014"),
        ("cache", {}, "0.014"),
        # writes cost 12.5 and not 10: 1,000 x 10 + 100 x 40 is less than what was paid
        ("no-cache", {"cache_read_tokens": 0, "cache_write_tokens": 600}, "0.014"),
        # 0.00288 and two searches at 0.02
        ("other", {"meters": {"maps_grounding": 2.0}}, "0.04288"),
        ("big", {}, "0.0086"),
    ],
)
def test_the_same_meters_are_priced_as_something_else(
    prices: PriceBook, text: str, columns: dict[str, Any], expected: str
) -> None:
    assert usd(compare(prices, row(**columns), read(text, prices))) == Decimal(expected)


@pytest.mark.parametrize(
    ("text", "columns", "reason"),
    [
        ("small", {"cost_status": "reported"}, "reported"),
        ("small", {"cost_status": "not_billed"}, "not_billed"),
        ("small", {"is_notional": True}, "notional"),
        ("small", {"cost_status": "unpriced", "unpriced_reason": "unknown_usage"}, "unknown_usage"),
        ("small", {"cost_status": "unpriced", "unpriced_reason": "unknown_model"}, "unpriced"),
        # searches have a price with `big`, and none with `small`
        ("small", {"meters": {"maps_grounding": 2.0}}, "unpriced_meter: maps_grounding"),
        # sound has a price with `sound`, and none with `small`; the other way it is what text was
        ("small", {"model_name": "sound", "input_audio_tokens": 50},
         "unpriced_meter: input_audio_tokens"),
        ("small", {"model_name": "sound", "output_audio_tokens": 50},
         "unpriced_meter: output_audio_tokens"),
        # only the other price knows what the searches cost
        ("other", {"model_name": "small", "meters": {"maps_grounding": 2.0}},
         "unpriced_meter: maps_grounding"),
        ("rank", {}, "unpriced_meter: input_tokens"),
        # what was free of the searches is no allowance of another model's
        ("other", {"meters": {"web_search": 2.0, "web_search_free": 2.0}}, "allowance"),
        ("other", {"conditions": {"refusal": "before_output"}}, "refusal"),
        # nobody has written what `small` costs by batch
        ("batch", {"model_name": "small"}, "tier_assumed"),
        ("small", {"service_tier": "batch"}, "tier_assumed"),
        ("flex", {"provider_name": "anthropic", "model_name": "claude-sonnet-4-5"},
         "unknown_tier"),
        ("house", {}, "unknown_model"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_named(
    prices: PriceBook, text: str, columns: dict[str, Any], reason: str
) -> None:
    assert compare(prices, row(**columns), read(text, prices)) == reason


def test_a_model_that_several_sell_needs_its_seller(tmp_path: Path) -> None:
    path = tmp_path / "models_pricing.yaml"
    lines = [
        f"  - {{model: shared, provider: {provider}, unit: 1M tokens, input: 1, output: 1}}"
        for provider in ("groq", "together_ai")
    ]
    path.write_text("\n".join((PRICES, *lines)))
    several = PriceBook.load(path)

    assert compare(several, row(), read("shared", several)) == "several_providers"
    # 1,100 tokens at 1 a million
    assert usd(compare(several, row(), read("groq/shared", several))) == Decimal("0.0011")
    assert usd(compare(several, row(provider_name="groq", model_name="shared", cache_read_tokens=0),
                       read("shared", several))) == Decimal("0.0011")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no-such-model", "'no-such-model' is no model with a price, no tier"),
        ("batc", "did you mean 'batch'"),
        ("ultra", "no tier (standard, batch, flex, priority, fast)"),
        ("openai/no-such-model", "'openai/no-such-model' is no model"),
        ("gpt-5-minni", "did you mean 'gpt-5-mini'"),
        ("", "'' is no model"),
        ("/", "'/' is no model"),
    ],
)
def test_what_is_no_model_and_no_tier_is_refused(
    prices: PriceBook, text: str, sentence: str
) -> None:
    with pytest.raises(RequestError) as refused:
        read(text, prices)

    assert sentence in str(refused.value)


KINDS = st.sampled_from(
    [("openai", "big"), ("openai", "small"), ("anthropic", "other"), ("openai", "sound"),
     ("openai", "gpt-5-mini"), ("anthropic", "claude-sonnet-4-5"), ("gcp.gemini", "gemini-2.5-pro")]
)  # fmt: skip


@given(KINDS, st.sampled_from(["", "default", "batch", "flex"]), st.integers(0, 300_000),
       st.integers(0, 300_000), st.integers(0, 5000), st.integers(0, 3))  # fmt: skip
def test_as_the_same_model_and_tier_every_priced_call_costs_what_is_booked(
    prices: PriceBook, kind: tuple[str, str], tier: str, rest: int, read_: int, out: int, uses: int
) -> None:
    provider, model = kind
    usage, meters = Usage(rest + read_, out, read_), {"maps_grounding": float(uses)} if uses else {}
    at_ns = int(NOON.timestamp()) * 10**9
    booked = prices.price(
        provider=provider, endpoint_id="", model=model, at_ns=at_ns, usage=usage,
        service_tier=tier, meters=meters,
    )  # fmt: skip
    if not isinstance(booked, Priced):
        return
    same = row(
        provider_name=provider, endpoint_id="", model_name=model, service_tier=tier, meters=meters,
        input_tokens=rest + read_, output_tokens=out, cache_read_tokens=read_,
        price_flags=list(booked.flags),
    )  # fmt: skip

    for alternative in (
        Alternative(model, model, sellers=(provider,)),
        Alternative(model, model, provider),
        Alternative(tier, tier=tier or "standard"),
    ):
        result = compare(prices, same, alternative)
        assert isinstance(result, Compared)
        assert (result.cost_picousd, result.is_same_tokenizer) == (booked.cost_picousd, True)
    without = compare(prices, same, read("no-cache", prices))
    assert isinstance(without, Compared)
    assert without.cost_picousd - booked.cost_picousd == (booked.cache_saved_picousd or 0)


def test_tokenizers_are_the_same_only_where_that_is_known() -> None:
    assert is_same_tokenizer("gpt-4o", "gpt-5-mini")  # both o200k_base
    assert is_same_tokenizer("llama-3.3-70b", "Llama-3.3-70B")
    assert is_same_tokenizer("claude-sonnet-4-5", "claude-sonnet-4-5-20250929")
    assert not is_same_tokenizer("gpt-4", "gpt-4o")  # cl100k_base and o200k_base
    assert not is_same_tokenizer("claude-sonnet-4-5", "gpt-5-mini")
    assert not is_same_tokenizer("claude-sonnet-4-5", "claude-opus-4-8")


def ledger(client: Client) -> dict[str, Entry]:
    """Two comparable calls, one taken back, and one of each kind that cannot be compared."""
    calls = {
        "ada": call(**BIG, user_id="ada", department="research"),
        # 400 x 10 + 100 x 40, no cache, on the next day
        "bob": call(**BIG | {"cache_read_tokens": None, "input_tokens": 400,
                             "cost_usd": Decimal("0.008")},
                    user_id="bob", department="sales", start_time=NOON + DAY),
        "gone": call(**BIG),
        "searched": call(**BIG | {"cost_usd": Decimal("0.0286")}, meters={"maps_grounding": 2.0}),
        "reported": call(**BIG | {"cost_usd": Decimal("0.5")}, cost_status="reported"),
        "plan": call(**BIG, is_notional=True),
        "unpriced": unpriced(model_name="nobody's"),
        "later": call(**BIG, start_time=NOON + 40 * DAY),
    }  # fmt: skip
    book(client, [*calls.values(), reversal(calls["gone"])])
    return calls


@pytest.fixture
def booked(empty_store: SharedStore, client: Client) -> Client:
    ledger(client)
    return client


def run(
    client: Client, prices: PriceBook, text: str = "small", by: str = "model", **more: Any
) -> WhatIf:
    filters = Filters(start=NOON - DAY, end=NOON + 2 * DAY, **more)
    return what_if(client, prices, filters, read(text, prices), by.split(","))


def test_a_period_is_added_up_by_group_with_what_is_not_compared_by_reason(
    booked: Client, prices: PriceBook
) -> None:
    result = run(booked, prices)

    # 0.00086, and in April 400 x 2 + 100 x 8 per million
    assert result.total.row() == {
        "compared_calls": 2,
        "cost_usd": Decimal("0.0166"),
        "what_if_cost_usd": Decimal("0.00246"),
        "difference_usd": Decimal("-0.01414"),
        "other_tokenizer_calls": 2,
        "not_compared_calls": 4,
        "not_compared_cost_usd": Decimal("0.5286"),
    }
    assert [(each["model"], each["compared_calls"]) for each in result.rows()] == [
        ("big", 2), ("nobody's", 0),
    ]  # fmt: skip
    assert result.not_compared() == [
        {"reason": "notional", "calls": 1, "cost_usd": 0},
        {"reason": "reported", "calls": 1, "cost_usd": Decimal("0.5")},
        {"reason": "unpriced", "calls": 1, "cost_usd": 0},
        {"reason": "unpriced_meter: maps_grounding", "calls": 1, "cost_usd": Decimal("0.0286")},
    ]
    april, march = result.prices_used()
    assert (march["calls"], april["calls"]) == (1, 1)
    assert march["price_id"].startswith("models_pricing.yaml:small#")
    assert april["price_id"].endswith("@2026-04-01")


def test_groups_are_those_of_reports(booked: Client, prices: PriceBook) -> None:
    rows = run(booked, prices, "batch", "day,user").rows()

    # ada: 0.0043, and with the searches 400 x 5 + 600 x 0.5 + 100 x 20 + 2 x 0.01 = 0.0243
    assert [(each["day"], each["user"], each["what_if_cost_usd"]) for each in rows] == [
        ("2026-03-31", "ada", Decimal("0.0286")),
        ("2026-04-01", "bob", Decimal("0.004")),
    ]


def test_a_reader_sees_what_is_its_own(booked: Client, prices: PriceBook) -> None:
    result = run(booked, prices, access=Access(departments=("sales",)))

    assert (result.total.compared_calls, result.total.not_compared_calls) == (1, 0)
    none = run(booked, prices, access=Access(tenants=("elsewhere",)))
    assert (none.total.compared_calls, none.rows()) == (0, [])


def test_only_calls_of_the_scope_count(booked: Client, prices: PriceBook) -> None:
    assert run(booked, prices, user_id="bob").total.compared_calls == 1
    assert run(booked, prices, model="big").total.not_compared_calls == 3
    filters = Filters(start=NOON - DAY, end=NOON + 60 * DAY)
    every = what_if(booked, prices, filters, read("batch", prices), ["month"])
    assert [each["month"] for each in every.rows()] == ["2026-03", "2026-05", "2026-04"]
    assert every.total.compared_calls == 4


def test_too_much_and_what_makes_no_sense_is_refused(booked: Client, prices: PriceBook) -> None:
    scope, other = Filters(start=NOON - DAY, end=NOON + DAY), read("batch", prices)
    with pytest.raises(RequestError, match="4 at most in one answer, not"):
        what_if(booked, prices, scope, other, ["model"], max_calls=4)
    with pytest.raises(RequestError, match="cannot be grouped by cost_status"):
        what_if(booked, prices, scope, other, ["cost_status"])
    with pytest.raises(RequestError, match="group_by must be"):
        what_if(booked, prices, scope, other, ["colour"])
    with pytest.raises(RequestError, match="start_date and end_date are needed"):
        what_if(booked, prices, Filters(), other, ["model"])


def written(result: WhatIf, prices: PriceBook, text: str, fmt: str) -> str:
    out = io.StringIO()
    whatif.write(result, read(text, prices), fmt, out)
    return out.getvalue()


def test_the_command_writes_tables_json_and_csv(booked: Client, prices: PriceBook) -> None:
    result = run(booked, prices)

    assert written(result, prices, "small", "table") == (
        "model     calls   booked  as small  difference  not compared\n"
        "big           2  $0.0166  $0.00246   -$0.01414             3\n"
        "nobody's      0        -         -           -             1\n"
        "total         2  $0.0166  $0.00246   -$0.01414             4\n"
        "\nnot compared\n"
        "reason                          calls     cost\n"
        "notional                            1    $0.00\n"
        "reported                            1    $0.50\n"
        "unpriced                            1    $0.00\n"
        "unpriced_meter: maps_grounding      1  $0.0286\n"
        "\n2 compared calls: tokens as they were counted; small may cut text differently, which is"
        " not compared\n"
    )
    answer = json.loads(written(result, prices, "small", "json"))
    assert answer["totals"]["difference_usd"] == "-0.01414"
    assert sorted(answer) == ["as", "not_compared", "prices", "rows", "totals"]
    rows = list(csv.DictReader(io.StringIO(written(result, prices, "small", "csv"))))
    assert [each["what_if_cost_usd"] for each in rows] == ["0.00246", ""]


PERIOD = {"start_date": "2026-03-30", "end_date": "2026-04-01"}


@pytest.fixture
def api(booked: Client, prices: PriceBook) -> TestClient:
    key, token = make("admin", "sales", departments=("sales",))
    keys = Keys.of({"finance": "correct-horse"})
    keys.add(key)
    app = create_app(booked, keys, lambda: {"ready": True}, CollectorRegistry(), lambda: prices)
    browser = TestClient(app, headers={"Authorization": "Bearer correct-horse"})
    browser.cookies.clear()
    browser.headers["X-Sales"] = token
    return browser


def test_the_api_says_what_the_command_says(
    api: TestClient, booked: Client, prices: PriceBook
) -> None:
    answer = api.get("/api/admin/what_if", params={**PERIOD, "as": "small", "group_by": "model"})

    expected = json.loads(written(run(booked, prices), prices, "small", "json"))
    assert answer.json() == {"as": "small", "group_by": ["model"]} | expected
    text = api.get(
        "/api/admin/what_if",
        params={**PERIOD, "as": "small", "group_by": "model", "format": "csv"},
    ).text
    assert text.splitlines()[1] == "big,2,0.0166,0.00246,-0.01414,2,3,0.5286"


def test_a_key_of_a_department_compares_its_own_calls(api: TestClient) -> None:
    own = {"Authorization": f"Bearer {api.headers['X-Sales']}"}
    parameters = {**PERIOD, "as": "batch"}
    mine = api.get("/api/admin/what_if", params=parameters, headers=own).json()
    others = api.get(
        "/api/admin/what_if", params={**parameters, "department": "research"}, headers=own
    )

    # 400 x 5 + 100 x 20 per million, of bob's one call
    assert [(each["user"], each["what_if_cost_usd"]) for each in mine["rows"]] == [("bob", "0.004")]
    assert mine["not_compared"] == []
    assert (others.status_code, "limited" in others.text) == (400, True)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"as": "no-such-model"}, "is no model with a price"),
        ({"as": "ultra"}, "no tier (standard, batch, flex, priority, fast)"),
        ({}, "as, start_date and end_date are needed"),
        ({"as": "batch", "start_date": None}, "as, start_date and end_date are needed"),
        ({"as": "batch", "start_date": "2026-05-01"}, "start_date must be before end_date"),
        ({"as": "batch", "start_date": "2025-01-01"}, "what if covers 92 days at most"),
        ({"as": "batch", "cost_status": "priced"}, "unknown parameter 'cost_status'"),
        ({"as": "batch", "group_by": "cost_status"}, "cannot be grouped by cost_status"),
        ({"as": "x" * 2000}, "as must have 1024 characters at most"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_by_name(
    api: TestClient, parameters: dict[str, Any], sentence: str
) -> None:
    wanted = {name: value for name, value in ({**PERIOD, **parameters}).items() if value}
    answer = api.get("/api/admin/what_if", params=wanted)

    assert (answer.status_code, sentence in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--as", "batch", "--from", "2026-04-02", "--to", "2026-04-01"],
         "--from must be before --to"),
        (["--as", "batch", "--from", "yesterday"], "--from must be a date"),
        (["--as", "gpt-5-minni"], "did you mean 'gpt-5-mini'?"),
    ],
)  # fmt: skip
def test_the_command_refuses_what_makes_no_sense(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["whatif", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_the_command_reads_the_store_and_books_nothing(
    empty_store: SharedStore, booked: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "models_pricing.yaml"
    path.write_text(PRICES)
    entries = booked.query("SELECT count() FROM llm_calls").first_row
    code = main(
        ["whatif", "--as", "no-cache", "--from", "2026-03-30", "--to", "2026-04-01", "--model", "BI*",
         "--user", "ada", "--by", "user", "--format", "csv", "--prices", str(path),
         "--store", empty_store.url]
    )  # fmt: skip

    # 1,000 x 10 + 100 x 40, and the same with two uses of maps at 0.01
    assert (code, capsys.readouterr().out.splitlines()[1]) == (
        0, "ada,2,0.0372,0.048,0.0108,0,2,0.5",
    )  # fmt: skip
    assert booked.query("SELECT count() FROM llm_calls").first_row == entries
