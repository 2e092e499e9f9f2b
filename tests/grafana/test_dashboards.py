"""Every panel and variable: in shape, interpolated as Grafana does, run in the engine, adding up."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana_macros import ALL, interpolate
from tallyspan_clickhouse.migrate import migrate
from tallyspan_grafana.__main__ import FOLDER, PAGES, render

NOW = datetime.now(UTC).replace(microsecond=0)
RANGES = {"6h": timedelta(hours=6), "30d": timedelta(days=30), "90d": timedelta(days=90)}
KNOWN_UNITS = {"currency:financial:$", "short", "m"}
FACTS = [
    # user, department, model, hours ago, tokens, cost, cost status
    ("ada", "research", "gpt-5", 1, 1000, Decimal("1.25"), "priced"),
    ("ada", "research", "claude", 30, 2000, Decimal("0.5"), "priced"),
    ("bob", "sales", "gpt-5", 50, 300, Decimal("0.000001"), "reported"),
    ("bob", "sales", "unknown-model", 3, 700, None, "unpriced"),
    ("", "", "gpt-5", 2, None, Decimal(0), "not_billed"),
]
NASTY = [
    "a'; DROP TABLE x; --",
    "\\",
    "\\'",
    "${user}",
    "$__timeFilter(x)",
    "😀",
    "<script>",
    "%s {x:String}",
]


def pages() -> list[Any]:
    return [json.loads((FOLDER / name).read_text()) for name in PAGES]


def panels() -> list[Any]:
    return [panel for page in pages() for panel in page["panels"]]


PANELS = panels()
IDS = [panel["title"] for panel in PANELS]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made = clickhouse_connect.get_client(
        interface="chdb", path=str(tmp_path_factory.mktemp("chdb")), tz_mode="aware"
    )
    made.command("CREATE DATABASE tallyspan")
    migrate(made, "tallyspan")
    yield made
    made.close()


def seed(client: Client, facts: list[tuple[Any, ...]]) -> None:
    client.command("TRUNCATE TABLE tallyspan.llm_calls")
    columns = ["user_id", "department", "model_name", "start_time", "input_tokens", "cost_usd",
               "cost_status", "entry_kind", "sign", "trace_id", "span_id", "usage_source"]  # fmt: skip
    rows = [
        (user, department, model, NOW - timedelta(hours=hours), tokens, cost, status, "call", 1,
         f"{number:032x}", f"{number:016x}", "unknown" if tokens is None else "provider")
        for number, (user, department, model, hours, tokens, cost, status) in enumerate(facts)
    ]  # fmt: skip
    if rows:
        client.insert("tallyspan.llm_calls", rows, column_names=columns)


def key_of(client: Client, name: str) -> str:
    answer = client.query("SELECT hex(sipHash64({name:String}))", parameters={"name": name})
    return str(answer.result_rows[0][0])


def run(client: Client, title: str, days: int = 90, **chosen: list[str]) -> list[dict[str, Any]]:
    panel = next(panel for panel in PANELS if panel["title"] == title)
    sql = interpolate(panel["targets"][0]["rawSql"], NOW - timedelta(days=days), NOW, chosen)
    return list(client.query(sql).named_results())


def test_the_committed_files_are_what_the_generator_makes() -> None:
    for name in PAGES:
        assert (FOLDER / name).read_text() == render(name), "run `make dashboards`"


def test_the_sdk_reads_back_what_it_wrote() -> None:
    register_default_plugins()
    for page in pages():
        again = json.loads(JSONEncoder().encode(Dashboard.from_json(page)))
        assert again.keys() == page.keys()
        assert [panel["options"] for panel in again["panels"]] == [
            panel["options"] for panel in page["panels"]
        ]


@pytest.mark.parametrize("panel", PANELS, ids=IDS)
def test_a_panel_says_what_it_shows(panel: Any) -> None:
    defaults = panel["fieldConfig"]["defaults"]

    assert panel["title"]
    assert "UTC" in panel["description"]
    assert defaults["unit"] in KNOWN_UNITS
    assert defaults["noValue"]
    assert panel["datasource"] == {"type": "grafana-clickhouse-datasource", "uid": "tallyspan"}
    assert panel["targets"][0]["format"] == (0 if panel["type"] == "timeseries" else 1)


def test_ids_are_unique_and_no_panel_covers_another() -> None:
    for page in pages():
        assert (page["uid"], page.get("id")) == ("tallyspan-overview", None)
        assert page["schemaVersion"] >= 41
        ids = [panel["id"] for panel in page["panels"]]
        assert len(ids) == len(set(ids))
        taken: set[tuple[int, int]] = set()
        for panel in page["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken
            assert at["x"] + at["w"] <= 24
            taken |= cells


def test_queries_read_the_reporting_views_only_and_name_variables_that_exist() -> None:
    for page in pages():
        variables = {variable["name"] for variable in page["templating"]["list"]}
        texts = [panel["targets"][0]["rawSql"] for panel in page["panels"]]
        texts += [variable["query"]["rawSql"] for variable in page["templating"]["list"]]
        for sql in texts:
            assert set(re.findall(r"FROM (\S+)", sql)) <= {
                "tallyspan.calls",
                "tallyspan.token_usage",
            }
            assert set(re.findall(r"\$\{?([a-z]\w*)", sql)) <= variables
            assert all(":singlequote" in each for each in re.findall(r"\$\{\w+[^}]*\}", sql))


@pytest.mark.parametrize("facts", ["empty", "seeded", "nasty"])
@pytest.mark.parametrize("length", RANGES.values(), ids=RANGES.keys())
def test_every_query_runs_for_every_range_choice_and_data(
    client: Client, facts: str, length: timedelta
) -> None:
    sets: dict[str, list[tuple[Any, ...]]] = {
        "empty": [],
        "seeded": FACTS,
        "nasty": [(name, name, name, 1, 5, Decimal(1), "priced") for name in NASTY],
    }
    seed(client, sets[facts])
    choices: list[dict[str, list[str]]] = [{}, {"user": [key_of(client, "ada")]}]
    choices.append(
        {name: [key_of(client, text) for text in NASTY] for name in ("user", "department", "model")}
    )
    for page in pages():
        texts = [panel["targets"][0]["rawSql"] for panel in page["panels"]]
        texts += [variable["query"]["rawSql"] for variable in page["templating"]["list"]]
        for sql in texts:
            for chosen in choices:
                client.query(interpolate(sql, NOW - length, NOW, chosen))


def test_a_nasty_name_can_be_chosen_like_any_other(client: Client) -> None:
    seed(client, [(name, "", "m", 1, 5, Decimal(1), "priced") for name in NASTY])
    for name in NASTY:
        assert run(client, "Spend", user=[key_of(client, name)]) == [{"spend": Decimal(1)}]


def test_total_is_the_sum_by_user_by_model_by_department_and_by_day(client: Client) -> None:
    seed(client, FACTS)
    total = sum((fact[5] for fact in FACTS if fact[5] is not None), Decimal(0))
    by_day: defaultdict[tuple[datetime, str], Decimal] = defaultdict(Decimal)
    for _, _, model, hours, _, cost, _ in FACTS:
        day = (NOW - timedelta(hours=hours)).replace(hour=0, minute=0, second=0)
        if cost is not None:
            by_day[day, model] += cost

    assert run(client, "Spend") == [{"spend": total}]
    for title in ("Top users", "Top models", "Spend by department"):
        rows = run(client, title)
        assert sum(row["spend"] or 0 for row in rows) == total
        assert sum(row["calls"] for row in rows) == len(FACTS)
        assert sum(row["unpriced"] for row in rows) == 1
    shown = {
        (row["time"], row["model"]): row["spend"] for row in run(client, "Spend per day, by model")
    }
    assert shown == dict(by_day)


def test_what_has_no_price_is_no_zero(client: Client) -> None:
    seed(client, FACTS)
    (row,) = [row for row in run(client, "Top models") if row["name"] == "unknown-model"]

    assert row["spend"] is None
    assert run(client, "Unpriced calls") == [{"unpriced": 1}]
    assert run(client, "Spend", model=[key_of(client, "unknown-model")]) == [{"spend": None}]


def test_days_come_in_order_for_grafana_refuses_others(client: Client) -> None:
    seed(client, FACTS)
    times = [row["time"] for row in run(client, "Spend per day, by model")]

    assert times == sorted(times)


def test_macros_become_what_the_plugin_makes_of_them() -> None:
    start = datetime(2014, 11, 12, 11, 45, 26, 123000, UTC)
    end = datetime(2015, 11, 12, 11, 45, 26, 456000, UTC)

    assert interpolate("$__timeFilter(t)", start, end) == (
        "t >= toDateTime(1415792726) AND t <= toDateTime(1447328726)"
    )
    sql = "$__conditionalAll(f(a) IN (${user:singlequote}), $user)"
    assert interpolate(sql, start, end, {"user": ["x", "y'"]}) == "f(a) IN ('x','y\\'')"
    assert interpolate(sql, start, end, {"user": [ALL]}) == "1=1"


def test_provisioning_names_the_data_source_and_folder_that_the_dashboards_use() -> None:
    import yaml

    root = Path(FOLDER).parent / "provisioning"
    (source,) = yaml.safe_load((root / "datasources/tallyspan.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((root / "dashboards/tallyspan.yaml").read_text())["providers"]

    assert (source["uid"], source["jsonData"]["username"]) == ("tallyspan", "tallyspan_reader")
    assert provider["options"]["path"] == "/var/lib/tallyspan/dashboards"
