"""What an entry costs, and whom."""

from typing import Any

import pytest

from priced import ns
from tallyspan.usage import Usage
from tallyspan_clickhouse.schema import COLUMNS
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ledger import entry
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read.call import Call, Flag, columns_of

USED = Usage(1000, 100)
BOOK = PriceBook.load()


def cost(usage: Usage = USED, **fields: Any) -> Cost:
    ids = "a" * 32, "b" * 16, ""
    call = Call(*ids, ns("2026-06-01"), 0, "openai", "chat", "gpt-5-mini", usage=usage, **fields)
    (found,) = entry.costs([call], BOOK, Directory())
    return found


@pytest.mark.parametrize("status", [301, 307, 400, 429, 500, 503])
def test_a_request_that_was_sent_on_or_refused_costs_nothing(status: int) -> None:
    found = cost(Usage(), http_status=status)

    assert (found.cost_status, found.cost_picousd) == ("not_billed", 0)


@pytest.mark.parametrize("status", [0, 200, 429])
def test_what_the_providers_answer_counts_is_priced_whatever_the_status(status: int) -> None:
    assert cost(http_status=status, usage_source="provider").cost_status == "priced"


def test_an_answer_without_usage_is_not_free() -> None:
    found = cost(Usage(), http_status=200)

    assert (found.cost_picousd, found.unpriced_reason) == (None, "unknown_usage")


def test_what_the_provider_says_it_billed_is_the_cost() -> None:
    found = cost(reported_cost_picousd=77)

    assert (found.cost_picousd, found.cost_status, found.price_source) == (
        77, "reported", "provider",
    )  # fmt: skip


def test_a_reported_cost_far_below_the_price_is_the_cost_and_flagged() -> None:
    """A sender can report its own bill at nothing; what the price says stands beside it."""
    price = cost().cost_picousd
    assert price

    assert cost(reported_cost_picousd=price // 10 + 1).price_flags == ()
    for reported in (0, price // 11):
        found = cost(reported_cost_picousd=reported, http_status=200)
        assert (found.cost_picousd, found.cost_status) == (reported, "reported")
        assert found.price_flags == ("reported_far_below_price",)
        assert found.other_cost_picousd == price


def test_a_gateways_cache_costs_nothing_and_is_flagged_where_the_call_states_usage() -> None:
    """A sender can call any call so; what it would have cost stands beside it."""
    price = cost().cost_picousd
    assert price

    hit = cost(is_cache_hit=True)
    assert (hit.cost_picousd, hit.cost_status) == (0, "not_billed")
    assert (hit.price_flags, hit.other_cost_picousd) == (("cache_hit_with_usage",), price)
    assert cost(Usage(), is_cache_hit=True).price_flags == ()


def test_counts_that_nothing_explains_have_no_price_unless_the_provider_billed_them() -> None:
    flags = (Flag.PROVIDER_INFERRED, Flag.TOTAL_MISMATCH)
    found = cost(quality_flags=flags)
    billed = cost(quality_flags=flags, reported_cost_picousd=77)

    assert (found.cost_picousd, found.unpriced_reason) == (None, "total_mismatch")
    assert (billed.cost_picousd, billed.cost_status) == (77, "reported")


def test_a_reversal_takes_back_what_was_booked_from_whom_it_was_booked() -> None:
    booked = cost(key_department="Support")
    taken = booked.reversed()

    assert [(a or 0) + (b or 0) for a, b in zip(booked[:3], taken[:3], strict=True)] == [0, 0, 0]
    assert (taken.department, taken.department_source) == ("Support", "key")


def test_every_column_of_the_ledger_is_filled_or_has_a_default() -> None:
    call = Call("a" * 32, "b" * 16, "", ns("2026-06-01"), 0, "openai", "chat", "gpt-5-mini")
    filled = entry.columns(columns_of([call]), [Cost()], 1, 0)

    missing = [each.name for each in COLUMNS if each.name not in filled and not each.default]
    assert not missing, f"say in ledger/entry.py or read/call.py where they come from: {missing}"
    assert not filled.keys() - {each.name for each in COLUMNS}
