"""Imports that the collector does by itself: when they are due, again after failures and late calls."""

import pickle
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from billing_server import KEY, BillingServer, Used, billing_server
from config_sections import section
from ledger import NOON, book, call, reversal
from shared_store import SharedStore
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.ledger_lock import imports_lock
from tallyspan_collector.bills import pages
from tallyspan_collector.booked.imports import check_kept
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.imports import fetch
from tallyspan_collector.imports.schedule import Schedule
from tallyspan_collector.imports.settings import Import, of_section
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.pricing.book import PriceBook

DAY = NOON.date()
MORNING = datetime(2026, 4, 1, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _without_pauses(empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    monkeypatch.setattr(pages.Api.__init__, "__defaults__", (pages.ADMIN_KEY, lambda _: None))


def imports(folder: Path, url: str, more: str = "") -> tuple[Import, ...]:
    days = "" if "look_back" in more else ", look_back: 1d"
    what = of_section(
        section(folder, f"imports:\n  - {{from: openai, url: '{url}'{days}{more}}}\n")
    )
    return tuple(each for each in what if isinstance(each, Import))


def schedule(what: tuple[Import, ...]) -> Schedule:
    prices = PriceBook()
    return Schedule(what, lambda: prices, Directory(), Metrics())


def imported(client: Client) -> Decimal:
    (row,) = client.query(
        "SELECT sum(cost_usd) FROM llm_calls WHERE entry_kind = 'imported'"
    ).result_rows
    return Decimal(row[0] or 0)


def test_an_import_runs_when_it_is_due_and_not_before(client: Client, tmp_path: Path) -> None:
    with billing_server(BillingServer([Used(DAY, "gpt-4.1", usd="1")], page_days=7)) as server:
        what = schedule(imports(tmp_path, server.url))
        what.look(client, MORNING)
        asked = len(server.requests)
        what.look(client, MORNING + HOUR)
        # a collector that starts meanwhile, or another one, sees when it was done
        others = schedule(imports(tmp_path, server.url, ", every: 400d"))
        others.look(client, datetime.now(UTC))
        again = len(server.requests)
        what.look(client, MORNING + 7 * HOUR)

    assert imported(client) == 1
    assert again == asked
    assert len(server.requests) == 2 * asked


def test_while_another_machine_imports_it_is_left_to_it(client: Client, tmp_path: Path) -> None:
    with (
        billing_server(BillingServer([Used(DAY, "gpt-4.1", usd="1")])) as server,
        imports_lock(client, "import openai", 1.0),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(fetch, "BRIEF_PATIENCE_SECONDS", 0.0)
        what = schedule(imports(tmp_path, server.url))
        what.look(client, MORNING)

        warnings = what.warnings
        assert not server.requests
    with billing_server(server):
        moved = imports(tmp_path, server.url)
        schedule(moved).look(client, MORNING + HOUR)
        what.look(client, MORNING + 2 * HOUR)

    assert "usage is being imported" in warnings[0]
    assert what.warnings == []
    assert imported(client) == 1


def test_days_that_got_calls_since_are_booked_again_without_asking_the_provider(
    client: Client, tmp_path: Path
) -> None:
    used = Used(DAY, "gpt-4.1", 5, 500, 50, usd="0.0014")
    with billing_server(BillingServer([used], page_days=7)) as server:
        what = schedule(imports(tmp_path, server.url))
        what.look(client, MORNING)
        asked, amounts = len(server.requests), [imported(client)]
        late = call(cost_usd=Decimal("0.00028"))
        for entries in ([late], [reversal(late)], []):
            book(client, entries)
            what.look(client, MORNING + HOUR)
            amounts.append(imported(client))

    assert amounts == [Decimal(each) for each in ("0.0014", "0.00112", "0.0014", "0.0014")]
    assert len(server.requests) == asked
    runs = "SELECT countIf(state = 'finished'), any(kind) FROM price_changes"
    assert client.query(runs).result_rows == [(3, "imported")]


def test_a_refused_key_is_a_warning_and_is_tried_again_when_it_is_due(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with billing_server(BillingServer([Used(DAY, "gpt-4.1", usd="1")], page_days=7)) as server:
        monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-old")
        what = schedule(imports(tmp_path, server.url))
        what.look(client, MORNING)
        what.look(client, MORNING + HOUR)
        asked, warnings = len(server.requests), what.warnings
        monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
        what.look(client, MORNING + 7 * HOUR)

    assert asked == 1
    assert len(warnings) == 1
    assert "the key of OPENAI_ADMIN_KEY is refused" in warnings[0]
    assert "sk-old" not in warnings[0]
    assert what.warnings == []
    assert imported(client) == 1


def test_what_may_pass_is_tried_again_soon(client: Client, tmp_path: Path) -> None:
    limited = (429, {"Retry-After": "3600"}, b"{}")
    used = [Used(DAY, "gpt-4.1", usd="1")]
    with billing_server(BillingServer(used, page_days=7, faults=[limited] * 5)) as server:
        what = schedule(imports(tmp_path, server.url))
        what.look(client, MORNING)
        warnings = what.warnings
        what.look(client, MORNING + timedelta(minutes=15))

    assert "429" in warnings[0]
    assert what.warnings == []
    assert imported(client) == 1


def test_an_import_that_broke_off_after_a_week_is_tried_again_soon(
    client: Client, tmp_path: Path
) -> None:
    limited = (429, {"Retry-After": "3600"}, b"{}")
    server = BillingServer([Used(DAY, "gpt-4.1", usd="1")], page_days=7)
    server.fault_after = (7, [limited] * 5)  # a week is seven requests
    with billing_server(server):
        what = schedule(imports(tmp_path, server.url, ", look_back: 14d"))
        what.look(client, MORNING)
        warnings = what.warnings
        what.look(client, MORNING + timedelta(minutes=15))

    assert "--from 2026-03-25" in warnings[0]
    assert what.warnings == []
    assert imported(client) == 1


def test_days_whose_calls_are_archived_are_not_imported(client: Client) -> None:
    client.command(
        "INSERT INTO removals (first_day, last_day, reason) VALUES"
        " ('2026-01-01', '2026-01-31', 'archive')"
    )
    with pytest.raises(ConfigError, match=r"calls up to 2026-01-31 .*; begin with 2026-02-01"):
        check_kept(client, date(2026, 1, 20))
    check_kept(client, date(2026, 2, 1))


def test_days_whose_calls_have_expired_are_not_imported(client: Client) -> None:
    client.command("ALTER TABLE llm_calls MODIFY TTL toDateTime(start_time) + toIntervalDay(400)")
    try:
        with pytest.raises(ConfigError, match=r"calls up to .* have expired"):
            check_kept(client, date(2020, 1, 1))
    finally:
        client.command("ALTER TABLE llm_calls REMOVE TTL")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("imports: openai", "must be a list"),
        ("imports:\n  - {name: x}", "needs 'from'"),
        ("imports:\n  - {from: opnai}", "did you mean 'openai'?"),
        ("imports:\n  - {from: openai, evry: 6h}", "did you mean 'every'?"),
        ("imports:\n  - {from: openai, every: daily}", "must be a duration"),
        ("imports:\n  - {from: openai, look_back: 400d}", "45d at most"),
        ("imports:\n  - {from: openai, zone: Europe/Berlin}", "the days of the providers' APIs are UTC"),
        ("imports:\n  - {from: openai, url: 'http://elsewhere'}", "must begin with https://"),
        ("imports:\n  - {from: openai, recorded_as: team}", "must be one of department"),
        ("imports:\n  - {from: copilot}", "needs the name of the organisation"),
        ("imports:\n  - {from: aws}", "is read from its cost export"),
        ("imports:\n  - {from: claude-code, file: x.csv}", "there is no file of it"),
        ("imports:\n  - {from: openai}\n  - {from: openai}", "a second import is called 'openai'"),
        ("imports:\n  - {from: openai, names: [a]}", "cannot be ['a']"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_by_file_and_line(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        of_section(section(tmp_path, text))

    assert str(refused.value).startswith(f"{tmp_path}/tallyspan.yaml:")
    assert words in str(refused.value)


def test_a_file_says_how_an_import_is_matched(tmp_path: Path) -> None:
    text = """imports:
  - from: openai
    name: openai-eu
    key_file: /run/secrets/openai
    every: 12h
    look_back: 14d
    endpoint: eu.api.openai.com
    only: {source: eu}
    recorded_as: tag:team
    names: {proj_1: search}
    departments: {search: Research}
"""
    (what,) = of_section(section(tmp_path, text))
    assert isinstance(what, Import)

    assert (what.name, what.every_seconds, what.look_back_days) == ("openai-eu", 12 * 3600, 14)
    assert what.key_file == Path("/run/secrets/openai")
    matching = what.matching
    assert (matching.endpoint, matching.only, matching.recorded_as) == (
        "eu.api.openai.com",
        {"source": "eu"},
        "tag:team",
    )
    assert type(matching).from_json(matching.to_json()) == matching
    handed_on = pickle.loads(pickle.dumps(section(tmp_path, text)))
    assert of_section(handed_on) == (what,)


def test_a_lock_that_is_held_is_said_by_whom(client: Client) -> None:
    with (
        imports_lock(client, "import openai", 1.0),
        pytest.raises(StoreError, match="import openai by process"),
        imports_lock(client, "import anthropic", 0.0),
    ):
        pass
