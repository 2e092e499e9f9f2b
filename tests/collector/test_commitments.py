"""Commitments of the price file: what a day costs, whose it is, and what the file refuses."""

import json
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from priced import ns
from tallyspan.usage import Usage
from tallyspan_collector.booked.shares import apportion
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.ledger import entry
from tallyspan_collector.ledger.covered import covered
from tallyspan_collector.pricing import rates
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.check import findings
from tallyspan_collector.pricing.commitments import days_between
from tallyspan_collector.pricing.rates import PriceFile
from tallyspan_collector.pricing.schema import schema
from tallyspan_collector.read.call import Call

PTU = "{name: ptu, kind: provisioned, endpoint: ptu.example.com, price: 2, per: hour, units: 50, from: 2026-03-10}"
SEATS = "{name: team, kind: plan, provider: anthropic, price: 30, per: month, units: 7, from: 2026-03-01}"


def file_of(tmp_path: Path, *entries: str, more: str = "") -> PriceFile:
    path = tmp_path / "models_pricing.yaml"
    path.write_text("commitments:\n" + "".join(f"  - {each}\n" for each in entries) + more)
    return rates.load(path)


def refusal(tmp_path: Path, *entries: str, more: str = "") -> str:
    with pytest.raises(ConfigError) as error:
        file_of(tmp_path, *entries, more=more)
    return str(error.value).partition("models_pricing.yaml")[2]


def month(file: PriceFile, first: date, last: date) -> list[int]:
    return [
        sum(each.cost_picousd(day, file) for each in file.commitments)
        for day in days_between(first, last)
    ]


MARCH = (date(2026, 3, 1), date(2026, 3, 31))


def test_hours_are_those_in_which_it_holds(tmp_path: Path) -> None:
    file = file_of(tmp_path, PTU.replace("2026-03-10", '"2026-03-10T18:30:00Z", to: "2026-03-12"'))

    # 5.5 hours of the 10th and 24 of the 11th, 50 units at 2 USD
    costs = month(file, date(2026, 3, 9), date(2026, 3, 12))
    assert costs == [0, 550 * 10**12, 2400 * 10**12, 0]


def test_days_of_a_month_add_up_to_it(tmp_path: Path) -> None:
    costs = month(file_of(tmp_path, SEATS), *MARCH)

    # 7 x 30 USD over 31 days: 6.774193548387096774... a day
    assert sum(costs) == 210 * 10**12
    assert {*costs} == {6_774_193_548_387, 6_774_193_548_388 - 1, 6_774_193_548_388}


def test_a_month_that_it_holds_in_part_costs_that_part(tmp_path: Path) -> None:
    costs = month(file_of(tmp_path, SEATS.replace("03-01", "03-17")), *MARCH)

    assert costs[:16] == [0] * 16
    assert sum(costs) == 210 * 10**12 * 15 // 31


def test_another_currency_is_converted_at_the_rate_of_each_day(tmp_path: Path) -> None:
    currencies = (
        "currencies:\n  EUR: [{from: 2026-01-01, usd: 1.10}, {from: 2026-03-02, usd: 1.20}]\n"
    )
    file = file_of(
        tmp_path,
        "{name: a, kind: provisioned, provider: p, price: 10, per: day, currency: EUR, from: 2026-03-01}",
        more=currencies,
    )

    assert month(file, date(2026, 3, 1), date(2026, 3, 3)) == [
        11 * 10**12,
        12 * 10**12,
        12 * 10**12,
    ]


def test_a_minimum_is_due_when_its_month_ends(tmp_path: Path) -> None:
    file = file_of(
        tmp_path,
        "{name: least, kind: minimum, provider: p, price: 1000, per: month, from: 2026-02-10}",
    )
    [least] = file.commitments

    assert [least.least_picousd(day, file) for day in (date(2026, 1, 31), date(2026, 2, 28))] == [
        0, 1000 * 10**12,
    ]  # fmt: skip
    assert least.least_picousd(date(2026, 3, 30), file) == 0


