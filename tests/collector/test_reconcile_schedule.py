"""Bills that the collector compares with by itself: when, again after failures, what they cover."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from billing_server import KEY, BillingServer, Used, billing_server
from config_sections import section
from grafana_pages import run
from ledger import NOON, book, call
from shared_store import SharedStore
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.ledger_lock import reconcile_lock
from tallyspan_collector.bills import pages
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.months.schedule import take
from tallyspan_collector.reconcile import schedule as schedules
from tallyspan_collector.reconcile.schedule import Schedule
from tallyspan_collector.reconcile.settings import Reconciliation, of_section

DAY = NOON.date()
MORNING = datetime(2026, 4, 2, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
CALL = {"input_tokens": 800, "output_tokens": 200, "cost_usd": Decimal("0.75")}


@pytest.fixture(autouse=True)
def _of_the_provider(empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    monkeypatch.setattr(pages.Api.__init__, "__defaults__", (pages.ADMIN_KEY, lambda _: None))


def of_openai(folder: Path, url: str, more: str = "") -> tuple[Reconciliation, ...]:
    entry = f"{{provider: openai, url: '{url}', look_back: 2d{more}}}"
    return of_section(section(folder, f"reconcile:\n  - {entry}\n"))


def gauge(metrics: Metrics, name: str, labels: str = "openai") -> float | None:
    return metrics.registry.get_sample_value(f"tallyspan_bill_{name}_ratio", {"name": labels})


def test_a_bill_is_compared_when_it_is_due_and_its_coverage_and_drift_are_metrics(
    client: Client, tmp_path: Path
) -> None:
    book(client, [call(**CALL)])
    metrics = Metrics()
    # The bill has a second call of the day, which nobody recorded, and dollars for both.
    with billing_server(BillingServer([Used(DAY, "gpt-4.1", 2, 1600, 400, usd="1.5")])) as server:
        bills = Schedule(of_openai(tmp_path, server.url), metrics)
        bills.look(client, MORNING)
        asked = len(server.requests)
        bills.look(client, MORNING + HOUR)
        again = len(server.requests)
        bills.look(client, MORNING + 24 * HOUR)

    assert asked == again
    assert len(server.requests) > asked
    runs = client.query(
        "SELECT run_at, day, recorded_tokens, billed_tokens, reason, is_within"
        " FROM reconciliation_lines WHERE recorded_tokens > 0 ORDER BY run_at"
    ).result_rows
    assert runs == [(MORNING, DAY, 1000, 2000, "missing_calls", False)]
    assert gauge(metrics, "coverage") == 0.5
    assert gauge(metrics, "drift") == -0.5
    assert (
        metrics.registry.get_sample_value(
            "tallyspan_reconciliations_total", {"name": "openai", "outcome": "done"}
        )
        == 2
    )


def test_a_bill_that_was_read_makes_the_ledger_equal_to_it_where_that_is_wished(
    client: Client, tmp_path: Path
) -> None:
    book(client, [call(**CALL)])
    used = [Used(DAY, "gpt-4.1", 2, 1600, 400, usd="1.5")]
    with billing_server(BillingServer(used)) as server:
        of_bill = of_openai(tmp_path, server.url, ", true_up: {rest: unattributed}")
        bills = Schedule(of_bill, Metrics(), take)
        bills.look(client, MORNING - 24 * HOUR)  # the day has just ended: its bill may grow
        assert client.query("SELECT count() FROM bills").result_rows == [(0,)]
        bills.look(client, MORNING)

    rows = client.query(
        "SELECT entry_kind, department, sum(cost_usd) FROM llm_calls GROUP BY ALL ORDER BY ALL"
    ).result_rows
    assert rows == [("call", "research", Decimal("0.75")), ("true_up", "", Decimal("0.75"))]


def test_a_true_up_that_others_kept_waiting_is_booked_a_quarter_of_an_hour_later(
    client: Client, tmp_path: Path
) -> None:
    book(client, [call(**CALL)])
    taken: list[datetime] = []

    def others_book_first(*arguments: Any) -> None:
        taken.append(arguments[-1])
        if len(taken) == 1:
            raise StoreError("booked calls are being changed", retryable=True)

    with billing_server(BillingServer([Used(DAY, "gpt-4.1", 1, 800, 200)])) as server:
        bills = Schedule(of_openai(tmp_path, server.url), Metrics(), others_book_first)
        for minutes in (0, 5, 15, 20):
            bills.look(client, MORNING + timedelta(minutes=minutes))

    assert taken == [MORNING, MORNING + timedelta(minutes=15)]
    assert bills.warnings == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{rests: share}", "no key 'rests'; did you mean 'rest'"),
        ("{rest: nobody}", "rest must be share or unattributed, not 'nobody'"),
        ("{departments: {p1: sales}}", "the bill must be split, see by"),
        ("{departments: p1}", "departments must be a mapping, not 'p1'"),
    ],
)
def test_a_true_up_that_cannot_be_is_refused_by_line_and_key(
    tmp_path: Path, entry: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=r":2: reconcile.0.true_up: .*" + message):
        of_openai(tmp_path, "https://api.example", f", true_up: {entry}")


def test_a_collector_that_starts_sees_what_another_one_compared(
    client: Client, tmp_path: Path
) -> None:
    book(client, [call(**CALL)])
    with billing_server(BillingServer([Used(DAY, "gpt-4.1", 1, 800, 200, usd="0.75")])) as server:
        Schedule(of_openai(tmp_path, server.url), Metrics()).look(client, MORNING)
        asked = len(server.requests)
        metrics = Metrics()
        Schedule(of_openai(tmp_path, server.url), metrics).look(client, MORNING + HOUR)

    assert len(server.requests) == asked
    assert (gauge(metrics, "coverage"), gauge(metrics, "drift")) == (1.0, 0.0)


def test_what_somebody_compares_by_hand_is_kept_as_such_and_puts_nothing_off(
    client: Client, tmp_path: Path
) -> None:
    book(client, [call(**CALL)])
    with billing_server(BillingServer([Used(DAY, "gpt-4.1", 1, 800, 200, usd="0.75")])) as server:
        (what,) = of_openai(tmp_path, server.url)
        lines = what.bill.read(DAY, DAY)
        by_hand = MORNING - HOUR
        what.bill.compared(client, lines, DAY, DAY, by_hand).store(client)
        bills = Schedule((what,), Metrics())
        bills.look(client, MORNING)
        later = MORNING + HOUR
        what.bill.compared(client, lines, DAY, DAY, later).store(client)
        asked = len(server.requests)
        bills.look(client, MORNING + 23 * HOUR)
        assert len(server.requests) == asked
        bills.look(client, MORNING + 24 * HOUR)

    assert len(server.requests) > asked
    runs = client.query(
        "SELECT run_at, is_scheduled, first_day, last_day, lines, lines_off"
        " FROM reconciliation_runs ORDER BY run_at"
    ).result_rows
    days = (DAY, DAY + timedelta(days=1))
    assert runs == [
        (by_hand, False, DAY, DAY, 1, 0),
        (MORNING, True, *days, 1, 0),
        (later, False, DAY, DAY, 1, 0),
        (MORNING + 24 * HOUR, True, days[1], days[1] + timedelta(days=1), 0, 0),
    ]


def test_a_failure_stands_beside_the_bill_until_it_is_compared_again(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row() -> tuple[object, ...]:
        (values,) = client.query(
            "SELECT run_at, run_by, failed_at, error FROM bill_runs"
        ).result_rows
        return tuple(values)

    book(client, [call(**CALL)])
    with billing_server(BillingServer([Used(DAY, "gpt-4.1", 1, 800, 200, usd="0.75")])) as server:
        bills = Schedule(of_openai(tmp_path, server.url, ", every: 1h"), Metrics())
        monkeypatch.setenv("OPENAI_ADMIN_KEY", "wrong")
        bills.look(client, MORNING)
        (shown,) = run(client, "health", "Bills: coverage and drift", 3650)
        failed = row()
        monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
        bills.look(client, MORNING + HOUR)
        compared = row()

    assert failed[:3] == (None, "", MORNING)
    assert "the key of OPENAI_ADMIN_KEY is refused" in str(failed[3])
    assert (shown["kind"], shown["coverage"], shown["error"]) == ("whole bill", None, failed[3])
    assert shown["recorded"] is None  # nothing was compared: that is not $0
    assert compared == (MORNING + HOUR, "the collector", None, "")


def test_the_data_health_page_has_coverage_and_drift_by_model_project_and_day(
    client: Client, tmp_path: Path
) -> None:
    next_day = NOON + timedelta(days=1)
    book(client, [call(**CALL), call(**CALL, model_name="gpt-5", start_time=next_day)])
    # $2 and 2,000 tokens of the first model, of which $0.75 and 1,000 are recorded; a tax of $9.
    path = tmp_path / "bill.csv"
    path.write_text(
        "day,model,item,charge,input_tokens,cost_usd,project\n"
        f"{DAY},gpt-4.1,,,2000,2,search\n{DAY},,VAT,tax,,9,\n"
        f"{next_day.date()},gpt-5,,,1000,0.75,search\n2025-01-01,,,,,1,\n"
    )
    entry = f"{{provider: csv, file: {path}, by: project, recorded_as: department"
    names = "names: {search: research}, look_back: 2d}"
    (what,) = of_section(section(tmp_path, f"reconcile:\n  - {entry}, {names}\n"))
    metrics = Metrics()
    Schedule((what,), metrics).look(client, MORNING)
    rows = run(client, "health", "Bills: coverage and drift", 3650)

    assert rows[0]["notes"] == (
        "1 line of the bill left out: of other days;"
        " $9 of the bill is of no use: credits, taxes, purchases; not in the total"
    )
    columns = ("kind", "name", "recorded", "billed", "coverage", "drift", "run_by")
    shown = [tuple(row[column] for column in columns) for row in rows]
    usd = Decimal
    assert shown == [
        ("whole bill", None, usd("1.5"), usd("2.75"), 2 / 3, 1.5 / 2.75 - 1, "the collector"),
        ("model", "gpt-4.1", usd("0.75"), usd(2), 0.5, -0.625, None),
        ("model", "gpt-5", usd("0.75"), usd("0.75"), 1.0, 0.0, None),
        ("project or key", "research", usd("1.5"), usd("2.75"), 2 / 3, 1.5 / 2.75 - 1, None),
        ("day", "2026-04-01", usd("0.75"), usd("0.75"), 1.0, 0.0, None),
        ("day", "2026-03-31", usd("0.75"), usd(2), 0.5, -0.625, None),
    ]
    # of the days that have been over for two
    assert (gauge(metrics, "coverage", "csv"), gauge(metrics, "drift", "csv")) == (0.5, -0.625)


def test_what_fails_is_a_warning_and_is_tried_again_after_a_quarter_of_an_hour(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "PATIENCE_SECONDS", 0.0)
    book(client, [call(**CALL)])
    with billing_server(BillingServer([Used(DAY, "gpt-4.1", 1, 800, 200)])) as server:
        bills = Schedule(of_openai(tmp_path, server.url), Metrics())
        with reconcile_lock(client, "reconcile by hand", 1.0):
            bills.look(client, MORNING)
        warnings = bills.warnings
        bills.look(client, MORNING + timedelta(minutes=5))
        assert not server.requests
        bills.look(client, MORNING + timedelta(minutes=15))

    assert "a bill is being compared" in warnings[0]
    assert warnings[0].startswith("reconcile openai: ")
    assert bills.warnings == []
    assert server.requests


def test_without_a_key_it_says_which_and_waits_for_the_next_time(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_ADMIN_KEY")
    bills = Schedule(of_openai(tmp_path, "https://api.example"), Metrics())

    bills.look(client, MORNING)

    assert bills.warnings[0].startswith("reconcile openai: OPENAI_ADMIN_KEY: no key")
    assert "or key_file FILE" in bills.warnings[0]


def test_an_entry_says_all_that_the_flags_of_the_command_say(tmp_path: Path) -> None:
    (what,) = of_section(
        section(
            tmp_path,
            """
