"""The ledger made equal to a bill: what is booked, to whom, and that together it is the bill."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from command_line import CommandLine
from ledger import NOON, book, call, reversal
from shared_store import SharedStore
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.ledger_lock import ledger_lock
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.months.schedule import Closing
from tallyspan_collector.summary import Filters
from tallyspan_collector.summary.totals import totals
from tallyspan_collector.true_up import run, stored
from tallyspan_collector.true_up.due import Charge, due, lines
from tallyspan_collector.true_up.recorded import Recorded
from tallyspan_collector.true_up.scope import Scope
from tallyspan_collector.true_up.stored import Days

DAY = NOON.date()
MODEL = "gpt-4.1"
OPENAI = "openai"
PERIOD = ["--from", str(DAY), "--to", str(DAY)]
PICO = 10**12


class Bench(CommandLine):
    """The command on a ledger and against a file."""

    name = "true-up"

    def bill(self, folder: Path, *rows: str, head: str = "day,model,cost_usd") -> list[str]:
        """Return the flags of a bill as CSV."""
        path = folder / "bill.csv"
        path.write_text("\n".join([head, *rows, ""]))
        return ["csv", "--file", str(path), "--ledger-provider", OPENAI, "--bill", "openai"]

    def applied(self, *arguments: str) -> None:
        code = self.run(*arguments, *PERIOD, "--apply", "--reason", "invoice of March")
        assert code == 0, self.err

    def trued_up(self, by: str = "model_name, department") -> dict[tuple[Any, ...], Decimal]:
        rows = self.client.query(
            f"SELECT {by}, sum(cost_usd) AS cost FROM llm_calls WHERE entry_kind = 'true_up'"
            " GROUP BY ALL HAVING cost != 0 ORDER BY ALL"
        ).result_rows
        return {tuple(row[:-1]): row[-1] for row in rows}

    @property
    def total(self) -> Decimal:
        """What the ledger's rollups have in all, in USD."""
        [[cost]] = self.client.query(
            "SELECT ifNull(sum(cost_usd), 0) FROM usage_totals"
        ).result_rows
        return Decimal(cost)


