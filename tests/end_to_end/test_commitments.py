"""From spans of a deployment with provisioned throughput to totals that say who used how much."""

import contextlib
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from otlp_spans import CHAT, request, span
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan_collector.cli import main
from waiting import wait_for

PRICES = """\
commitments:
  - name: ptu-east
    kind: provisioned
    endpoint: ptu.example.com
    units: 2
    price: 1.50                 # of one unit
    per: hour
    from: {since}
    capacity: {{input: 1000, output: 250}}
    department: platform
"""


def test_a_day_of_provisioned_throughput_is_shared_when_it_is_over(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    noon_ns = int(datetime.combine(yesterday, time(12), UTC).timestamp()) * 10**9
    prices = tmp_path / "models_pricing.yaml"
    prices.write_text(PRICES.format(since=yesterday))
    spans = []
    for number, (user, tokens, endpoint) in enumerate(
        [("ada", 720_000, "ptu.example.com"), ("bob", 360_000, "ptu.example.com"), ("ada", 1_000, "")], 1
    ):  # fmt: skip
        each = span(
            number,
            CHAT
            | {
                "user.id": user,
                "gen_ai.usage.input_tokens": tokens,
                "gen_ai.usage.output_tokens": 0,
                "tallyspan.endpoint.id": endpoint or "api.openai.com",
            },
        )
        each.start_time_unix_nano = each.end_time_unix_nano = noon_ns
        spans.append(each)
    with running_collector(tmp_path / "data", prices, store=empty_store.url) as collector:
        url = f"http://{collector.ready.otlp_http}/v1/traces"
        headers = {"content-type": "application/x-protobuf"}
        assert httpx.post(url, content=request(*spans), headers=headers).status_code == 200
        collector.settle()
        # The day was booked when the collector started; a new file makes it look again.
        prices.write_text(PRICES.format(since=yesterday) + "# checked\n")
        query = "SELECT sum(commitment_cost_usd) AS usd FROM usage_daily"
        wait_for(lambda: collector.rows(query)[0]["usd"], "shares of yesterday")
        prices.write_text(PRICES.format(since=yesterday).replace("1.50", "1.60"))
        (warning,) = wait_for(lambda: warnings(collector), "a warning that the file differs")
        assert warning.startswith("1 day of commitments is booked otherwise than the price file")

    # 72 USD. It takes 2 x 1,000 input tokens a minute, 2,880,000 a day: 3/8 are used, of which
    # ada has two thirds; the third call is 1,000 x 0.25 by the million.
    [by_user, total] = report(empty_store, "--by", "user", "--since", "3d")
    names = ("use_cost_usd", "commitment_cost_usd", "unused_cost_usd")
    assert {row["user"]: [row[name] for name in names] for row in by_user} == {
        "ada": ["0.00025", "18", "0"],
        "bob": ["0", "9", "0"],
        "": [None, "0", "45"],
    }
    assert Decimal(total["cost_usd"]) == Decimal("72.00025")
    assert total["notional_calls"] == 2


def warnings(collector: Running) -> list[str]:
    answer = httpx.get(f"{collector.ready.admin}/readyz").json()
    return [text for text in answer["warnings"] if "commitments" in text]


def report(store: SharedStore, *arguments: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    answer = json.loads(tallyspan("report", *arguments, "--format", "json", store=store))
    return answer["rows"], answer["totals"]


def tallyspan(*arguments: str, store: SharedStore) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*arguments, "--data-dir", str(store.data_dir)]) == 0
    return out.getvalue()


def test_commands_preview_book_and_list_what_the_file_has(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    prices = tmp_path / "models_pricing.yaml"
    prices.write_text(PRICES.format(since="2026-03-01"))
    days = ["--from", "2026-03-30", "--to", "2026-03-31", "--prices", str(prices)]

    def run(*arguments: str) -> Sequence[str]:
        return tallyspan("commitments", *arguments, *days, store=empty_store).splitlines()

    _, month, *notes = run("preview")
    # cost, of it unused, booked before, difference, entries
    amounts = ("144.000000000000", "144.000000000000", "0.000000000000", "+144.000000000000", "2")
    assert month.split() == ["2026-03", "ptu-east", *amounts]
    assert notes == ["2 entries to book", "a preview: commitments book books it"]
    assert run("book", "--reason", "a new contract")[-1] == "booked"
    assert run("book", "--reason", "again")[-1] == "0 entries to book"
    assert run("list")[-1].split() == ["ptu-east", "144.000000000000", "144.000000000000"]
    prices.write_text("prices: []\n")
    assert "-144.000000000000" in run("book", "--reason", "it ended")[1]
    assert run("list") == []
