"""Budgets: what the views say of them against facts added up in Python; command and API."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from call_facts import NASTY, NASTY_FACTS, Fact, a_busy_time, fill
from grafana_pages import run
from set_clock import clock_at
from shared_store import SharedStore
from tallyspan_collector.access.keys import Key, Keys, digest
from tallyspan_collector.api import create_app
from tallyspan_collector.cli import main
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.summary import budgets
from tallyspan_collector.summary.budgets import Budget

NOW = datetime.now(UTC)
TODAY = NOW.date()
MONTH = TODAY.replace(day=1)
LONG_AGO = date(2020, 1, 1)


@pytest.fixture(scope="module")
def client(client: Client) -> Iterator[Client]:
    with clock_at(client, NOW):
        yield client


@pytest.fixture(autouse=True)
def no_budgets(client: Client) -> None:
    client.command("TRUNCATE TABLE budgets")
    fill(client, [])


def budget(scope: str = "total", name: str = "", amount: str = "100", **more: Any) -> Budget:
    said: dict[str, Any] = {"period": "month", "valid_from": LONG_AGO} | more
    return Budget(scope, name, amount_usd=Decimal(amount), **said)


def at(day: date) -> float:
    """How many hours ago noon of the day was, never in the future."""
    noon = datetime.combine(day, time(12), UTC)
    return max((NOW - noon).total_seconds() / 3600, 0.001)


def day_of(fact: Fact) -> date:
    return (NOW - timedelta(hours=fact.hours_ago)).date()


def period_start(period: str, day: date = TODAY) -> date:
    months = {"month": 1, "quarter": 3, "year": 12}[period]
    return day.replace(month=(day.month - 1) // months * months + 1, day=1)


def spent(facts: list[Fact], since: date, until: date = TODAY) -> Decimal:
    return sum(
        (fact.cost or Decimal(0) for fact in facts if since <= day_of(fact) <= until), Decimal(0)
    )


OF: dict[str, Callable[[Fact], str]] = {
    "total": lambda fact: "",
    "department": lambda fact: fact.department,
    "user": lambda fact: fact.user,
    "agent": lambda fact: fact.agent,
    "model": lambda fact: fact.model,
    "endpoint": lambda fact: "api.openai.com",
}


@pytest.mark.parametrize("period", budgets.PERIODS)
def test_what_is_spent_against_a_budget_is_the_sum_of_its_calls(
    client: Client, period: str
) -> None:
    facts = a_busy_time(days=100, calls_a_day=20)
    fill(client, facts, NOW)
    names = {"total": "", "department": "research", "user": "linus.t", "agent": "tutor",
             "model": "gpt-5", "endpoint": "api.openai.com"}  # fmt: skip
    for scope, name in names.items():
        budgets.put(client, budget(scope, name, period=period))

    found = {(row["scope"], row["name"]): row for row in budgets.status(client)}
    assert set(found) == set(names.items())
    for (scope, name), row in found.items():
        its = [fact for fact in facts if OF[scope](fact) == name]
        assert row["period_start"] == period_start(period)
        assert row["spent_usd"] == spent(its, row["period_start"]), scope
        assert row["unpriced_calls"] == sum(
            fact.cost_status == "unpriced" and day_of(fact) >= row["period_start"] for fact in its
        )


def forecast(facts: list[Fact], end: date) -> Decimal:
    """The mean of each weekday in the last 28 days, for the rest of today and each day to `end`."""
    first = min(day_of(fact) for fact in facts)
    known = [TODAY - timedelta(days=n) for n in range(1, 29) if TODAY - timedelta(days=n) >= first]
    by_day = {day: spent(facts, day, day) for day in known}
    total = Decimal(0)
    day = TODAY
    hours_left = 24 - Decimal((NOW - datetime.combine(TODAY, time(), UTC)).seconds) / 3600
    while day < end:
        same = [by_day[each] for each in known if each.weekday() == day.weekday()]
        pool = same if len(known) >= 7 else list(by_day.values())
        part = hours_left / 24 if day == TODAY else 1
        total += part * sum(pool, Decimal(0)) / len(pool)
        day += timedelta(days=1)
    return total


@pytest.mark.parametrize("days", [4, 12, 60])
@pytest.mark.parametrize("period", budgets.PERIODS)
def test_the_forecast_is_what_is_spent_and_the_weekday_mean_of_what_is_left_of_today_and_after(
    client: Client, days: int, period: str
) -> None:
    facts = [
        Fact(at(TODAY - timedelta(days=n)), "ada", cost=Decimal(1 + n % 5)) for n in range(days)
    ]
    fill(client, facts, NOW)
    budgets.put(client, budget(period=period))

    (row,) = budgets.status(client)
    expected = spent(facts, period_start(period)) + forecast(facts, row["period_end"])
    assert row["forecast_usd"] == pytest.approx(expected, abs=Decimal("0.0001"))
    assert row["forecast_used"] == pytest.approx(float(expected) / 100)
    assert row["forecast_low_usd"] <= row["forecast_usd"] <= row["forecast_high_usd"]
    assert row["forecast_low_usd"] >= row["spent_usd"]
    assert row["days_left"] == (row["period_end"] - TODAY).days - 1
    if period == "month":
        (same,) = run(client, "overview", "Forecast of this month")
        assert same["forecast"] == pytest.approx(row["forecast_usd"], abs=Decimal("0.0001"))


def test_of_fewer_than_three_days_there_is_no_forecast(client: Client) -> None:
    fill(client, [Fact(0.01, cost=Decimal(3))], NOW)
    budgets.put(client, budget(amount="4"))

    (row,) = budgets.status(client)
    assert (row["forecast_usd"], row["forecast_high_usd"], row["used_up_on"]) == (None, None, None)
    assert (row["spent_usd"], row["left_usd"], row["state"]) == (Decimal(3), Decimal(1), "ok")


@pytest.mark.parametrize(
    ("amount", "state"),
    [("10", "over"), ("10.01", "warning"), ("12.50", "warning"), ("12.51", "ok")],
)
def test_a_budget_is_a_warning_at_its_first_threshold_and_over_at_its_second(
    client: Client, amount: str, state: str
) -> None:
    fill(client, [Fact(0.01, cost=Decimal(10))], NOW)
    budgets.put(client, budget(amount=amount))

    (row,) = budgets.status(client)
    assert row["state"] == state


def test_thresholds_may_be_the_budgets_own(client: Client) -> None:
    fill(client, [Fact(0.01, "ada", cost=Decimal(10))], NOW)
    budgets.put(client, budget(amount="20", warn_percent=50))
    budgets.put(client, budget("user", "ada", "9", critical_percent=120))

    assert [row["state"] for row in budgets.status(client)] == ["warning", "warning"]


def test_a_changed_budget_counts_from_its_first_day_and_the_past_keeps_its_own(
    client: Client,
) -> None:
    before = MONTH - timedelta(days=1)
    facts = [Fact(at(before), cost=Decimal(30)), Fact(0.01, cost=Decimal(5))]
    fill(client, facts, NOW)
    budgets.put(client, budget(amount="40"))
    budgets.put(client, budget(amount="10", valid_from=MONTH))

    rows = [row for row in budgets.periods(client) if row["period_start"] >= before.replace(day=1)]
    assert [(row["amount_usd"], row["spent_usd"], row["used"]) for row in rows] == [
        (Decimal(10), Decimal(5), 0.5),
        (Decimal(40), Decimal(30), 0.75),
    ]
    assert [row["is_current"] for row in rows] == [True, False]
    assert len(budgets.periods(client)) == 13


def test_a_removed_budget_holds_no_more_and_its_past_stays(client: Client) -> None:
    budgets.put(client, budget())
    budgets.put(client, budget(amount="200", valid_from=TODAY + timedelta(days=40)))
    ended = budgets.end(client, "total", "", "month", TODAY)

    assert [each.is_withdrawn for each in ended] == [False, True]
    assert budgets.status(client) == []
    assert len(budgets.periods(client)) == 12
    with pytest.raises(ConfigError, match="no budget of total, month holds on"):
        budgets.end(client, "total", "", "month", TODAY)


def test_a_budget_set_and_removed_on_one_day_was_never_there(client: Client) -> None:
    budgets.put(client, budget(valid_from=TODAY))
    budgets.end(client, "total", "", "month", TODAY)

    assert budgets.stored(client) == []
    assert budgets.periods(client) == []


def test_names_of_strangers_have_budgets_like_any_other(client: Client) -> None:
    fill(client, NASTY_FACTS, NOW)
    for name in NASTY:
        budgets.put(client, budget("user", name, "2", period="year"))

    rows = budgets.status(client)
    in_year = {fact.user for fact in NASTY_FACTS if day_of(fact) >= period_start("year")}
    assert {row["name"] for row in rows if row["used"] == 0.5} == in_year


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": "0"}, {"amount": "-1"}, {"amount": "NaN"}, {"amount": "1e12"},
        {"amount": "0.0000001"}, {"scope": "team", "name": "x"}, {"scope": "user"},
        {"name": "x"}, {"period": "week"}, {"warn_percent": 0}, {"warn_percent": 101},
        {"critical_percent": 1001}, {"valid_to": LONG_AGO},
    ],
    ids=str,
)  # fmt: skip
def test_what_can_be_no_budget_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        budget(**wrong)


@pytest.fixture
def spending(client: Client) -> None:
    facts = [Fact(0.01, "ada", "research", cost=Decimal(90))]
    facts += [Fact(at(TODAY - timedelta(days=n)), "bob", cost=Decimal(1)) for n in range(1, 29)]
    fill(client, facts, NOW)


@pytest.fixture
def command(store: SharedStore, client: Client, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["budgets", *arguments, "--data-dir", str(store.data_dir)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_command_makes_lists_checks_and_removes_a_budget(command: Any, spending: None) -> None:
    of = ("--department", "research")
    code, out, err = command("set", *of, "--amount", "100", "--owner", "ada@example.com")
    assert (code, "$100.00" in out, "90.0%" in out, "warning" in out) == (0, True, True, True)
    assert "budget of department research, month: $100.00" in err
    assert command("check")[0] == 0
    assert command("check", "--fail-at", "warning")[0] == 1

    code, out, err = command("set", *of, "--amount", "50")
    assert "it was $100.00" in err
    code, out, err = command("check")
    assert (code, "180.0%" in out, "over" in out) == (1, True, True)
    assert "1 of 1 budgets: over or worse" in err
    (listed,) = json.loads(command("list", "--format", "json")[1])
    assert (listed["name"], listed["spent_usd"], listed["state"]) == ("research", "90", "over")
    assert command("list", "--format", "csv")[1].startswith("scope,name,period,")
    assert "department research" in command("list", "--history")[1]

    assert "is withdrawn" in command("remove", *of)[2]
    assert "there is no budget" in command("list", "--all")[2]
    assert command("check", "--fail-at", "warning")[0] == 0


def test_a_budget_of_what_no_call_names_is_taken_with_a_warning(
    command: Any, spending: None
) -> None:
    warns = {
        name: "no call in the ledger is of" in command("set", *of, "--amount", "1")[2]
        for name, of in {
            "there": ("--department", "research"), "all": ("--total",),
            "mistyped": ("--department", "reserach"),
        }.items()
    }  # fmt: skip
    for of in (("--department", "research"), ("--total",), ("--department", "reserach")):
        command("remove", *of)

    assert warns == {"there": False, "all": False, "mistyped": True}


def test_a_dry_run_shows_this_period_and_those_before_and_changes_nothing(
    command: Any, spending: None
) -> None:
    code, out, _ = command("set", "--user", "ada", "--amount", "60", "--dry-run")

    lines = out.splitlines()
    assert (code, len(lines)) == (0, 5)
    assert str(MONTH) in lines[1]
    assert "150.0%" in lines[1]
    assert all("0.0%" in line for line in lines[2:])
    assert "there is no budget" in command("list")[2]


def test_thresholds_are_shown_and_set_all_or_none(command: Any) -> None:
    code, out, _ = command("thresholds", "no_data_minutes=120", "spike_floor_usd=2.5")
    assert code == 0
    shown = {line.split()[0]: line.split()[1] for line in out.splitlines()}
    assert (shown["no_data_minutes"], shown["spike_floor_usd"]) == ("120", "2.5")

    code, _, err = command("thresholds", "no_data_minutes=5", "no_date_minutes=5")
    assert (code, "did you mean 'no_data_minutes'?" in err) == (2, True)
    assert "120" in command("thresholds")[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["set", "--total", "--amount", "much"], "--amount 'much': must be USD"),
        (["set", "--total", "--amount", "0"], "the amount must be above 0 USD"),
        (["set", "--total", "--amount", "1", "--warn", "x"], "--warn 'x': must be a whole number"),
        (["set", "--total", "--amount", "1", "--from", "now"], "--from 'now': must be a date"),
        (["set", "--user", "", "--amount", "1"], "--user: name one"),
        (["set", "--tag", "apollo", "--amount", "1"], "a budget of a tag is of KEY=VALUE"),
        (["set", "--tag", "=apollo", "--amount", "1"], "a budget of a tag is of KEY=VALUE"),
        (["set", "--model", "*", "--amount", "1"], "only users have a budget for each"),
        (["set", "--cost-centre", "1", "--amount", "1", "--dry-run"], "none names --cost-centre 1"),
        (["remove", "--user", "nobody"], "no budget of user nobody"),
        (["thresholds", "x"], "'x': must be NAME=VALUE"),
        (["thresholds", "no_data_minutes=-1"], "must be a number from 0 on"),
        (["thresholds", "no_data_minutes=nan"], "must be a number from 0 on"),
    ],
)
def test_a_wrong_command_is_one_sentence(command: Any, arguments: list[str], sentence: str) -> None:
    code, out, err = command(*arguments)

    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert sentence in err


def test_the_api_has_the_same_figures_and_a_limited_key_sees_its_own(client: Client) -> None:
    fill(client, [Fact(0.01, "ada", "research", cost=Decimal(8))], NOW)
    for each in (budget(amount="9"), budget("department", "research", "10"),
                 budget("department", "sales", "10"), budget("user", "ada", "10")):  # fmt: skip
        budgets.put(client, each)
    keys = Keys(
        [
            Key("a", "admin", "a", digest(b"tsa_all")),
            Key("b", "admin", "b", digest(b"tsa_own"), departments=("research",)),
        ]
    )
    api = TestClient(create_app(client, keys, lambda: {"ready": True}, CollectorRegistry()))

    def ask(path: str, key: str) -> list[dict[str, Any]]:
        answer = api.get(f"/api/admin/{path}", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["budgets"]
        return rows

    everything = ask("budgets", "tsa_all")
    assert [(row["scope"], row["spent_usd"], row["state"]) for row in everything] == [
        ("total", "8", "warning"),
        ("department", "8", "warning"),
        ("user", "8", "warning"),
        ("department", "0", "ok"),
    ]
    assert [row["name"] for row in ask("budgets", "tsa_own")] == ["research"]
    assert {row["name"] for row in ask("budgets/history", "tsa_own")} == {"research"}
    wrong = api.get("/api/admin/budgets?x=1", headers={"Authorization": "Bearer tsa_all"})
    assert (wrong.status_code, "unknown parameter 'x'" in wrong.json()["error"]) == (400, True)