@pytest.fixture
def bench(empty_store: SharedStore, client: Client, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(empty_store.data_dir, client, capsys)


def test_what_only_the_bill_has_is_shared_out_by_use_and_the_total_is_the_bill(
    bench: Bench, tmp_path: Path
) -> None:
    # Research used 6 and sales 3 of the model's 9 dollars; the bill says 12 of it, and 0.5 of tax.
    book(bench.client, [call(cost_usd=Decimal(6)), call(cost_usd=Decimal(3), department="sales")])
    bill = bench.bill(
        tmp_path, f"{DAY},{MODEL},12,", f"{DAY},,0.5,VAT", head="day,model,cost_usd,item"
    )

    bench.applied(*bill)

    assert bench.trued_up() == {
        (MODEL, "research"): Decimal(2),
        (MODEL, "sales"): Decimal(1),
        ("", "research"): Decimal("0.333333333333"),
        ("", "sales"): Decimal("0.166666666667"),
    }
    assert bench.total == Decimal("12.5")
    assert "recorded $9.00, billed $12.50, difference $3.50 trued up (4 owners changed" in bench.out
    answer = totals(bench.client, Filters())
    assert (answer["true_up_cost_usd"], answer["use_cost_usd"], answer["calls"]) == (
        Decimal("3.5"), Decimal(9), 2,
    )  # fmt: skip


def test_the_report_says_in_one_line_what_is_recorded_trued_up_and_billed(
    bench: Bench, tmp_path: Path
) -> None:
    book(bench.client, [call(cost_usd=Decimal(6))])
    bench.applied(*bench.bill(tmp_path, f"{DAY},{MODEL},8"))
    bench.name = "report"

    assert bench.run("--since", "2000d") == 0

    assert "recorded $6.00, trued up $2.00: $8.00; billed $8.00" in bench.out


def test_without_apply_nothing_changes(bench: Bench, tmp_path: Path) -> None:
    book(bench.client, [call(cost_usd=Decimal(6))])

    assert bench.run(*bench.bill(tmp_path, f"{DAY},{MODEL},8"), *PERIOD) == 0

    assert "to be trued up; --apply books it (1 owner would change" in bench.out
    assert "research" in bench.out
    assert bench.total == 6
    assert not stored.read(bench.client)


def test_a_bill_below_what_is_recorded_takes_the_rest_away(bench: Bench, tmp_path: Path) -> None:
    book(bench.client, [call(cost_usd=Decimal(6))])

    bench.applied(*bench.bill(tmp_path, f"{DAY},{MODEL},5.5", f"{DAY},{MODEL},-1"))

    assert bench.trued_up() == {(MODEL, "research"): Decimal("-1.5")}
    assert bench.total == Decimal("4.5")


def test_the_same_bill_again_books_nothing_and_a_corrected_one_replaces_it(
    bench: Bench, tmp_path: Path
) -> None:
    book(bench.client, [call(cost_usd=Decimal(6))])
    bench.applied(*bench.bill(tmp_path, f"{DAY},{MODEL},8"))
    entries = bench.client.query("SELECT count() FROM llm_calls").result_rows
    bench.applied(*bench.bill(tmp_path, f"{DAY},{MODEL},8"))
    assert bench.client.query("SELECT count() FROM llm_calls").result_rows == entries

    bench.applied(*bench.bill(tmp_path, f"{DAY},{MODEL},7"))

    assert bench.total == 7
    [[billed, revisions]] = bench.client.query(
        "SELECT billed_usd, revisions FROM bills"
    ).result_rows
    assert (billed, revisions) == (7, 2)
    audit = bench.client.query(
        "SELECT old_cost_usd, new_cost_usd, reason FROM price_changes"
        " WHERE kind = 'true_up' AND state = 'finished' ORDER BY started_at"
    ).result_rows
    assert audit == [(0, 2, "invoice of March"), (2, 1, "invoice of March")]


def test_late_calls_and_new_prices_move_the_true_up_and_not_the_total(
    bench: Bench, tmp_path: Path
) -> None:
    first = call(cost_usd=Decimal(6))
    book(bench.client, [first])
    bench.applied(*bench.bill(tmp_path, f"{DAY},{MODEL},10"))

    book(bench.client, [call(cost_usd=Decimal(3)), reversal(first), call(cost_usd=Decimal(2))])
    assert bench.total == 9  # until the collector's next look
    closing = Closing()
    closing.look(bench.client)

    assert bench.total == 10
    assert bench.trued_up() == {(MODEL, "research"): Decimal(5)}
    entries = bench.client.query("SELECT count() FROM llm_calls").result_rows
    closing.look(bench.client)
    assert bench.client.query("SELECT count() FROM llm_calls").result_rows == entries
    book(bench.client, [call(cost_usd=Decimal(1))])
    closing.look(bench.client)
    assert bench.total == 10


def test_what_was_trued_up_is_withdrawn(bench: Bench, tmp_path: Path) -> None:
    book(bench.client, [call(cost_usd=Decimal(6))])
    bill = bench.bill(tmp_path, f"{DAY},{MODEL},8")
    bench.applied(*bill)

    bench.applied("openai", "--withdraw")

    assert bench.total == 6
    assert bench.trued_up() == {}
    Closing().look(bench.client)
    assert bench.total == 6
    bench.applied("openai", "--withdraw")  # again: nothing is left to do


def test_a_command_that_was_killed_is_completed_by_a_collector_that_runs(
    bench: Bench, tmp_path: Path
) -> None:
    book(bench.client, [call(cost_usd=Decimal(6))])
    closing = Closing()
    closing.look(bench.client)

    # Killed after the bill was kept, and before anything of it was booked.
    days = Days(Scope(OPENAI, (OPENAI,)), [DAY], [Charge(DAY, MODEL, "", "", 8 * PICO)])
    stored.write(bench.client, days, "bill.csv")
    closing.look(bench.client)
    assert bench.total == 8

    stored.withdraw(bench.client, days.scope, days.days)  # and so is the one that takes it back
    closing.look(bench.client)
    assert bench.total == 6


def test_a_bill_that_waits_for_another_run_is_not_kept_before_it_is_booked(
    bench: Bench, tmp_path: Path
) -> None:
    book(bench.client, [call(cost_usd=Decimal(6))])
    scope, bill = Scope(OPENAI, (OPENAI,)), [Billed(DAY, MODEL, cost_usd=Decimal(8))]

    with (
        ledger_lock(bench.client, "another"),
        pytest.raises(StoreError, match="booked calls are being changed"),
    ):
        run.book(bench.client, scope, bill, DAY, DAY, "f", is_applied=True, patience_seconds=0)

    assert not stored.heads(bench.client)


def test_days_of_a_bill_are_of_their_month_however_far_in_the_east(
    bench: Bench, tmp_path: Path
) -> None:
    # Noon in Auckland is 23:00 UTC of the day before.
    first = date(2026, 3, 1)
    bill = bench.bill(tmp_path, f"{first},{MODEL},7")

    code = bench.run(
        *bill, "--zone", "Pacific/Auckland", "--from", str(first), "--to", str(first),
        "--apply", "--reason", "r",
    )  # fmt: skip

    assert code == 0, bench.err
    [[day]] = bench.client.query("SELECT day FROM usage_totals").result_rows
    assert day == first


def test_owners_of_the_bill_go_to_their_departments(bench: Bench, tmp_path: Path) -> None:
    # Spans name the project in a tag; nobody knows what key3 is, and nothing is recorded of it.
    for project, cost in (("p1", 6), ("p2", 4)):
        book(bench.client, [call(cost_usd=Decimal(cost), tags={"project": project})])
    bill = bench.bill(
        tmp_path,
        *(
            f"{DAY},{MODEL},{cost},{project}"
            for project, cost in (("p1", 7), ("p2", 5), ("key3", 1))
        ),
        head="day,model,cost_usd,project",
    )
    split = ["--by", "project", "--recorded-as", "tag:project", "--rest", "unattributed"]

    bench.applied(*bill, *split, "--department", "p1=sales")

    assert bench.trued_up("toString(tags['owner']), department") == {
        ("key3", ""): Decimal(1),
        ("p1", "sales"): Decimal(1),
        ("p2", ""): Decimal(1),
    }


def test_a_department_by_rule_is_of_the_organisation_that_has_it() -> None:
    scope = Scope("b", recorded_as="tag:project", departments={"p1": "sales", "p2": "new"})

    def tenants(*recorded: tuple[str, str]) -> dict[str, str]:
        there = [Recorded(DAY, MODEL, "p1", *each, OPENAI, 5) for each in recorded]
        bill = [Charge(DAY, MODEL, "", owner, 100) for owner in ("p1", "p2")]
        parts = due(scope, lines(scope, bill, there), there)
        return {each.payer.department: each.payer.tenant for each in parts}

    assert tenants(("acme", "sales"), ("beta", "research")) == {"sales": "acme", "new": ""}
    assert tenants(("acme", "research")) == {"sales": "acme", "new": "acme"}
    assert tenants(("acme", "sales"), ("beta", "sales")) == {"sales": "", "new": ""}


def test_who_was_given_money_back_has_no_share_of_what_only_the_bill_has() -> None:
    there = [
        Recorded(DAY, MODEL, "", "", department, OPENAI, amount)
        for department, amount in (("research", 6), ("sales", -3))
    ]
    scope, bill = Scope("b"), [Charge(DAY, MODEL, "", "", 10)]

    parts = due(scope, lines(scope, bill, there), there)

    assert [(each.payer.department, each.picousd) for each in parts] == [("research", 7)]


def test_a_bill_of_days_only_is_compared_as_a_whole(bench: Bench, tmp_path: Path) -> None:
    book(
        bench.client,
        [call(cost_usd=Decimal(6)), call(cost_usd=Decimal(2), model_name="gpt-4.1-mini")],
    )

    bench.applied(*bench.bill(tmp_path, f"{DAY},10", head="day,cost_usd"))

    assert bench.trued_up() == {("", "research"): Decimal(2)}


def test_a_month_of_the_ledger_is_the_month_of_a_bill_in_another_zone(
    bench: Bench, tmp_path: Path
) -> None:
    # 1 April 03:00 UTC is 31 March in California: the ledger has the call in April, and so the
    # true-up of April takes it, that the month of the bill stands.
    april = datetime(2026, 4, 1, 3, tzinfo=UTC)
    book(bench.client, [call(cost_usd=Decimal(6)), call(cost_usd=Decimal(1), start_time=april)])
    bill = bench.bill(tmp_path, f"{DAY},{MODEL},7", f"{DAY + timedelta(days=1)},{MODEL},3")

    code = bench.run(
        *bill, "--zone", "America/Los_Angeles", "--from", "2026-03-31", "--to", "2026-04-01",
        "--apply", "--reason", "r",
    )  # fmt: skip

    assert code == 0, bench.err
    months = bench.client.query(
        "SELECT toMonth(day) AS month, sum(cost_usd) FROM usage_totals GROUP BY month ORDER BY month"
    ).result_rows
    assert months == [(3, 7), (4, 3)]


def test_calls_that_are_not_billed_one_by_one_are_no_part_of_it(
    bench: Bench, tmp_path: Path
) -> None:
    book(
        bench.client,
        [
            call(cost_usd=Decimal(6)),
            call(cost_usd=Decimal(50), is_notional=True),
            call(cost_usd=Decimal(9), provider_name="anthropic"),
            call(entry_kind="imported", sign=0, cost_usd=Decimal(1)),
        ],
    )

    bench.applied(*bench.bill(tmp_path, f"{DAY},{MODEL},10"))

    assert bench.trued_up() == {(MODEL, "research"): Decimal(3)}
    assert bench.total == 19  # the bill's 10 and Anthropic's 9


def test_a_cloud_s_bill_with_credits_taxes_and_euros_is_the_total(
    bench: Bench, tmp_path: Path
) -> None:
    book(
        bench.client,
        [call(cost_usd=Decimal(6), provider_name="aws.bedrock", model_name="amazon.nova-pro-v1:0")],
    )
    prices = tmp_path / "prices.yaml"
    prices.write_text("currencies:\n  EUR:\n    - {usd: 1.25}\n")
    bill = tmp_path / "cur.csv"
    start = f"{DAY}T04:00:00Z,AmazonBedrock"
    bill.write_text(
        "line_item_usage_start_date,line_item_product_code,line_item_line_item_type,"
        "line_item_usage_type,line_item_unblended_cost,line_item_currency_code\n"
        f"{start},Usage,USE1-NovaPro-input-tokens,8,EUR\n"
        f"{start},Credit,promotion,-2,EUR\n"
        f"{start},Tax,USE1-NovaPro-input-tokens,0.4,EUR\n"
    )
    bench.applied("aws", "--file", str(bill), "--prices", str(prices))

    assert "tallyspan: 3 lines in EUR, in USD at the rates of the price file" in bench.err
    # 8 - 2 + 0.4 EUR are $8: $10 for the model, $2.50 off, and $0.50 of tax.
    assert bench.total == 8
    assert bench.trued_up("model_name, tags['item']") == {
        ("amazon.nova-pro-v1:0", ""): 4,
        ("", "Credit: promotion"): Decimal("-2.5"),
        ("", "Tax: USE1-NovaPro-input-tokens"): Decimal("0.5"),
    }


def test_days_whose_entries_have_expired_are_not_trued_up_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(bench.client, [call(cost_usd=Decimal(6))])
    bench.applied(*bench.bill(tmp_path, f"{DAY},{MODEL},8"))
    bench.client.command("TRUNCATE TABLE llm_calls")  # what was added up from it is kept longer
    monkeypatch.setattr("tallyspan_collector.months.schedule.gone_until", lambda _: DAY)

    Closing().look(bench.client)

    assert bench.total == 8


def test_what_names_no_endpoint_is_on_one_of_the_bills_of_endpoints(
    bench: Bench, tmp_path: Path
) -> None:
    # A seat of $1 names no endpoint. Both bills together are $12, and so is the ledger then.
    seat = call(entry_kind="commitment", sign=0, cost_usd=Decimal(1), endpoint_id="")
    eu, us = (call(cost_usd=Decimal(4), endpoint_id=name) for name in ("eu.api", "us.api"))
    book(bench.client, [seat, eu, us])
    for name, cost in (("us", 7), ("eu", 5)):  # the one that has it comes last
        bill = bench.bill(tmp_path, f"{DAY},{MODEL},{cost}")[:-1]
        bench.applied(*bill, name, "--endpoint", f"{name}.*")

    Closing().look(bench.client)

    assert bench.total == 12
    assert bench.trued_up("source") == {("bill:us",): Decimal(3)}


def test_two_bills_of_the_same_calls_are_refused(bench: Bench, tmp_path: Path) -> None:
    book(bench.client, [call(cost_usd=Decimal(6))])
    bill = bench.bill(tmp_path, f"{DAY},{MODEL},8")
    bench.applied(*bill)

    code = bench.run(*bill[:-1], "azure", *PERIOD, "--apply", "--reason", "r")

    assert code == 2
    assert "the bill azure speaks of calls that the bill openai is already about" in bench.err
    assert bench.total == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--apply"], "--apply needs --reason"),
        (["--to", "2099-01-01"], "--to 2099-01-01: that day is not over"),
        (["--department", "p1=sales"], "--department is of a project or key: split the bill"),
        (["--from", "2026-03-01", "--to", "2026-03-05"], "has no costs from 2026-03-01"),
        (["--from", "2024-03-01", "--to", "2026-03-05"], "a year at most"),
    ],
)
def test_what_cannot_be_is_refused(
    bench: Bench, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code = bench.run(*bench.bill(tmp_path, f"{DAY},{MODEL},8"), *PERIOD, *arguments)

    assert code == 2
    assert bench.total == 0
    assert message in bench.err


def test_a_bill_without_costs_is_refused(bench: Bench, tmp_path: Path) -> None:
    code = bench.run(
        *bench.bill(tmp_path, f"{DAY},{MODEL},8", head="day,model,input_tokens"), *PERIOD
    )
    assert code == 2
    assert "the bill states no costs" in bench.err


def test_programs_get_exact_lines(bench: Bench, tmp_path: Path) -> None:
    book(bench.client, [call(cost_usd=Decimal("0.000000000001"))])

    bench.run(*bench.bill(tmp_path, f"{DAY},{MODEL},0.000000000003"), *PERIOD, "--format", "json")

    assert json.loads(bench.out)["lines"] == [
        {
            "day": str(DAY),
            "model": MODEL,
            "owner": "",
            "recorded_usd": "0.000000000001",
            "billed_usd": "0.000000000003",
            "department": "research",
            "true_up_usd": "0.000000000002",
        }
    ]


AMOUNTS = st.integers(-(10**15), 10**15)
DAYS = st.sampled_from([date(2026, 3, 30), date(2026, 3, 31)])
OWNERS = st.sampled_from(["", "p1", "p2"])
MODELS = st.sampled_from(["", "gpt-4.1", "gpt-4.1-2025-04-14", "o3", "Claude Haiku 4.5"])


@settings(max_examples=150, deadline=None)
@given(
    billed=st.lists(st.builds(Charge, DAYS, MODELS, st.sampled_from(["", "VAT"]), OWNERS, AMOUNTS)),
    recorded=st.lists(
        st.builds(
            Recorded, DAYS, MODELS, OWNERS, st.sampled_from(["", "t1"]),
            st.sampled_from(["", "research", "sales"]), st.just(OPENAI), AMOUNTS,
        )
    ),
    scope=st.builds(
        Scope, st.just("b"), recorded_as=st.sampled_from(["", "tag:project", "department"]),
        departments=st.sampled_from([{}, {"p1": "sales"}]),
        rest=st.sampled_from(["share", "unattributed"]),
    ),
)  # fmt: skip
def test_recorded_and_trued_up_are_what_is_billed_on_every_day(
    billed: list[Charge], recorded: list[Recorded], scope: Scope
) -> None:
    of_bill = lines(scope, billed, recorded)
    parts = due(scope, of_bill, recorded)

    for line in of_bill:
        assert sum(each.picousd for each in parts if each.line == line) == line.true_up
    for day in {*(each.day for each in billed), *(each.day for each in recorded)}:
        have = sum(each.picousd for each in recorded if each.day == day)
        booked = sum(each.picousd for each in parts if each.line.day == day)
        assert have + booked == sum(each.picousd for each in billed if each.day == day)


def test_without_owners_in_the_ledger_a_line_is_shared_by_those_who_used_its_model() -> None:
    of_sales = Recorded(DAY, MODEL, "", "", "sales", OPENAI, 2 * PICO)
    there = [of_sales, of_sales._replace(model="o3", department="research", picousd=98 * PICO)]
    scope = Scope("b", (OPENAI,))
    bill = [Charge(DAY, MODEL, "", "p1", 5 * PICO), Charge(DAY, "o3", "", "p1", 98 * PICO)]

    parts = due(scope, lines(scope, bill, there), there)

    sums: dict[str, int] = {}
    for part in parts:
        department = part.payer.department
        sums[department] = sums.get(department, 0) + part.picousd
    assert sums == {"sales": 3 * PICO, "research": 0}


def test_bills_overlap_where_an_entry_may_be_on_both() -> None:
    openai = Scope("a", ("openai",))
    assert openai.overlaps(Scope("b"))
    assert openai.overlaps(Scope("b", ("azure.ai.openai", "openai"), "eu.*"))
    assert not openai.overlaps(Scope("b", ("anthropic",)))
    eu, us = (Scope("b", ("openai",), endpoint) for endpoint in ("eu.*", "us.api"))
    assert not eu.overlaps(us)
    assert eu.overlaps(Scope("c", ("openai",), "eu.api"))
    for ours, theirs, is_one in (
        ("eu.*", "*.api", True),  # eu.api is of both, and neither pattern fits the other
        ("eu.*x", "*.api", False),
        ("*", "us.api", True),
        ("a[1]", "a[1]", True),
        ("a[1]*", "a1", False),
        ("a*b*c", "abbbc", True),
        ("a*b*c", "acccb", False),
        ("us.api", "us.apis", False),
    ):
        one, other = (Scope("b", ("openai",), endpoint) for endpoint in (ours, theirs))
        assert (one.overlaps(other), other.overlaps(one)) == (is_one, is_one), (ours, theirs)