reconcile:
  - provider: csv
    name: azure-eu
    file: /bills/azure.csv
    columns: {day: Date, model: Meter, cost_usd: Cost}
    zone: Europe/Berlin
    by: project
    recorded_as: department
    names: {sub-1: research}
    ledger_providers: [azure.ai.openai]
    endpoint: "*.openai.azure.com"
    threshold: 2.5
    every: 12h
    look_back: 31d
""",
        )
    )

    assert (what.name, what.every_seconds, what.look_back_days) == ("azure-eu", 43_200, 31)
    bill = what.bill
    assert bill.file == Path("/bills/azure.csv")
    assert bill.columns == {"day": "Date", "model": "Meter", "cost_usd": "Cost"}
    assert (bill.zone, bill.threshold) == ("Europe/Berlin", 0.025)
    assert (bill.by, bill.recorded_as, bill.names) == (
        "project",
        "department",
        {"sub-1": "research"},
    )
    assert (bill.providers, bill.endpoint) == (("azure.ai.openai",), "*.openai.azure.com")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("provider: opnai", "2: reconcile.0.provider: no provider 'opnai'; did you mean 'openai'"),
        ("provider: csv", "2: reconcile.0.file: the bill of a provider without an API"),
        ("provider: aws", "2: reconcile.0.file: the bill of a provider without an API"),
        ("{provider: openrouter, file: a.csv}", "2: reconcile.0.file: openrouter is read by its API"),
        ("{provider: aws, file: a, by: api_key, recorded_as: user}", "2: reconcile.0.by: must be project"),
        ("{provider: openai, treshold: 2}", "treshold"),
        ("{provider: openai, threshold: 200}", "2: reconcile.0.threshold: must be 0 to 100 percent"),
        ("{provider: openai, every: soon}", "2: reconcile.0.every: "),
        ("{provider: openai, look_back: 46d}", "2: reconcile.0.look_back: must be whole days, 45d at most"),
        ("{provider: openai, zone: Europe/Berlin}", "2: reconcile.0.zone: is for files"),
        ("{provider: openai, by: project}", "2: reconcile.0.by: by and recorded_as go together"),
        ("{provider: openai, by: team, recorded_as: agent}", "2: reconcile.0.by: must be project or api_key"),
        ("{provider: openai, by: project, recorded_as: team}", "2: reconcile.0.recorded_as: team: must be one of"),
        ("{provider: csv, file: a.csv, columns: {date: Day}}", "2: reconcile.0.columns: no column 'date'"),
        ("{provider: openai, url: 'http://api.openai.com'}", "2: reconcile.0.url: "),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_is_refused_by_line_and_key(
    tmp_path: Path, entry: str, words: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        of_section(section(tmp_path, f"reconcile:\n  - {entry}\n"))
    assert words in str(refusal.value)


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    text = "reconcile:\n  - provider: openai\n  - provider: openai\n"
    with pytest.raises(ConfigError, match="a second reconciliation is called 'openai'"):
        of_section(section(tmp_path, text))
