"""Three months of a company, from the first span to the closed books; `docs/month-close.md` tells it.

After each step the ledger's months, the statements' lines and the FOCUS export are compared with
what `Books` makes of the same calls and bills: plain sums, which know nothing of the ledger.
"""

import csv
import json
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from billing_server import KEY, BillingServer, Used, billing_server
from otlp_spans import CHAT, pairs, request, span
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan_collector.booked.move import Move, Scope
from tallyspan_collector.booked.run import run
from tallyspan_collector.cli import main
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.months import lines
from tallyspan_collector.months.schedule import Closing

DOCS = Path(__file__).parents[2] / "docs/month-close.md"
JULY, AUGUST, SEPTEMBER = (date(2026, month, 1) for month in (7, 8, 9))
MONTHS = (JULY, AUGUST, SEPTEMBER)
MODEL = "story-1"
PRICES = """
prices:
  - {provider: openai, model: story-1, to: 2026-08-16, unit: 1M tokens, input: 2, output: 8}
  - {provider: openai, model: story-1, from: 2026-08-16, unit: 1M tokens, input: 1, output: 4}
discounts:
  - {provider: openai, from: 2026-09-01, percent: 10}
"""
REPRICED = PRICES.replace("2026-08-16", "2026-08-09")
PEOPLE = """user,department,cost_centre,valid_from,valid_to
ada,research,0042,,
bob,sales,0007,,
"""
MOVED = """user,department,cost_centre,valid_from,valid_to
ada,research,0042,,
bob,sales,0007,,2026-07-19
bob,support,0008,2026-07-20,
"""


