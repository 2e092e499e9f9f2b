"""Prices that depend on conditions: factors, fees, settings, doubts; what nobody knows is no price."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from priced import ns, price
from tallyspan.conditions import CONDITIONS
from tallyspan.meters import METERS
from tallyspan.usage import Usage
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing import rates, shipped
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.check import findings
from tallyspan_collector.pricing.cost import Priced, Unpriced, UnpricedReason
from tallyspan_collector.pricing.rates import PriceFile

MILLION = Usage(10**6, 10**6)
OURS = """
prices:
  - {provider: rookery, model: crow, unit: 1M tokens, input: 2, output: 8, cache_read: 0.2, cache_write: 2.5, tools: {web_search: 0.01}}
  - {provider: rookery, model: crow, service_tier: flex, unit: 1M tokens, input: 1, output: 4}
  - {provider: rookery, model: crow, region: eu-*, unit: 1M tokens, input: 3, output: 9}
  - {provider: rookery, model: gull, days: sat-sun, unit: 1M tokens, input: 1, output: 1}
  - {provider: rookery, model: gull, days: mon-fri, hours: "22:00-06:00", unit: 1M tokens, input: 2, output: 2}
  - {provider: rookery, model: gull, days: mon-fri, hours: "06:00-22:00", unit: 1M tokens, input: 4, output: 4}
fees:
  - {provider: rookery, file_search: 0.0025, web_search: 99}
  - {provider: rookery, model: crow, cache_write_12h: 2.5 x input}
  - {provider: rookery, model: crow, fallback_credit: redeemed, cache_write: 1 x cache_read}
factors:
  - {provider: rookery, model: crow, geo: us, times: 1.1}
  - {provider: rookery, model: crow, deployment: data-zone, times: 1.2}
  - {provider: rookery, model: crow, service_tier: ultrafast, times: 6}
doubts:
  - {provider: rookery, model: crow, deployment: none, endpoint: azure.example, flag: deployment_unknown, instead: {deployment: data-zone}}
