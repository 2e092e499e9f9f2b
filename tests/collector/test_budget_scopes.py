"""Budgets of tags, cost centres and each user, and days of other time zones: right values."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from call_facts import Fact, fill
from set_clock import clock_at, in_zone
from shared_store import SharedStore
from tallyspan_collector.cli import main
from tallyspan_collector.summary import budgets
from tallyspan_collector.summary.budgets import EACH, Budget

# A Wednesday, two in the afternoon.
NOW = datetime(2026, 11, 18, 14, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(client: Client) -> Iterator[Client]:
    with clock_at(client, NOW):
        yield client


@pytest.fixture(autouse=True)
def nothing(client: Client) -> None:
    for table in ("budgets", "directory"):
        client.command(f"TRUNCATE TABLE {table}")
    fill(client, [])


def set_budget(client: Client, scope: str, name: str, amount: int = 100, **more: Any) -> None:
    values: dict[str, Any] = {"period": "month", "valid_from": date(2020, 1, 1)} | more
    budgets.put(client, Budget(scope, name, amount_usd=Decimal(amount), **values))


def call(at: str, usd: float, user: str = "ada", department: str = "", **more: Any) -> Fact:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    hours = (NOW - moment).total_seconds() / 3600
    return Fact(hours, user, department, cost=Decimal(str(usd)), **more)


def spent(client: Client) -> dict[tuple[str, str], Decimal]:
    return {(row["scope"], row["name"]): row["spent_usd"] for row in budgets.status(client)}


def test_a_tag_has_a_budget_of_the_calls_with_that_value(client: Client) -> None:
    fill(
        client,
        [
            call("2026-11-02T10:00", 1, tags={"project": "apollo"}),
            call("2026-11-03T10:00", 2, tags={"project": "apollo", "team": "red"}),
            call("2026-11-04T10:00", 4, tags={"project": "gemini"}),
            call("2026-11-05T10:00", 8, tags={"team": "apollo"}),
            call("2026-11-06T10:00", 16),
            call("2026-11-07T10:00", 32, tags={"query": "a=b"}),
            call("2026-10-07T10:00", 64, tags={"project": "apollo"}),
            call("2026-09-30T23:59", 128, tags={"project": "apollo"}),
        ],
        NOW,
    )
    for tag in ("project=apollo", "team=red", "query=a=b", "project=none"):
        set_budget(client, "tag", tag)

    assert spent(client) == {
        ("tag", "project=apollo"): 3,
        ("tag", "team=red"): 2,
        ("tag", "query=a=b"): 32,
        ("tag", "project=none"): 0,
    }
    # Only the running period and the one before are read.
    assert [
        (row["period_start"], row["spent_usd"])
        for row in budgets.periods(client)
        if row["name"] == "project=apollo"
    ] == [(date(2026, 11, 1), 3), (date(2026, 10, 1), 64)]


def test_the_ledger_is_read_for_budgets_of_tags_alone(client: Client) -> None:
    fill(client, [call("2026-11-02T10:00", 1, tags={"project": "apollo"})] * 3000, NOW)

    def rows_read() -> int:
        result = client.query("SELECT scope, spent_usd, forecast_usd FROM budget_status")
        return int(result.summary["read_rows"])

    assert rows_read() < 100
    for scope, name in (("total", ""), ("user", EACH), ("agent", "x"), ("cost_centre", "1")):
        set_budget(client, scope, name)
    assert rows_read() < 300
    set_budget(client, "tag", "project=apollo")
    assert rows_read() > 3000
    assert spent(client)["tag", "project=apollo"] == 3000


def put_people(client: Client, *people: tuple[str, str, str, date, date]) -> None:
    columns = [
        "tenant",
        "user_id",
        "valid_from",
        "valid_to",
        "department",
        "cost_centre",
        "version",
    ]
    rows = [
        ("", user, first, last, department, cost_centre, 1)
        for user, department, cost_centre, first, last in people
    ]
    client.insert("directory", rows, column_names=columns)


def test_a_cost_centre_pays_for_its_users_on_the_days_they_have_it(client: Client) -> None:
    always, until = date(1970, 1, 1), date(2299, 12, 31)
    put_people(
        client,
        ("ada", "research", "4711", always, date(2026, 11, 10)),
        ("ada", "research", "4712", date(2026, 11, 11), until),
        ("bob", "sales", "4800", always, until),
        ("eve", "sales", "", always, until),
        ("kim", "support", "4900", always, until),
        ("pat", "legal", "5001", always, until),
        ("sam", "legal", "5002", always, until),
        ("old", "support", "4000", always, date(2026, 10, 31)),  # support had two until November
    )
    fill(
        client,
        [
            call("2026-11-10T23:59", 1, "ada", "research"),
            call("2026-11-11T00:01", 2, "ada", "research"),
            call("2026-11-12T10:00", 4, "bob", "sales"),
            call("2026-11-12T10:00", 8, "eve", "sales"),  # all of sales who have one have 4800
            call("2026-11-12T10:00", 16, "robot", "support"),
            call("2026-11-12T10:00", 32, "robot", "legal"),  # legal has two
            call("2026-11-12T10:00", 64, "ada", "legal"),  # paid by another department than ada's
        ],
        NOW,
    )
    for name in ("4711", "4712", "4800", "4900"):
        set_budget(client, "cost_centre", name)

    assert {name: usd for (_, name), usd in spent(client).items()} == {
        "4711": 1,
        "4712": 2,
        "4800": 12,
        "4900": 16,
    }


def test_each_user_has_a_budget_and_an_own_one_of_the_period_comes_before_it(
    client: Client,
) -> None:
    fill(
        client,
        [
            call("2026-11-02T10:00", 45, "ada"),
            call("2026-11-02T10:00", 45, "bob"),
            call("2026-10-02T10:00", 7, "eve"),
            call("2026-11-02T10:00", 9, ""),
        ],
        NOW,
    )
    set_budget(client, "user", EACH, 50)
    set_budget(client, "user", "bob", 90)
    set_budget(client, "user", "ada", 900, period="year")

    rows = {(row["name"], row["period"]): row for row in budgets.status(client)}
    assert {
        key: (row["amount_usd"], row["spent_usd"], row["state"], bool(row["is_each"]))
        for key, row in rows.items()
    } == {
        ("ada", "month"): (50, 45, "warning", True),
        ("bob", "month"): (90, 45, "ok", False),
        ("ada", "year"): (900, 45, "ok", False),
    }
    october = [row for row in budgets.periods(client) if row["period_start"] == date(2026, 10, 1)]
    assert {(row["name"], row["spent_usd"], bool(row["is_each"])) for row in october} == {
        ("eve", 7, True),
        ("bob", 0, False),
    }


def test_an_own_budget_that_ended_leaves_the_user_to_that_of_each(client: Client) -> None:
    fill(client, [call("2026-11-02T10:00", 45, "bob")], NOW)
    set_budget(client, "user", EACH, 50)
    set_budget(client, "user", "bob", 90, valid_to=date(2026, 11, 18))

    (row,) = budgets.status(client)
    assert (row["name"], row["amount_usd"], bool(row["is_each"])) == ("bob", 50, True)


EVERY = {
    "total": "", "department": "research", "user": "ada", "agent": "tutor", "model": "gpt-5",
    "endpoint": "api.openai.com", "tag": "project=apollo", "cost_centre": "4711",
}  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        # The last hours of October and of Tuesday in UTC are Berlin's next days.
        ("Europe/Berlin", {"month": 2 + 4 + 8 + 16, "16": 4, "17": 8, "18": 16}),
        ("UTC", {"month": 4 + 8 + 16, "16": 4 + 8, "17": 0, "18": 16}),
        # At 23:30 UTC it is the same day in New York still.
        ("America/New_York", {"month": 4 + 8 + 16, "16": 4 + 8, "17": 0, "18": 16}),
        # 18:30 UTC is midnight in India: an hour of UTC counts on the day it begins on.
        ("Asia/Kolkata", {"month": 2 + 4 + 8 + 16, "16": 4, "17": 8, "18": 16}),
    ],
)
def test_days_and_months_are_those_of_the_organisations_zone(
    client: Client, zone: str, expected: dict[str, int]
) -> None:
    put_people(client, ("ada", "research", "4711", date(1970, 1, 1), date(2299, 12, 31)))
    common: dict[str, Any] = {"agent": "tutor", "tags": {"project": "apollo"}}
    fill(
        client,
        [
            call("2026-10-31T23:30", 2, "ada", "research", **common),
            call("2026-11-16T10:00", 4, "ada", "research", **common),
            call("2026-11-16T23:30", 8, "ada", "research", **common),
            call("2026-11-18T10:00", 16, "ada", "research", **common),
        ],
        NOW,
    )
    for scope, name in EVERY.items():
        set_budget(client, scope, name)
    with in_zone(client, zone):
        assert spent(client) == dict.fromkeys(EVERY.items(), expected["month"])
        rows = client.query(
            "SELECT scope, day, spent_usd FROM budgeted_days WHERE day >= '2026-11-16'"
        ).result_rows
    days = {(scope, str(day.day)): usd for scope, day, usd in rows}
    for scope in EVERY:
        of_scope = {day: days.get((scope, day), 0) for day in ("16", "17", "18")}
        assert of_scope == {day: expected[day] for day in of_scope}, scope


def test_the_half_hour_at_midnight_in_india_counts_on_the_day_before_but_for_tags(
    client: Client,
) -> None:
    fill(client, [call("2026-10-31T18:45", 2, "ada", tags={"project": "apollo"})], NOW)
    set_budget(client, "user", "ada")
    set_budget(client, "tag", "project=apollo")
    with in_zone(client, "Asia/Kolkata"):
        assert spent(client) == {("user", "ada"): 0, ("tag", "project=apollo"): 2}


def test_in_the_zone_the_period_and_the_rest_of_today_are_others(client: Client) -> None:
    fill(client, [call(f"2026-11-{day:02}T12:00", 24) for day in range(2, 18)], NOW)
    set_budget(client, "total", "", 1000)
    # It is Wednesday 23:00 in Tokyo: an hour of the day is left, at a dollar; 12 days follow.
    (row,) = _status(client, "Asia/Tokyo")
    assert (row["forecast_usd"], row["days_left"]) == (16 * 24 + 1 + 12 * 24, 12)
    # Seven hours into the day in Denver.
    (row,) = _status(client, "America/Denver")
    assert row["forecast_usd"] == 16 * 24 + 17 + 12 * 24
    assert row["used_up_on"] is None


def _status(client: Client, zone: str) -> list[dict[str, Any]]:
    with in_zone(client, zone):
        return budgets.status(client)


def test_it_is_used_up_on_the_first_day_the_forecast_reaches_the_amount(client: Client) -> None:
    fill(client, [call(f"2026-11-{day:02}T12:00", 24) for day in range(2, 18)], NOW)
    for amount, used_up in (
        (16 * 24 + 10, date(2026, 11, 18)),  # ten hours are left today, at a dollar each
        (16 * 24 + 11, date(2026, 11, 19)),
        (16 * 24 + 10 + 24, date(2026, 11, 19)),
        (16 * 24 + 10 + 12 * 24, None),
    ):
        set_budget(client, "total", "", amount, warn_percent=100)
        (row,) = budgets.status(client)
        assert (row["used_up_on"], row["state"]) == (used_up, "forecast over" if used_up else "ok")


def test_the_band_has_the_scatter_of_days_and_of_the_mean_of_each_weekday(client: Client) -> None:
    # Four weeks: each weekday twice 10 and twice 20, weeks alternate in each of their days.
    facts = [
        call(f"2026-{month}-{day:02}T12:00", 10 if week % 2 else 20)
        for week, days in enumerate(
            [
                [(10, day) for day in range(21, 28)],
                [(10, 28), (10, 29), (10, 30), (10, 31), (11, 1), (11, 2), (11, 3)],
                [(11, day) for day in range(4, 11)],
                [(11, day) for day in range(11, 18)],
            ]
        )
        for month, day in days
    ]
    fill(client, facts, NOW)
    set_budget(client, "total", "", 1000)
    (row,) = budgets.status(client)

    # Days scatter by 5 around 15: 28 * 25 / 21; 12 days and ten hours are to come.
    ahead = 12 + 10 / 24
    scatter = 28 * 25 / 21
    # Wednesday's rest of today and 25th; Thursday to Monday twice (26th ... 30th), Tuesday once.
    counts = [10 / 24 + 1, 2, 2, 2, 2, 2, 1]
    of_means = sum(count**2 / 4 for count in counts)
    # Weeks are 70 or 140: their variance, less what days of such scatter make of it.
    of_weeks = 4 * 35**2 / 3 - 7 * scatter
    band = 1.323 * (scatter * (ahead + of_means) + of_weeks * (ahead / 7) ** 2 * 1.25) ** 0.5
    spent_usd, forecast = float(row["spent_usd"]), float(row["forecast_usd"])
    assert forecast == pytest.approx(spent_usd + 15 * ahead)
    assert float(row["forecast_high_usd"]) == pytest.approx(forecast + band)
    assert float(row["forecast_low_usd"]) == pytest.approx(max(spent_usd, forecast - band))


@pytest.fixture
def command(store: SharedStore, client: Client, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--data-dir", str(store.data_dir)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_command_makes_budgets_of_tags_cost_centres_and_each_user(
    client: Client, command: Any
) -> None:
    fill(client, [call("2026-11-02T10:00", 45, tags={"project": "apollo"})], NOW)
    from_then = ("--amount", "50", "--from", "2026-01-01")

    code, out, err = command("budgets", "set", "--user", "*", *from_then)
    assert (code, err) == (0, "budget of each user, month: $50.00 from 2026-01-01\n")
    assert "user ada, month (of each user)" in out
    _, out, _ = command("budgets", "set", "--tag", "project=apollo", *from_then)
    assert "tag project=apollo, month" in out
    _, _, err = command("budgets", "set", "--cost-centre", "4711", *from_then)
    assert err.startswith("budget of cost centre 4711, month: $50.00")
    assert "3 of 3 budgets" not in command("budgets", "check", "--fail-at", "warning")[2]
    assert "each user, month" in command("budgets", "list", "--all")[1]
    command("budgets", "remove", "--user", "*", "--on", "2026-11-18")
    assert [row["scope"] for row in budgets.status(client)] == ["tag", "cost_centre"]


def test_a_budget_is_of_one(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command("budgets", "set", "--user", "ada", "--user", "bob", "--amount", "1")

    assert "--user is there twice: a budget is of one" in capsys.readouterr().err


def test_a_setting_is_set_all_or_none_and_a_wrong_zone_is_told_by_name(
    client: Client, command: Any
) -> None:
    code, out, _ = command("settings", "time_zone=Asia/Tokyo")
    assert (code, "Asia/Tokyo" in out) == (0, True)
    for wrong, sentence in (
        ("time_zone=Europe/Berln", "not 'Europe/Berln'; did you mean 'Europe/Berlin'?"),
        ("time_zone=", "must be the IANA name of a time zone"),
        ("time_zon=UTC", "no setting is called 'time_zon'; did you mean 'time_zone'?"),
        ("UTC", "'UTC': must be NAME=VALUE, for example time_zone=Europe/Berlin"),
    ):
        code, _, err = command("settings", "time_zone=UTC", wrong)
        assert (code, sentence in err) == (2, True), err
    assert "Asia/Tokyo" in command("settings")[1]
    command("settings", "time_zone=UTC")