@dataclass
class Books:
    """The same three months as plain sums of what each call costs and each day is billed."""

    calls: list[tuple[date, Decimal]] = field(default_factory=list)
    bill: dict[date, Decimal] = field(default_factory=dict)
    closed: dict[date, Decimal] = field(default_factory=dict)
    moved: dict[tuple[date, date], Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def recorded(self, month: date) -> Decimal:
        return sum((usd for day, usd in self.calls if _month(day) == month), Decimal(0))

    def billed(self, month: date) -> Decimal | None:
        amounts = [usd for day, usd in self.bill.items() if _month(day) == month]
        return sum(amounts, Decimal(0)) if amounts else None

    def row(self, month: date) -> tuple[Decimal, ...]:
        """Return recorded, trued up, corrections and total of the month."""
        recorded, billed = self.recorded(month), self.billed(month)
        true_up = Decimal(0) if billed is None else billed - recorded
        came = sum((usd for (_, to), usd in self.moved.items() if to == month), Decimal(0))
        went = sum((usd for (of, _), usd in self.moved.items() if of == month), Decimal(0))
        return recorded, true_up, came - went, recorded + true_up + came - went

    def settle(self) -> None:
        """Move what changed in closed months to the first open one after each."""
        for month in sorted(self.closed):
            to = min(each for each in (*MONTHS, date(2026, 10, 1))
                     if each > month and each not in self.closed)  # fmt: skip
            self.moved[month, to] += self.row(month)[-1] - self.closed[month]


@dataclass
class Company:
    """What happens at the company, on a real collector with a real store and a provider's API."""

    collector: Running
    server: BillingServer
    folder: Path
    books: Books = field(default_factory=Books)
    told: list[str] = field(default_factory=list)
    _closing: Closing = field(default_factory=Closing)
    _number: int = 0

    @property
    def client(self) -> Client:
        return self.collector.client

    def calls(self, day: date, user: str, usd: str, count: int = 1) -> None:
        """Send spans of a million tokens and half a million answered, and put them on the books."""
        spans = []
        for _ in range(count):
            self._number += 1
            one = span(self._number, CHAT | {
                "gen_ai.request.model": MODEL, "user.id": user,
                "gen_ai.usage.input_tokens": 1_000_000, "gen_ai.usage.output_tokens": 500_000,
            })  # fmt: skip
            at = int(datetime.combine(day, time(9), UTC).timestamp()) * 10**9 + self._number
            one.start_time_unix_nano, one.end_time_unix_nano = at, at + 10**9
            one.attributes.extend(pairs({"server.address": "api.openai.com"}))
            spans.append(one)
            self.books.calls.append((day, Decimal(usd)))
        sent = urllib.request.Request(
            f"http://{self.collector.ready.otlp_http}/v1/traces", request(*spans),
            {"Content-Type": "application/x-protobuf"},
        )  # fmt: skip
        with urllib.request.urlopen(sent) as answer:
            assert answer.status == 200
        self.collector.settle()

    def bill(self, **of_days: str) -> None:
        """Let the provider bill amounts by day (`d0720="30.34"`); of a day it billed it is corrected."""
        for name, usd in of_days.items():
            self.books.bill[date(2026, int(name[1:3]), int(name[3:]))] = Decimal(usd)
        self.server.used = [
            Used(day, MODEL, 1, 1, 1, usd=f"{usd}") for day, usd in self.books.bill.items()
        ]

    def command(self, *arguments: str) -> None:
        assert main([*arguments, "--data-dir", str(self.folder)]) == 0, arguments

    def true_up(self, month: date) -> None:
        self.command(
            "true-up", "openai", "--url", self.server.url, "--from", str(month),
            "--to", str(_last(month)), "--apply", "--reason", f"invoice of {month:%B}",
        )  # fmt: skip

    def close(self, month: date) -> None:
        self.command("month", "close", f"{month:%Y-%m}", "--reason", "books")
        self.books.closed[month] = self.books.row(month)[-1]

    def check(self, what: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Compare everything with the books, and tell it in a row of the documentation."""
        self._closing.look(self.client)
        self.books.settle()
        capsys.readouterr()
        self.command("month", "list", "--format", "json")
        rows = {row["month"]: row for row in json.loads(capsys.readouterr().out)["months"]}
        cells = []
        for month in MONTHS:
            row, wanted = rows.get(f"{month:%Y-%m}"), self.books.row(month)
            if row is None:
                assert wanted[-1] == 0
                cells.append("")
                continue
            names = ("recorded_usd", "true_up_usd", "prior_period_usd", "cost_usd")
            assert tuple(Decimal(row[name]) for name in names) == wanted, (what, month)
            billed = self.books.billed(month)
            assert (row["billed_usd"] is None) == (billed is None)
            assert billed is None or Decimal(row["billed_usd"]) == billed
            assert (row["state"] == "closed") == (month in self.books.closed)
            total = wanted[-1]
            if month in self.books.closed:
                assert total == self.books.closed[month] == Decimal(row["closed_usd"])
            assert self._statements(month) == total
            assert self._focus(month) == total
            parts = " + ".join(f"{usd:.2f}" for usd in wanted[:3])
            cells.append(
                f"{parts} = **{total:.2f}**{' closed' if row['state'] == 'closed' else ''}"
            )
        self.told.append(f"| {len(self.told) + 1} | {what} | {' | '.join(cells)} |")

    def departments(self, month: date) -> dict[str, Decimal]:
        """Return what each department is charged for the month."""
        of_month = lines.as_closed if month in self.books.closed else lines.as_now
        query, parameters = of_month(month)
        rows = self.client.query(
            f"SELECT department, sum(cost_usd) FROM ({query}) GROUP BY department",
            parameters=parameters,
        ).result_rows
        return {str(department): cost for department, cost in rows}

    def _statements(self, month: date) -> Decimal:
        """Return the sum of the statements of all departments."""
        folder = self.folder / f"statements-{len(self.told)}-{month}"
        folder.mkdir()
        self.command("statement", f"{month:%Y-%m}", "--format", "csv", "--out", str(folder))
        totals = []
        for path in folder.glob("*.csv"):
            with path.open(encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row["section"] == "total"]
            totals += [Decimal(row["cost_usd"]) for row in rows if row["name"] == "total"]
        assert len(totals) == len(self.departments(month))
        return sum(totals, Decimal(0))

    def _focus(self, month: date) -> Decimal:
        path = self.folder / "focus.csv"
        self.command(
            "export", "--format", "focus", "--from", str(month), "--to", str(_last(month)),
            "--out", str(path), "--prices", str(self.folder / "prices.yaml"),
        )  # fmt: skip
        with path.open(encoding="utf-8") as file:
            return sum((Decimal(row["BilledCost"]) for row in csv.DictReader(file)), Decimal(0))


@pytest.fixture
def company(empty_store: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    folder = empty_store.data_dir
    (folder / "prices.yaml").write_text(PRICES)
    (folder / "people.csv").write_text(PEOPLE)
    assert main(["directory", "import", str(folder / "people.csv"), "--data-dir", str(folder)]) == 0
    with (
        billing_server(BillingServer(page_days=31)) as server,
        running_collector(tmp_path, folder / "prices.yaml", store=empty_store.url) as collector,
    ):
        yield Company(collector, server, folder)


def test_three_months_from_the_first_call_to_the_closed_books(  # noqa: PLR0915  a story
    company: Company, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(what: str) -> None:
        company.check(what, capsys)

    company.calls(date(2026, 7, 10), "ada", "6", 8)
    company.calls(date(2026, 7, 20), "ada", "6", 2)
    company.calls(date(2026, 7, 20), "bob", "6")
    check("Calls of July at 2 and 8 dollars a million")

    # On 15 July a service called whose spans come later; on 20 July a batch nobody saw ran for 12.34.
    company.bill(d0710="48", d0715="6", d0720="30.34")
    company.true_up(JULY)
    check("July's bill by API: a batch and a service that no span tells of")

    company.close(JULY)
    july = company.departments(JULY)
    check("July is closed")

    company.calls(date(2026, 8, 10), "ada", "6")
    company.calls(date(2026, 8, 10), "bob", "6")
    company.calls(date(2026, 8, 20), "ada", "3", 2)
    check("Calls of August; from the 16th the price is half")

    company.calls(date(2026, 7, 15), "bob", "6")
    check("The late spans of 15 July arrive: they were on the bill already")
    assert company.departments(JULY) == july
    # Nobody had been recorded on the 15th: the six dollars were nobody's, and are sales' now.
    moved = company.departments(AUGUST)
    assert (moved[""], moved["sales"]) == (Decimal(-6), Decimal(6 + 6))

    company.bill(d0720="28.00")
    company.true_up(JULY)
    check("A week later the provider corrects July's bill by 2.34")
    assert company.departments(JULY) == july

    (company.folder / "people.csv").write_text(MOVED)
    company.command("directory", "import", str(company.folder / "people.csv"))
    directory = Directory()
    directory.read(company.client)
    scope, tomorrow = Scope((), JULY, _last(AUGUST)), datetime.now(UTC) + timedelta(days=1)
    run(company.client, Move(directory, scope, tomorrow), is_applied=True, reason="bob moved")
    check("Bob has belonged to support since 20 July: his calls are moved")
    assert company.departments(JULY) == july
    # July, closed, charged sales his call of the 20th and a third of that day's batch: 6 + 4.113333.
    # Both leave sales in August, where his late call of the 15th had come to it.
    shares = company.departments(AUGUST)
    assert july["sales"] == Decimal("10.113333333333")
    assert shares["sales"] == Decimal(6) - july["sales"]
    assert sum(shares.values()) == company.books.row(AUGUST)[-1]

    company.bill(d0810="12", d0820="6.50")
    company.true_up(AUGUST)
    company.close(AUGUST)
    august = company.departments(AUGUST)
    check("August's bill, 50 cents above; August is closed")

    company.calls(date(2026, 9, 5), "ada", "2.7", 3)
    company.calls(date(2026, 9, 6), "bob", "2.7")
    check("Calls of September, ten percent off by contract")

    (company.folder / "repriced.yaml").write_text(REPRICED)
    company.command(
        "reprice", "--from", "2026-08-01", "--to", "2026-08-31", "--apply", "--reason", "mistake",
        "--prices", str(company.folder / "repriced.yaml"),
    )  # fmt: skip
    company.books.calls = [
        (day, Decimal(3) if day == date(2026, 8, 10) else usd) for day, usd in company.books.calls
    ]
    check("Somebody re-prices August: the bill stands, and so does August")
    assert company.departments(AUGUST) == august

    company.bill(d0905="8.1", d0906="2.7")
    company.true_up(SEPTEMBER)
    company.close(SEPTEMBER)
    check("September's bill is what was recorded; September is closed")

    assert company.departments(JULY) == july
    text = DOCS.read_text(encoding="utf-8")
    missing = [row for row in company.told if row not in text]
    assert not missing, "docs/month-close.md must say:\n" + "\n".join(company.told)


def _month(day: date) -> date:
    return day.replace(day=1)


def _last(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1) - timedelta(days=1)
