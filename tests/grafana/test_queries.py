"""Every query of the dashboards, interpolated as Grafana does, run in the engine, adding up."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import cycle, islice
from statistics import median
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.query import QueryResult

from call_facts import FACTS, NASTY, NASTY_FACTS, Fact, fill, spend
from grafana_macros import interpolate
from grafana_pages import ONE, SINGLE, key, pages, queries, run, run_variable
from set_clock import clock_at
from tallyspan_clickhouse.query.binding import Grafana
from tallyspan_collector.summary.budgets import Budget, put

NOW = datetime.now(UTC).replace(microsecond=0)
DATA = {"empty": [], "full": FACTS + NASTY_FACTS}


@pytest.fixture(scope="module")
def client(client: Client) -> Client:
    for scope, name in (("total", ""), ("user", "ada"), *(("user", name) for name in NASTY)):
        put(client, a_budget(scope, name, 10))
    return client


def a_budget(scope: str, name: str, amount: int) -> Budget:
    return Budget(scope, name, "month", date(2020, 1, 1), Decimal(amount))


def put_budgets(client: Client, budgets: list[Budget]) -> None:
    client.command("TRUNCATE TABLE budgets")
    for each in budgets:
        put(client, each)


@pytest.fixture
def seeded(client: Client) -> Client:
    fill(client, FACTS, NOW)
    return client


class Asked:
    """Answers of the pages' queries over one kind of data; the same query is asked once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._answers: dict[tuple[str, str], QueryResult] = {}
        self.ledger = ""

    def ask(self, data: str, sql: str, days: float, chosen: dict[str, list[str]]) -> QueryResult:
        text = interpolate(sql, NOW - timedelta(days=days), NOW, chosen)
        if (data, text) not in self._answers:
            if data != self.ledger:
                fill(self._client, DATA[data], NOW)
                self.ledger = data
            self._answers[data, text] = self._client.query(text)
        return self._answers[data, text]


@pytest.fixture(scope="module")
def answers(client: Client) -> Asked:
    return Asked(client)


@pytest.fixture
def asked(answers: Asked) -> Asked:
    answers.ledger = ""  # the test before may have filled it with something else
    return answers


ADA = {variable: [key("ada")] for variable in ONE}


# Every range and either kind of data; whether there are rows does not depend on the range.
@pytest.mark.parametrize(("data", "days"), [("full", 0.25), ("empty", 30), ("full", 90)])
def test_every_query_runs_for_every_range_choice_and_data(
    asked: Asked, data: str, days: float
) -> None:
    many = [key(text) for text in ("ada", *NASTY)]
    choices: list[dict[str, list[str]]] = [dict.fromkeys(("user", "department", "model"), many)]
    if data == "full":
        choices.append({})
    if days == 90:
        choices.append(ADA)
    # A key is hexadecimal, so every name makes the same SQL: each query gets two names of the round.
    names = cycle(("ada", "c1", "", *NASTY))
    for title, sql in queries():
        two = [{variable: [key(text)] for variable in ONE} for text in islice(names, 2)]
        for chosen in (two if days < 1 else [ADA]) if title.startswith(SINGLE) else choices:
            asked.ask(data, sql, days, chosen)


@pytest.mark.parametrize(("data", "days"), [("empty", 30), ("full", 90)])
def test_a_figure_is_one_row_and_what_goes_over_time_comes_in_order(
    asked: Asked, data: str, days: float
) -> None:
    for name, page in pages().items():
        for panel in page["panels"]:
            chosen = ADA if name in SINGLE else {}
            rows = list(
                asked.ask(data, panel["targets"][0]["rawSql"], days, chosen).named_results()
            )
            if panel["type"] in {"stat", "bargauge"}:
                assert len(rows) <= 1, panel["title"]
                assert panel["type"] == "bargauge" or all(len(row) == 1 for row in rows)
            if panel["type"] == "timeseries":
                times = [row["time"] for row in rows]
                assert times == sorted(times)
                assert not rows or next(iter(rows[0])) == "time"


def test_column_types_are_those_the_plugin_can_show(asked: Asked) -> None:
    shown = ("String", "Decimal", "Float64", "Int", "UInt", "DateTime", "Nullable")
    for title, sql in queries():
        answer = asked.ask("full", sql, 90, ADA)
        for column, kind in zip(answer.column_names, answer.column_types, strict=True):
            # The days are hidden, no panel looks at them.
            name = kind.name.removeprefix("LowCardinality(")  # the plugin sees through it
            assert name.startswith(shown) or column == "days", (title, column, kind.name)