@given(
    st.integers(0, 10**18),
    st.dictionaries(
        st.tuples(st.text(max_size=3)), st.fractions(0, 10**6), min_size=1, max_size=20
    ).filter(lambda weights: any(weights.values())),
)
def test_parts_add_up_and_none_is_further_from_its_due_than_one(
    amount: int, weights: dict[tuple[str, ...], Fraction]
) -> None:
    parts = apportion(amount, weights)
    total = sum(weights.values())

    assert sum(parts.values()) == amount
    assert all(abs(parts[key] - amount * weights[key] / total) < 1 for key in parts)
    assert all(parts[key] >= 0 for key in parts)


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ([PTU.replace("hour", "week")], ":2: commitments.0.per: must be one of hour, day, month; got 'week'"),
        ([PTU.replace("provisioned", "prepaid")], ":2: commitments.0.kind: must be one of provisioned, plan, minimum"),
        ([PTU.replace("endpoint: ptu.example.com, ", "")], ":2: commitments.0: is for all calls there are"),
        ([PTU.replace("units: 50", "units: 0")], ":2: commitments.0.units: must be a whole number of units"),
        ([PTU.replace("price: 2", "price: -2")], ":2: commitments.0.price: must be a number"),
        ([PTU.replace(", from: 2026-03-10", "")], ":2: commitments.0: 'from' is missing"),
        ([PTU.replace("units", "seats")], ":2: unknown key 'seats'"),
        ([PTU.replace("units: 50", "spread: seats")], ":2: commitments.0.spread: must be one of tokens, list cost, none"),
        ([PTU.replace("units: 50", "capacity: {input: 0}")], ":2: commitments.0.capacity.input: must be a whole"),
        ([PTU.replace("units: 50", "currency: EUR")], ":2: commitments.0.currency: 'EUR' has no rate on 2026-03-10"),
        ([SEATS.replace("units: 7", "capacity: {input: 5}")], ":2: commitments.0.capacity: is of provisioned"),
        ([SEATS.replace("plan", "minimum").replace("month", "day")], ":2: commitments.0.per: a minimum is of a month"),
        ([PTU, SEATS.replace("team", "ptu")], "line 3 and line 2 are both named 'ptu' and are of"),
        ([PTU, PTU], "line 3 and line 2 are both named 'ptu' and hold at the same time"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_line(
    tmp_path: Path, entries: list[str], line: str
) -> None:
    assert line in refusal(tmp_path, *entries)


def test_a_pause_is_complained_of(tmp_path: Path) -> None:
    later = PTU.replace("2026-03-10", "2026-05-01")
    file = file_of(tmp_path, PTU.replace("from", "to: 2026-04-01, from"), later)

    [finding] = findings(file)
    assert finding.endswith(
        ":3: the commitment 'ptu' does not hold from 2026-04-01 to 2026-05-01: line 2 ends before"
        " this one begins"
    )


def test_the_schema_has_the_section() -> None:
    section = schema()["properties"]["commitments"]["items"]

    assert section["required"] == ["name", "kind", "price", "per", "from"]
    assert (
        json.dumps(section["properties"]["kind"]) == '{"enum": ["provisioned", "plan", "minimum"]}'
    )


def a_call(at: str = "2026-03-10", endpoint: str = "ptu.example.com", **more: Any) -> Call:
    call = Call("1" * 32, "2" * 16, "", ns(at), ns(at), "openai", "chat", "gpt-5-mini",
                endpoint_id=endpoint, usage=Usage(1000, 100))  # fmt: skip
    return call._replace(**more)


def test_calls_that_capacity_pays_for_keep_their_list_price_and_are_not_billed(
    tmp_path: Path,
) -> None:
    book = PriceBook(file_of(tmp_path, PTU))
    calls = covered(
        [
            a_call(),
            a_call("2026-03-09"),
            a_call(endpoint="api.openai.com"),
            a_call(is_notional=True),
        ],
        book,
    )

    assert [(call.is_notional, dict(call.conditions)) for call in calls] == [
        (True, {"commitment": "ptu"}), (False, {}), (False, {}), (True, {}),
    ]  # fmt: skip
    # 1,000 x 0.25 + 100 x 2.00, by the million
    assert entry.costs(calls, book, Directory())[0].cost_picousd == 450_000_000


def test_what_a_sender_says_of_it_counts_for_nothing(tmp_path: Path) -> None:
    claim = a_call(endpoint="api.openai.com", conditions={"commitment": "ptu", "geo": "us"})
    for book in (PriceBook(), PriceBook(file_of(tmp_path, PTU))):
        [call] = covered([claim], book)

        assert (call.is_notional, dict(call.conditions)) == (False, {"geo": "us"})


def test_the_line_that_fits_best_pays(tmp_path: Path) -> None:
    book = PriceBook(
        file_of(
            tmp_path,
            PTU,
            PTU.replace("name: ptu", "name: mini").replace(
                "price", "model: [gpt-5-mini, o3], price"
            ),
        )
    )
    calls = covered([a_call(), a_call(request_model="gpt-5")], book)

    assert [call.conditions["commitment"] for call in calls] == ["mini", "ptu"]


def test_days_between_has_both_ends() -> None:
    day = datetime(2026, 2, 27, tzinfo=UTC).date()

    assert [*days_between(day, day + timedelta(days=2))][-1] == date(2026, 3, 1)