"""


def file_of(tmp_path: Path, text: str, name: str = "models_pricing.yaml") -> PriceFile:
    path = tmp_path / name
    path.write_text(text)
    return rates.load(path)


def a_book(tmp_path: Path, admin: str = "", ours: str = OURS) -> PriceBook:
    own = shipped.as_own(file_of(tmp_path, ours, "rookery.yaml"))
    file = file_of(tmp_path, admin) if admin else None
    return PriceBook(file, own=lambda _: own)


def cost(book: PriceBook, model: str = "crow", usage: Usage = MILLION, **more: Any) -> Decimal:
    found = price(book, model, usage, **{"provider": "rookery", **more})
    assert isinstance(found, Priced), found
    return Decimal(found.cost_picousd).scaleb(-12)


def reason(book: PriceBook, **more: Any) -> UnpricedReason:
    found = price(book, "crow", MILLION, **{"provider": "rookery", **more})
    assert isinstance(found, Unpriced), found
    return found.reason


@pytest.mark.parametrize(
    ("conditions", "usd"),
    [
        ({}, "10"),
        ({"geo": "global"}, "10"),
        ({"geo": "us"}, "11"),
        ({"geo": "us", "deployment": "data-zone"}, "13.2"),  # both: 10 x 1.1 x 1.2
        ({"region": "eu-central-1"}, "12"),  # a whole price of its own
        ({"region": "eu-central-1", "geo": "us"}, "13.2"),
        ({"region": "ap-south-1"}, "10"),  # no region is known to cost otherwise
    ],
)
def test_factors_multiply_and_a_whole_price_is_not_multiplied_for_its_own_condition(
    tmp_path: Path, conditions: dict[str, str], usd: str
) -> None:
    assert cost(a_book(tmp_path), conditions=conditions) == Decimal(usd)


@pytest.mark.parametrize("conditions", [{"geo": "moon"}, {"deployment": "regional"}])
def test_a_value_that_no_price_knows_is_not_priced_as_if_it_were_not_there(
    tmp_path: Path, conditions: dict[str, str]
) -> None:
    assert reason(a_book(tmp_path), conditions=conditions) is UnpricedReason.UNKNOWN_CONDITION


@pytest.mark.parametrize(("tier", "usd"), [("flex", 5), ("ultrafast", 60), ("default", 10)])
def test_a_tier_has_its_own_price_or_a_factor(tmp_path: Path, tier: str, usd: int) -> None:
    assert cost(a_book(tmp_path), service_tier=tier) == usd


def test_our_own_price_without_a_tier_is_the_standard_one(tmp_path: Path) -> None:
    assert reason(a_book(tmp_path), service_tier="priority") is UnpricedReason.UNKNOWN_TIER


def test_the_administrators_price_without_a_tier_is_for_any_and_says_so(tmp_path: Path) -> None:
    book = a_book(tmp_path, "prices:\n  - {model: crow, unit: 1M tokens, input: 1, output: 1}\n")
    found = price(book, "crow", MILLION, provider="rookery", service_tier="priority")

    assert isinstance(found, Priced)
    assert (found.cost_picousd, found.flags) == (2 * 10**12, ("tier_assumed",))


@pytest.mark.parametrize(
    ("meters", "usd"),
    [
        ({"file_search": 4}, "10.01"),
        ({"web_search": 2}, "10.02"),  # the price has one of its own: the fee of 99 does not count
        ({"cache_write_12h_tokens": 500_000}, "11.5"),  # half of the input at 5 in place of 2
    ],
)
def test_a_fee_is_for_what_the_price_has_no_meter_for(
    tmp_path: Path, meters: dict[str, float], usd: str
) -> None:
    usage = (
        replace(MILLION, cache_write_tokens=500_000)
        if "cache_write_12h_tokens" in meters
        else MILLION
    )

    assert cost(a_book(tmp_path), usage=usage, meters=meters) == Decimal(usd)


def test_a_fee_about_a_condition_takes_the_place_of_the_prices_own(tmp_path: Path) -> None:
    usage = Usage(10**6, 0, cache_write_tokens=10**6)

    assert cost(a_book(tmp_path), usage=usage) == Decimal("2.5")
    redeemed = {"fallback_credit": "redeemed"}
    assert cost(a_book(tmp_path), usage=usage, conditions=redeemed) == Decimal("0.2")


def test_an_amount_without_a_price_is_flagged(tmp_path: Path) -> None:
    found = price(
        a_book(tmp_path), "crow", MILLION, provider="rookery", meters={"maps_grounding": 1}
    )

    assert isinstance(found, Priced)
    assert found.flags == ("unpriced_meter",)


def test_what_nobody_decided_is_flagged_with_its_other_cost_until_it_is_set(tmp_path: Path) -> None:
    there = {"provider": "rookery", "endpoint_id": "azure.example"}
    found = price(a_book(tmp_path), "crow", MILLION, **there)
    setting = "conditions:\n  - {endpoint: azure.example, set: {deployment: %s}}\n"

    assert isinstance(found, Priced)
    assert found.flags == ("deployment_unknown",)
    assert (found.cost_picousd, found.other_cost_picousd) == (10 * 10**12, 12 * 10**12)
    for kind, usd in (("data-zone", 12), ("global", 10)):
        decided = price(a_book(tmp_path, setting % kind), "crow", MILLION, **there)
        assert isinstance(decided, Priced)
        assert (decided.cost_picousd, decided.flags) == (usd * 10**12, ())


def test_a_refusal_where_nobody_knows_whether_it_is_billed_is_flagged(tmp_path: Path) -> None:
    found = price(
        a_book(tmp_path),
        "crow",
        MILLION,
        provider="rookery",
        conditions={"refusal": "before_output"},
    )

    assert isinstance(found, Priced)
    assert found.flags == ("condition_assumed",)


@pytest.mark.parametrize(("times", "usd"), [(0, 0), (1, 10)])
def test_a_factor_of_the_administrators_decides_a_doubt(
    tmp_path: Path, times: int, usd: int
) -> None:
    doubt = "  - {provider: rookery, refusal: before_output, flag: refusal_unknown, instead: {refusal: free}}\n"
    free = "factors:\n  - {provider: rookery, refusal: free, times: 0}\n"
    ours = OURS.replace("factors:\n", free) + doubt
    admin = f"factors:\n  - {{provider: rookery, refusal: before_output, times: {times}}}\n"
    refused = {"provider": "rookery", "conditions": {"refusal": "before_output"}}

    open_ = price(a_book(tmp_path, ours=ours), "crow", MILLION, **refused)
    decided = price(a_book(tmp_path, admin, ours), "crow", MILLION, **refused)

    assert isinstance(open_, Priced)
    assert isinstance(decided, Priced)
    assert (open_.cost_picousd, open_.other_cost_picousd) == (10 * 10**12, 0)
    assert open_.flags == ("refusal_unknown",)
    assert (decided.cost_picousd, decided.flags) == (usd * 10**12, ())


def test_an_uplift_of_the_administrators_about_a_condition_replaces_our_factor(
    tmp_path: Path,
) -> None:
    book = a_book(tmp_path, "uplifts:\n  - {provider: rookery, geo: us, percent: 15}\n")

    assert cost(book, conditions={"geo": "us"}) == Decimal("11.5")
    assert cost(book, conditions={"deployment": "data-zone"}) == 12


@pytest.mark.parametrize(
    ("moment", "usd"),
    [
        ("2026-11-27T12:00", 8),  # a Friday
        ("2026-11-27T23:00", 4),
        ("2026-11-28T03:00", 4),  # Saturday, in the night that began on Friday
        ("2026-11-28T06:00", 2),
        ("2026-11-29T23:59", 2),
        ("2026-11-30T03:00", 8),  # Monday, 3 o'clock: the hours of Sunday's night are no price
    ],
)
def test_days_of_the_week_hold_in_utc(tmp_path: Path, moment: str, usd: int) -> None:
    if moment == "2026-11-30T03:00":
        found = price(a_book(tmp_path), "gull", MILLION, provider="rookery", at_ns=ns(moment))
        assert found == Unpriced(UnpricedReason.UNKNOWN_MODEL)
        return
    assert cost(a_book(tmp_path), "gull", at_ns=ns(moment)) == usd


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("factors:\n  - {model: a, times: 2}\n", ":2: factors.0: is about no condition"),
        ("factors:\n  - {geo: us, times: 1e3}\n", "times"),
        ("factors:\n  - {geo: us, times: 101}\n", ":2: factors.0.times: must be 0 to 100"),
        ("factors:\n  - {geo: us, times: -1}\n", ":2: factors.0.times"),
        (
            "factors:\n  - {geo: us, times: 1.1}\n  - {geo: us, times: 1.2}\n",
            "multiply the same calls",
        ),
        ("fees:\n  - {provider: a}\n", ":2: fees.0: no meter has a price here"),
        ("fees:\n  - {moon_tokens: 1}\n", ":2: unknown key 'moon_tokens'"),
        ("fees:\n  - {web_search: 2 x input}\n", ":2: fees.0.web_search: 'input' is no meter"),
        ("fees:\n  - {cache_write_12h: 2 x moon}\n", "'moon' is no meter"),
        ("prices:\n  - {model: a, tools: {moon_search: 1}}\n", ":2: unknown key 'moon_search'"),
        ("prices:\n  - {model: a, moon: us, input: 1}\n", ":2: unknown key 'moon'"),
        ("prices:\n  - {model: [], unit: 1M tokens, input: 1}\n", "got an empty list"),
        (
            "prices:\n  - {model: a, days: mon-fun, unit: 1M tokens, input: 1}\n",
            "days: must be days",
        ),
        ("conditions:\n  - {endpoint: a, set: {moon: x}}\n", ":2: unknown key 'moon'"),
        ("conditions:\n  - {endpoint: a, set: {}}\n", "must map conditions to values"),
        ("doubts:\n  - {flag: x, instead: {moon: y}}\n", ":2: unknown key 'moon'"),
        (
            "allowances:\n  - {meter: images, free: 1, every: day, group: g}\n",
            "must be one of web_search",
        ),
        (
            "allowances:\n  - {meter: web_search, free: 1, every: year, group: g}\n",
            "must be day or month",
        ),
    ],
)
def test_what_contradicts_or_does_not_exist_is_refused_by_its_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        file_of(tmp_path, text)

    assert problem in str(refused.value)


BOOK = PriceBook()
SHIPPED = sorted(shipped.FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_line_of_our_own_files_has_its_provider_day_source_and_evidence(path: Path) -> None:
    import yaml

    content = yaml.safe_load(path.read_text())
    for section in content.keys() - {"aliases", "doubts"}:
        for line in content[section]:
            assert line["provider"] == path.stem, line
            assert line["source"].startswith("https://"), line
            assert str(line["checked"]) >= "2026-11-27", line
            assert line["evidence"] in {"H", "M", "L"}, line
    assert not [each for each in findings(rates.load(path)) if "overlaps" in each]


@given(
    st.dictionaries(
        st.sampled_from([each.name for each in CONDITIONS]), st.text(max_size=9), max_size=3
    ),
    st.dictionaries(
        st.sampled_from([each.name for each in METERS]), st.floats(0, 1e15), max_size=4
    ),
    st.sampled_from(SHIPPED),
)
def test_nothing_that_a_call_can_have_breaks_its_price(
    conditions: dict[str, str], meters: dict[str, float], path: Path
) -> None:
    at_ns = int(datetime(2026, 11, 27, tzinfo=UTC).timestamp()) * 10**9
    lines = shipped.file_of(path.stem).rates
    found = BOOK.price(
        provider=path.stem, endpoint_id="", model=lines[0].match.model if lines else "any", at_ns=at_ns, usage=Usage(10, 10),
        conditions=conditions, meters=meters,
    )  # fmt: skip

    assert isinstance(found, Priced | Unpriced)


@pytest.mark.parametrize(
    ("admin", "region", "usd"),
    [
        # Where nobody has a price of the place, the standard one is right: 2 + 8.
        ("", "us-west-2", 10),
        # GovCloud and China nowhere have it.
        ("", "us-gov-west-1", None),
        ("", "cn-north-1", None),
        # An administrator knows where their price holds.
        ("prices: [{model: crow, unit: 1M tokens, input: 1, output: 1}]", "us-gov-west-1", 2),
    ],
)
def test_a_place_apart_never_has_the_standard_price(
    admin: str, region: str, usd: int | None, tmp_path: Path
) -> None:
    found = price(a_book(tmp_path, admin), "crow", MILLION, provider="rookery",
                  conditions={"region": region})  # fmt: skip

    if usd is None:
        assert isinstance(found, Unpriced)
        assert found.reason is UnpricedReason.UNKNOWN_CONDITION
    else:
        assert isinstance(found, Priced)
        assert Decimal(found.cost_picousd).scaleb(-12) == usd