def test_every_column_of_a_table_is_described_and_there(client: Client) -> None:
    for name, page in pages().items():
        for panel in page["panels"]:
            if panel["type"] == "table":
                named = [each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]]
                chosen = {variable: [key("ada")] for variable in ONE} if name in SINGLE else {}
                sql = interpolate(panel["targets"][0]["rawSql"], NOW, NOW, chosen)
                described = client.query(f"DESCRIBE TABLE ({sql})").result_rows
                assert [row[0] for row in described] == named, panel["title"]


def test_the_total_is_the_same_by_whatever_it_is_split(seeded: Client) -> None:
    total = spend(FACTS)

    assert run(seeded, "overview", "Spend") == [{"spend": total}]
    for page, title in [
        ("overview", "Top users"),
        ("overview", "Top models"),
        ("overview", "Spend by department"),
        ("overview", "Spend per day, by model"),
        ("users", "All users"),
        ("users", "Spend per day, by user"),
        ("departments", "All departments"),
        ("departments", "Departments and models"),
        ("departments", "Spend per day, by department"),
        ("agents", "All agents"),
        ("agents", "Services"),
        ("agents", "Operations"),
        ("models", "All models"),
        ("models", "Endpoints"),
        ("prices", "Prices that were used"),
        ("prices", "How calls were priced"),
    ]:
        assert sum(row["spend"] or 0 for row in run(seeded, page, title)) == total, title


def test_the_calls_are_the_same_by_whatever_they_are_split(seeded: Client) -> None:
    for page, title in [
        ("overview", "Calls"),
        ("overview", "Top users"),
        ("users", "All users"),
        ("departments", "All departments"),
        ("agents", "All agents"),
        ("models", "All models"),
        ("prices", "How calls were priced"),
        ("health", "Calls per hour, by service"),
        ("health", "Services and what their calls lack"),
    ]:
        rows = run(seeded, page, title)
        assert sum(row["calls"] for row in rows) == len(FACTS), title


def test_spend_by_day_and_model_is_what_the_facts_say(seeded: Client) -> None:
    expected: defaultdict[tuple[datetime, str], Decimal] = defaultdict(Decimal)
    for fact in FACTS:
        day = (NOW - timedelta(hours=fact.hours_ago)).replace(hour=0, minute=0, second=0)
        if fact.cost is not None:
            expected[day, fact.model] += fact.cost

    rows = run(seeded, "overview", "Spend per day, by model")
    assert {(row["time"], row["model"]): row["spend"] for row in rows} == dict(expected)


def test_kinds_of_tokens_add_up_to_all_tokens(seeded: Client) -> None:
    rows = run(seeded, "models", "Tokens per day, by kind")

    counted = sum(value for row in rows for name, value in row.items() if name != "time")
    assert counted == sum(fact.tokens for fact in FACTS)
    assert run(seeded, "overview", "Tokens") == [{"tokens": counted}]


def test_a_user_is_compared_with_a_range_of_the_same_length_before(seeded: Client) -> None:
    (bob,) = [row for row in run(seeded, "users", "All users", days=2) if row["name"] == "bob"]
    assert (bob["spend"], bob["before"], bob["unpriced"]) == (None, Decimal("0.000001"), 1)
    (sales,) = [
        row
        for row in run(seeded, "departments", "All departments", days=20)
        if row["name"] == "sales"
    ]
    assert sales["before"] == Decimal(7)
    assert sales["change"] == pytest.approx((3.500001 - 7) / 7)


def test_the_figures_of_a_user_are_those_of_its_calls(seeded: Client) -> None:
    facts = [fact for fact in FACTS if fact.user == "ada"]
    inputs = sum(fact.input_tokens or 0 for fact in facts)

    def figure(title: str) -> Any:
        (row,) = run(seeded, "user", title, user=["ada"])
        return next(iter(row.values()))

    assert figure("User") == "ada"
    assert figure("Department") == "research"
    assert figure("Spend of the user") == spend(facts)
    assert figure("Calls of the user") == len(facts)
    assert figure("Conversations") == 3
    assert figure("From cache") == pytest.approx(1300 / inputs)
    rows = run(seeded, "user", "Conversations of the user", user=["ada"])
    assert [(row["name"], row["spend"]) for row in rows] == [
        ("c3", Decimal("12.5")),
        ("c1", Decimal(2)),
        ("c2", Decimal("0.5")),
    ]


