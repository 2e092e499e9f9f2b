"""Alert rules: in shape for Grafana, and each fires when facts in Python say so and else does not."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from statistics import median_high
from typing import Any

import pytest
import yaml
from clickhouse_connect.driver.client import Client

from call_facts import NASTY, NASTY_FACTS, Fact, fill
from grafana_pages import pages
from set_clock import clock_at
from tallyspan_clickhouse.schema import READABLE_VIEWS
from tallyspan_collector.bills.billed import Charge
from tallyspan_collector.reconcile.compare import Line
from tallyspan_collector.reconcile.outcome import Outcome
from tallyspan_collector.summary import budgets
from tallyspan_collector.summary.budgets import Budget
from tallyspan_grafana import alerting
from tallyspan_grafana.__main__ import PROVISIONING, main, provisioned
from tallyspan_grafana.alerting import CHANNELS, RECEIVER, RULES

NOW = datetime.now(UTC)
TODAY = NOW.date()
LONG_AGO = date(2020, 1, 1)
BY_UID = {rule.uid.removeprefix("tallyspan-"): rule for rule in RULES}
GROUPS = yaml.safe_load((PROVISIONING / "alerting/rules.yaml").read_text())["groups"]
WRITTEN = [rule for group in GROUPS for rule in group["rules"]]


@pytest.fixture
def client(client: Client) -> Client:
    for table in ("budgets", "collector_metrics", "reconciliation_lines"):
        client.command(f"TRUNCATE TABLE {table}")
    fill(client, [])
    return client


def ask(client: Client, uid: str) -> list[tuple[Any, ...]]:
    """The instances Grafana makes of the answer: labels and the figure, where it is above 0."""
    sql = BY_UID[uid].sql
    kinds = [row[1] for row in client.query(f"DESCRIBE TABLE ({sql})").result_rows]
    numeric = [place for place, kind in enumerate(kinds) if kind.startswith(("Float", "Nullable"))]
    assert numeric == [len(kinds) - 1], "one figure, the last column"
    assert all(re.fullmatch(r"(LowCardinality\()?String\)?", kind) for kind in kinds[:-1])
    rows = [tuple(row) for row in client.query(sql).result_rows]
    labels = [row[:-1] for row in rows]
    assert len(set(labels)) == len(labels), "labels tell the instances apart"
    return [row for row in rows if row[-1] > 0]


def hours(at: datetime) -> float:
    return (datetime.now(UTC) - at).total_seconds() / 3600


def noon(days_ago: int) -> datetime:
    return datetime.combine(TODAY - timedelta(days=days_ago), time(12), UTC)


def test_the_committed_files_are_what_the_generator_makes() -> None:
    for name, text in provisioned().items():
        assert (PROVISIONING / name).read_text() == text, "run `make dashboards`"
    written = {each.name for each in (PROVISIONING / "contact_points").iterdir()}
    assert written == {f"{channel}.yaml" for channel in CHANNELS}


def test_a_changed_rule_is_found_and_named(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], tmp_path, tmp_path, tmp_path) == 0
    (tmp_path / "alerting/rules.yaml").write_text("groups: []")

    assert main(["--check"], tmp_path, tmp_path, tmp_path) == 1
    assert "rules.yaml is not what the generator makes" in capsys.readouterr().err


@pytest.mark.parametrize("rule", WRITTEN, ids=lambda rule: rule["uid"])
def test_a_rule_has_what_grafana_needs(rule: dict[str, Any]) -> None:
    question, condition = rule["data"]
    dashboard = pages()[rule["dashboardUid"].removeprefix("tallyspan-")]

    assert re.fullmatch(r"[a-z-]{1,40}", rule["uid"])
    assert rule["condition"] == condition["refId"] == "B"
    assert condition["model"]["expression"] == question["refId"] == "A"
    assert condition["datasourceUid"] == "__expr__"
    assert question["model"]["format"] == 1
    assert question["datasourceUid"] == question["model"]["datasource"]["uid"] == "tallyspan"
    assert rule["execErrState"] == "Error"
    assert rule["noDataState"] == ("Alerting" if rule["uid"] == "tallyspan-no-data" else "OK")
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["panelId"] in {panel["id"] for panel in dashboard["panels"]}
    assert rule["notification_settings"]["receiver"] == RECEIVER
    assert {"alertname", "grafana_folder"} <= set(rule["notification_settings"]["group_by"])


def test_rules_have_names_of_their_own_and_groups_an_interval_pending_times_fit() -> None:
    assert len({rule["uid"] for rule in WRITTEN}) == len(WRITTEN)
    assert len({rule["title"] for rule in WRITTEN}) == len(WRITTEN)
    assert [group["interval"] for group in GROUPS] == ["5m", "1m"]


@pytest.mark.parametrize("rule", WRITTEN, ids=lambda rule: rule["uid"])
def test_a_rule_reads_what_the_reader_may_and_leaves_nothing_to_be_replaced(
    rule: dict[str, Any],
) -> None:
    sql = rule["data"][0]["model"]["rawSql"]

    views = {each.removeprefix("tallyspan.") for each in re.findall(r"tallyspan\.\w+", sql)}
    assert views
    assert views <= set(READABLE_VIEWS)
    assert "$" not in sql


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.uid)
def test_a_message_names_labels_that_the_question_has(client: Client, rule: Any) -> None:
    columns = client.query(f"DESCRIBE TABLE ({rule.sql})").result_rows
    labels = {row[0] for row in columns[:-1]}

    assert set(re.findall(r"\$labels\.(\w+)", rule.summary + rule.description)) == labels
    assert "$values.A.Value" in rule.summary


@pytest.mark.parametrize("channel", CHANNELS)
def test_where_it_goes_is_in_the_environment_and_in_no_file(channel: str) -> None:
    (point,) = yaml.safe_load(alerting.contact_point(channel))["contactPoints"]
    (receiver,) = point["receivers"]

    assert (point["name"], receiver["type"]) == (RECEIVER, channel)
    assert "$TALLYSPAN_ALERT_TO" in receiver["settings"].values()


@pytest.mark.parametrize("uid", BY_UID)
def test_without_a_call_or_a_budget_nothing_fires(client: Client, uid: str) -> None:
    assert ask(client, uid) == []


@pytest.mark.parametrize("uid", BY_UID)
def test_names_of_strangers_harm_no_rule(client: Client, uid: str) -> None:
    fill(client, NASTY_FACTS)
    for name in NASTY:
        budgets.put(client, Budget("user", name, "year", LONG_AGO, Decimal(1)))
    fired = ask(client, uid)

    assert uid != "budget-over" or {row[1] for row in fired} <= set(NASTY)


@pytest.mark.parametrize(
    ("spent", "fires"),
    [("7.99", ""), ("8", "budget-warning"), ("9.99", "budget-warning"), ("10", "budget-over"),
     ("25", "budget-over")],
)  # fmt: skip
def test_a_budget_fires_at_80_and_at_100_percent_one_at_a_time(
    client: Client, spent: str, fires: str
) -> None:
    fill(client, [Fact(0.001, "ada", "research", cost=Decimal(spent))])
    budgets.put(client, Budget("department", "research", "month", LONG_AGO, Decimal(10)))
    budgets.put(client, Budget("user", "bob", "month", LONG_AGO, Decimal(10)))

    for uid in ("budget-warning", "budget-over"):
        expected = [("department", "research", "month", pytest.approx(float(spent) * 10))]
        assert ask(client, uid) == (expected if uid == fires else [])


def test_thresholds_of_a_budget_are_its_own(client: Client) -> None:
    fill(client, [Fact(0.001, cost=Decimal(6))])
    budgets.put(client, Budget("total", "", "month", LONG_AGO, Decimal(10), warn_percent=50))

    assert ask(client, "budget-warning") == [("total", "(all calls)", "month", pytest.approx(60))]


@pytest.mark.parametrize(("share", "fires"), [(Decimal("0.9"), True), (Decimal("1.1"), False)])
def test_a_forecast_over_the_budget_fires_before_the_budget_does(
    client: Client, share: Decimal, fires: bool
) -> None:
    fill(client, [Fact(hours(noon(n)), cost=Decimal(4)) for n in range(1, 29)])
    year = TODAY.replace(month=1, day=1)
    so_far = sum(4 for n in range(1, 29) if TODAY - timedelta(days=n) >= year)
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    days_left = (
        (date(TODAY.year, 12, 31) - TODAY).days + 1 - Decimal((NOW - midnight).seconds) / 86400
    )
    amount = share * (so_far + 4 * days_left)
    budgets.put(client, Budget("total", "", "year", LONG_AGO, round(amount, 6), warn_percent=100))

    is_over = so_far >= amount
    expected = [("total", "(all calls)", "year", pytest.approx(float(100 / share), rel=1e-4))]
    with clock_at(client, NOW):
        rows = ask(client, "budget-forecast")
    assert rows == (expected if fires and not is_over else [])


@pytest.mark.parametrize(("uid", "who"), [("spike-user", "ada"), ("spike-model", "gpt-5")])
@pytest.mark.parametrize("days_ago", [0, 1])
def test_a_day_far_above_the_28_before_is_a_spike_today_or_yesterday(
    client: Client, uid: str, who: str, days_ago: int
) -> None:
    usual = [Decimal(20 + n % 4) for n in range(28)]
    middle = median_high(usual)
    deviation = 1.4826 * float(median_high(abs(each - middle) for each in usual))
    bound = float(middle) + 3 * deviation
    at = noon(1) if days_ago else datetime.now(UTC) - timedelta(seconds=1)
    before = [Fact(hours(noon(n + days_ago + 1)), "ada", cost=cost) for n, cost in enumerate(usual)]
    for cost, fires in ((bound + 0.01, True), (bound - 0.01, False)):
        amount = round(Decimal(cost), 6)
        fill(client, [*before, Fact(hours(at), "ada", cost=amount)])

        day = str(TODAY - timedelta(days=days_ago))
        assert [row for row in ask(client, uid) if row[1] == day] == (
            [(who, day, pytest.approx(float(amount)))] if fires else []
        )


def test_below_the_floor_nothing_is_a_spike_and_the_floor_can_be_moved(client: Client) -> None:
    fill(client, [Fact(0.001, "ada", cost=Decimal("4.99"))])
    assert ask(client, "spike-user") == []

    budgets.set_thresholds(client, [("spike_floor_usd", 4.0)])
    assert ask(client, "spike-user") == [("ada", str(TODAY), pytest.approx(4.99))]
    budgets.set_thresholds(client, [("spike_floor_usd", 5.0)])


def test_a_bill_that_differs_fires_once_its_days_are_whole(client: Client) -> None:
    def billed(name: str, days_ago: int, recorded: int, billed: int, usd: str) -> None:
        line = Line(
            TODAY - timedelta(days=days_ago), "gpt-4.1", recorded_tokens=recorded,
            recorded_cost_usd=Decimal(1), billed_tokens=billed, billed_cost_usd=Decimal(usd),
        )  # fmt: skip
        # What a credit takes off the bill is no drift.
        credit = replace(
            line, model="credit", recorded_tokens=0, recorded_cost_usd=Decimal(0),
            billed_tokens=None, billed_cost_usd=Decimal("-0.5"), charge=Charge.CREDIT,
        )  # fmt: skip
        Outcome(name, "API", "UTC", 0.01, [line, credit], line.day, line.day).store(client)

    billed("tokens", 3, 900, 1000, "1")
    billed("costs", 3, 1000, 1000, "0.8")
    billed("equal", 3, 1000, 1000, "1.01")
    billed("too early", 1, 500, 1000, "1")
    billed("long ago", 9, 500, 1000, "1")

    fired = ask(client, "bill-drift")

    assert [(name, round(percent, 6)) for name, percent in fired] == [("costs", 25), ("tokens", 10)]
    budgets.set_thresholds(client, [("bill_drift_percent", 11.0)])
    assert [name for name, _ in ask(client, "bill-drift")] == ["costs"]
    budgets.set_thresholds(client, [("bill_drift_percent", 2.0)])


def test_unpriced_calls_fire_by_model_for_a_day(client: Client) -> None:
    facts = [Fact(ago, "ada", model=model, cost_status="unpriced")
             for ago, model in ((1, "new"), (2, "new"), (3, ""), (30, "old"))]  # fmt: skip
    fill(client, [*facts, Fact(1, cost=Decimal(1))])
    fired = [("openai", "(nobody said)", 1.0), ("openai", "new", 2.0)]
    assert ask(client, "unpriced") == fired

    budgets.set_thresholds(client, [("unpriced_calls", 1.0)])
    assert ask(client, "unpriced") == fired[1:]
    budgets.set_thresholds(client, [("unpriced_calls", 0.0)])


@pytest.mark.parametrize(("minutes", "fires"), [(1, False), (58, False), (61, True), (6000, True)])
def test_silence_fires_after_an_hour_and_stays(client: Client, minutes: int, fires: bool) -> None:
    fill(client, [Fact(minutes / 60, cost=Decimal(1)), Fact(9000, cost=Decimal(1))])

    assert ask(client, "no-data") == ([(pytest.approx(minutes, abs=2),)] if fires else [])
    assert len(client.query(BY_UID["no-data"].sql).result_rows) == 1


def test_late_and_guessed_figures_fire(client: Client) -> None:
    good = [Fact(0.5, cost=Decimal(1)) for _ in range(8)]
    fill(client, good)
    assert ask(client, "doubtful") == []

    fill(client, [*good, *(Fact(2, usage_source="estimated") for _ in range(2))])
    ((trouble, figure),) = ask(client, "doubtful")
    assert ("token counts" in trouble, figure) == (True, pytest.approx(20))

    budgets.set_thresholds(client, [("late_seconds", 0.5), ("estimated_percent", 21)])
    ((trouble, figure),) = ask(client, "doubtful")
    assert ("in the ledger" in trouble, figure) == (True, pytest.approx(1, abs=0.01))
    budgets.set_thresholds(client, [("late_seconds", 300), ("estimated_percent", 20)])


METRICS = {
    "spans lost": ("tallyspan_spans_dropped_total", "reason=buried", 1),
    "requests refused": ("tallyspan_requests_total", "outcome=refused", 100),
    "inserts failed": ("tallyspan_insert_failures_total", "", 10),
    "megabytes waiting": ("tallyspan_spool_bytes", "", 50e6),
    "price file broken": ("tallyspan_price_file_broken", "", 1),
}


@pytest.mark.parametrize("trouble", METRICS)
def test_a_collector_in_trouble_fires_from_its_threshold_on(client: Client, trouble: str) -> None:
    name, labels, from_here = METRICS[trouble]
    at = datetime.now(UTC) - timedelta(minutes=2)

    def write(value: float) -> None:
        client.command("TRUNCATE TABLE collector_metrics")
        client.insert("collector_metrics", [(at, "one", name, labels, "gauge", value)])

    write(from_here)
    assert [row[:2] for row in ask(client, "collector")] == [("one", trouble)]
    write(from_here * 0.99 if from_here > 1 else 0)
    assert ask(client, "collector") == []


def test_a_collector_that_fell_silent_fires_unless_it_was_stopped(client: Client) -> None:
    for name, ago in (("busy", 1), ("dead", 30), ("stopped", 30)):
        rows = [
            (
                datetime.now(UTC) - timedelta(minutes=ago),
                name,
                "tallyspan_spool_bytes",
                "",
                "gauge",
                0.0,
            )
        ]
        if name == "stopped":
            rows.append((rows[0][0], name, "tallyspan_collector_stopped", "", "gauge", 1.0))
        client.insert("collector_metrics", rows)

    ((collector, trouble, figure),) = ask(client, "collector")
    assert (collector, trouble) == ("dead", "minutes of silence")
    assert figure == pytest.approx(30, abs=3)