def test_a_conversation_shows_its_calls_in_order(seeded: Client) -> None:
    rows = run(seeded, "conversation", "Calls in order", conversation=["c1"])

    assert [(row["input"], row["cached"], row["cost"]) for row in rows] == [
        (1200, 900, Decimal("0.75")),
        (1000, 400, Decimal("1.25")),
    ]
    assert run(seeded, "conversation", "Spend of the conversation", conversation=["c1"]) == [
        {"spend": Decimal(2)}
    ]
    assert run(seeded, "conversation", "Lasted", conversation=["c1"]) == [{"lasted": 1800}]


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("overview", "Calls"),
        ("overview", "Without provider usage"),
        ("models", "All models"),
        ("prices", "How calls were priced"),
        ("agents", "Operations"),
        ("health", "Calls per hour, by service"),
        ("health", "Services and what their calls lack"),
    ],
)
def test_a_chosen_user_has_the_calls_of_the_range_and_no_others(
    client: Client, page: str, title: str
) -> None:
    at = (10, 30, 70, 100, 400)
    fill(client, [Fact(hours, "ada", "r", usage_source="estimated") for hours in at], NOW)
    counts = []
    for days in (1, 3, 30):
        rows = run(client, page, title, days, user=["ada"])
        counts.append(sum(row["not_stated" if "not_stated" in row else "calls"] for row in rows))

    assert counts == [1, 3, 5]


def test_what_has_no_price_is_no_zero(seeded: Client) -> None:
    (row,) = [
        row for row in run(seeded, "overview", "Top models") if row["name"] == "unknown-model"
    ]
    assert row["spend"] is None
    assert run(seeded, "overview", "Unpriced calls") == [{"unpriced": 1}]
    assert run(seeded, "overview", "Spend", model=["unknown-model"]) == [{"spend": None}]
    (missing,) = run(seeded, "prices", "Models without a price")
    assert (missing["name"], missing["reason"], missing["tokens"]) == (
        "unknown-model",
        "unknown_model",
        710,
    )


def test_a_nasty_name_can_be_chosen_like_any_other(client: Client) -> None:
    fill(client, NASTY_FACTS, NOW)
    for name in NASTY:
        assert run(client, "overview", "Spend", user=[name]) == [{"spend": Decimal(1)}]
        assert run(client, "user", "User", user=[name]) == [{"name": name}]
        assert run(client, "conversation", "Conversation", conversation=[name]) == [{"name": name}]


def test_nobody_can_be_chosen_too(seeded: Client) -> None:
    assert run(seeded, "overview", "Calls", user=[""]) == [
        {"calls": sum(fact.user == "" for fact in FACTS)}
    ]


def test_ten_series_are_drawn_and_the_others_together(client: Client) -> None:
    fill(client, [Fact(1, f"user {n}", cost=Decimal(n + 1)) for n in range(15)], NOW)
    rows = run(client, "users", "Spend per day, by user")

    shown = {row["user"]: row["spend"] for row in rows}
    assert len(shown) == 11
    assert shown["(all others)"] == Decimal(1 + 2 + 3 + 4 + 5)


# Wednesday, 18 November 2026, six in the evening: a quarter of the day is left, and 12 days.
EVENING = datetime(2026, 11, 18, 18, tzinfo=UTC)


def test_the_forecast_is_that_of_the_budget_of_all_calls(client: Client) -> None:
    at_noon = EVENING.replace(hour=12) - timedelta(days=28)
    facts = [
        Fact(
            6 + 24 * (28 - n), cost=Decimal(2 if (at_noon + timedelta(days=n)).weekday() < 5 else 1)
        )
        for n in range(29)
    ]
    fill(client, facts, EVENING)
    put_budgets(client, [a_budget("total", "", 1000)])
    with clock_at(client, EVENING):
        (row,) = run(client, "overview", "Forecast of this month")
        (month, *_) = run(client, "overview", "So far, against the same days before")
        (budget,) = run(client, "budgets", "All budgets")

    # 13 weekdays and 5 days of weekends so far; half a dollar of today; then 8 weekdays and 4 others.
    assert row["forecast"] == Decimal(13 * 2 + 5) + Decimal("0.5") + 8 * 2 + 4
    assert month["forecast"] == row["forecast"]
    assert (month["low"], month["high"]) == (row["forecast"], row["forecast"])  # no day differs
    assert budget["forecast"] == row["forecast"]


def test_of_fewer_than_three_days_nothing_is_forecast(client: Client) -> None:
    fill(client, [Fact(1, cost=Decimal(5))], NOW)

    assert run(client, "overview", "Forecast of this month") == [{"forecast": None}]


def test_an_unusual_day_is_one_far_above_the_median_of_the_days_before(client: Client) -> None:
    now = datetime.now(UTC)
    yesterday = now.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    hours = (now - yesterday).total_seconds() / 3600
    usual = [Decimal(10 + n % 3) for n in range(28)]
    facts = [Fact(hours + 24 * (n + 1), "ada", cost=cost) for n, cost in enumerate(usual)]
    facts += [Fact(hours + 24 * (n + 1), "bob", cost=cost) for n, cost in enumerate(usual)]
    facts += [Fact(hours, "ada", cost=Decimal(100)), Fact(hours, "bob", cost=Decimal(12))]
    facts += [Fact(hours, "eve", cost=Decimal("0.99"))]
    fill(client, facts, now)

    (row,) = run(client, "overview", "Unusual yesterday")
    assert (row["user"], row["spend"]) == ("ada", Decimal(100))
    assert row["usual"] == median(usual)


def hours_before(moment: datetime, text: str) -> float:
    at = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return (moment - at).total_seconds() / 3600


def test_periods_so_far_are_compared_with_the_same_days_before(client: Client) -> None:
    amounts = {
        "2026-11-01T00:00:01": 30, "2026-11-18T17:59": 6,  # this month: 36
        "2026-10-01T00:00:01": 20, "2026-10-18T17:59": 4,  # the same days before: 24
        "2026-10-18T18:01": 500, "2026-10-31T23:59": 700,  # the rest of that month
        "2026-07-01T00:00:01": 1, "2026-08-18T17:59": 2, "2026-08-18T18:01": 900,
        "2025-01-01T00:00:01": 8, "2025-11-18T17:59": 8, "2025-11-18T18:01": 5000,
        "2024-12-31T23:59:59": 9000,
    }  # fmt: skip
    fill(
        client,
        [Fact(hours_before(EVENING, at), cost=Decimal(usd)) for at, usd in amounts.items()],
        EVENING,
    )
    with clock_at(client, EVENING):
        rows = run(client, "overview", "So far, against the same days before")
        assert run(client, "overview", "Against last month") == [{"change": 0.5}]

    assert [
        (row["period"], row["since"], row["so_far"], row["then"], row["more"], row["days"])
        for row in rows
    ] == [
        ("month", "2026-11-01", Decimal(36), Decimal(24), Decimal(12), "2026-10-01 to 2026-10-18"),
        ("quarter", "2026-10-01", Decimal(1260), Decimal(3), Decimal(1257),
         "2026-07-01 to 2026-08-18"),
        ("year", "2026-01-01", Decimal(2163), Decimal(16), Decimal(2147),
         "2025-01-01 to 2025-11-18"),
    ]  # fmt: skip


def test_in_another_zone_a_month_begins_and_is_compared_there(client: Client) -> None:
    amounts = {
        "2026-10-31T23:30": 3, "2026-10-31T22:30": 50,  # Berlin's 1st of November, 31 October
        "2026-09-30T22:30": 2, "2026-09-30T21:30": 70,  # in summer time
        "2026-10-18T16:59": 1, "2026-10-18T17:01": 90,  # seven in the evening there and then
    }  # fmt: skip
    fill(
        client,
        [Fact(hours_before(EVENING, at), cost=Decimal(usd)) for at, usd in amounts.items()],
        EVENING,
    )
    with clock_at(client, EVENING, "Europe/Berlin"):
        (month, *_) = run(client, "overview", "So far, against the same days before")

    assert (month["so_far"], month["then"]) == (Decimal(3), Decimal(3))


def test_a_whole_month_is_compared_with_the_whole_month_before(client: Client) -> None:
    amounts = {"2026-10-01T00:00:01": 10, "2026-10-31T23:59": 2, "2026-09-01T00:00:01": 5,
               "2026-09-30T23:59": 3, "2026-08-31T23:59": 100}  # fmt: skip
    fill(
        client,
        [
            Fact(hours_before(EVENING, at), "ada", "x", cost=Decimal(usd))
            for at, usd in amounts.items()
        ],
        EVENING,
    )
    (panel,) = [p for p in pages()["departments"]["panels"] if p["title"] == "All departments"]
    sql = interpolate(
        panel["targets"][0]["rawSql"],
        datetime(2026, 10, 1, tzinfo=UTC),
        datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC),
    )
    (row,) = client.query(sql).named_results()

    assert (row["spend"], row["before"], row["change"]) == (Decimal(12), Decimal(8), 0.5)


def test_a_month_that_runs_is_compared_to_this_moment_whatever_its_range_says(
    client: Client,
) -> None:
    amounts = {"2026-11-02T00:00:01": 10, "2026-10-02T00:00:01": 5, "2026-10-20T00:00:01": 100}
    fill(
        client,
        [
            Fact(hours_before(EVENING, at), "ada", "x", cost=Decimal(usd))
            for at, usd in amounts.items()
        ],
        EVENING,
    )
    (panel,) = [p for p in pages()["users"]["panels"] if p["title"] == "All users"]
    sql = interpolate(
        panel["targets"][0]["rawSql"],
        datetime(2026, 11, 1, tzinfo=UTC),
        datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC),
    )
    with clock_at(client, EVENING):
        (row,) = client.query(sql).named_results()

    assert (row["spend"], row["before"], row["change"]) == (Decimal(10), Decimal(5), 1)


def test_a_day_is_the_zones_own_also_when_clocks_change(client: Client) -> None:
    from tallyspan_grafana.sql import common

    autumn = datetime(2026, 10, 25, 12, tzinfo=UTC)  # Berlin's day of 25 hours
    at = [datetime(2026, 10, 24, 21, 59, tzinfo=UTC), datetime(2026, 10, 24, 22, 1, tzinfo=UTC),
          datetime(2026, 10, 25, 22, 59, tzinfo=UTC), datetime(2026, 10, 25, 23, 1, tzinfo=UTC)]  # fmt: skip
    facts = [Fact((autumn - moment).total_seconds() / 3600, cost=Decimal(1)) for moment in at]
    fill(client, facts, autumn)
    sql = common.per_day("model", "Europe/Berlin")(Grafana())
    rows = client.query(
        interpolate(sql, autumn - timedelta(days=5), autumn + timedelta(days=5))
    ).result_rows

    assert [(moment.astimezone(UTC).isoformat(), amount) for moment, _, amount in rows] == [
        ("2026-10-23T22:00:00+00:00", Decimal(1)),
        ("2026-10-24T22:00:00+00:00", Decimal(2)),
        ("2026-10-25T23:00:00+00:00", Decimal(1)),
    ]


def test_the_page_of_budgets_says_what_the_facts_add_up_to(seeded: Client) -> None:
    month = NOW.replace(day=1, hour=0, minute=0, second=0)
    sales = [fact for fact in FACTS if fact.department == "sales"]
    now_spent = spend([f for f in sales if NOW - timedelta(hours=f.hours_ago) >= month])
    of_sales = a_budget("department", "sales", 5)
    put_budgets(seeded, [of_sales, a_budget("total", "", 1000)])

    rows = {row["name"]: row for row in run(seeded, "budgets", "All budgets")}
    assert list(rows) == ["sales", "(all calls)"]
    assert (rows["sales"]["spent"], rows["sales"]["rest"]) == (now_spent, 5 - now_spent)
    assert run(seeded, "budgets", "Nearly used up") == [{"budgets": 0}]
    (used,) = run(seeded, "budgets", "Used of the budget of all calls")
    assert used["total_used"] == pytest.approx(float(rows["(all calls)"]["spent"]) / 1000)


def test_a_budget_that_is_over_is_used_up_already(client: Client) -> None:
    fill(client, [Fact(0, "ada", "sales", cost=Decimal(6))], NOW)
    put_budgets(client, [a_budget("department", "sales", 5), a_budget("total", "", 1000)])
    rows = {row["name"]: row["used_up"] for row in run(client, "budgets", "All budgets")}

    assert rows == {"sales": "already", "(all calls)": ""}


def test_a_budget_is_used_up_day_by_day_until_what_is_spent(seeded: Client) -> None:
    put_budgets(seeded, [a_budget("department", "sales", 5)])
    (status,) = run(seeded, "budgets", "All budgets")
    (chosen,) = run_variable(seeded, "budgets", "budget")
    rows = run(seeded, "budgets", "How it is used up", budget=["department sales, month"])

    assert chosen["key"] == status["key"] == key("department sales, month")
    until_today = [row for row in rows if row["spent"] is not None]
    assert until_today[-1]["spent"] == status["spent"]
    assert [row["spent"] for row in until_today] == sorted(row["spent"] for row in until_today)
    assert len(until_today) == NOW.day
    assert rows[-1]["even pace"] == pytest.approx(5)
    assert {row["budget"] for row in rows} == {5.0}
