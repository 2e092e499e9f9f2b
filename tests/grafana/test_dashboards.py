"""The committed dashboards: in shape, complete, and safe to put text of strangers into."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana_macros import ALL, interpolate
from grafana_pages import SINGLE, pages, panels, queries
from tallyspan_grafana.__main__ import CONSOLE, FOLDER, PAGES, console_file, main, render
from tallyspan_grafana.page import MENU

KNOWN_UNITS = {"currency:financial:$", "short", "percentunit", "m", "s", "dateTimeAsIso", "string"}
KNOWN_TYPES = {"stat", "timeseries", "barchart", "bargauge", "table"}
PANELS = panels()
IDS = [f"{page}: {panel['title']}" for page, panel in PANELS]


def test_the_committed_files_are_what_the_generator_makes() -> None:
    for name in PAGES:
        assert (FOLDER / name).read_text() == render(name), "run `make dashboards`"
    assert {path.name for path in FOLDER.glob("*.json")} == set(PAGES)
    assert (CONSOLE / "pages.json").read_text() == console_file(), "run `make dashboards`"


@pytest.mark.parametrize("name", ["users.json", "pages.json"])
def test_a_changed_file_is_found_and_named(
    tmp_path: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main([], tmp_path, tmp_path, tmp_path) == 0
    assert main(["--check"], tmp_path, tmp_path, tmp_path) == 0
    (tmp_path / name).write_text("{}")

    assert main(["--check"], tmp_path, tmp_path, tmp_path) == 1
    assert f"{name} is not what the generator makes" in capsys.readouterr().err


def dropped(written: Any, kept: Any, path: str = "") -> list[str]:
    """Where `kept` lacks something of `written`."""
    match written, kept:
        case dict(), dict():
            return [
                text
                for key, value in written.items()
                for text in (
                    dropped(value, kept[key], f"{path}.{key}") if key in kept else [f"{path}.{key}"]
                )
            ]
        case list(), list() if len(written) == len(kept):
            return [
                text
                for number, value in enumerate(written)
                for text in dropped(value, kept[number], f"{path}[{number}]")
            ]
        case _:
            return [] if written == kept else [path]


@pytest.mark.parametrize("name", PAGES)
def test_the_sdk_knows_every_key_of_what_is_written(name: str) -> None:
    register_default_plugins()
    page = json.loads((FOLDER / name).read_text())
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(page)))

    assert dropped(page, again) == []


@pytest.mark.parametrize(("page", "panel"), PANELS, ids=IDS)
def test_a_panel_says_what_it_shows(page: str, panel: Any) -> None:
    defaults = panel["fieldConfig"]["defaults"]

    assert panel["title"]
    assert panel["type"] in KNOWN_TYPES
    assert re.search(
        r"From tallyspan\.((calls|call_doubts|call_price_doubts|call_meters|unknown_users)[ a-z]*, net of duplicates|reconciliations|imports|bills|month_totals|month_corrections|department_months|collector_health|requests_not_understood);"
        r" times in UTC\.",
        panel["description"],
    )
    assert defaults["unit"] in KNOWN_UNITS
    assert defaults["noValue"]
    assert panel["datasource"] == {"type": "grafana-clickhouse-datasource", "uid": "tallyspan"}
    assert [target["refId"] for target in panel["targets"]] == ["A"]
    assert panel["targets"][0]["format"] == (0 if panel["type"] == "timeseries" else 1)


@pytest.mark.parametrize(("page", "panel"), PANELS, ids=IDS)
def test_what_is_money_says_that_unpriced_calls_are_not_in_it(page: str, panel: Any) -> None:
    if panel["fieldConfig"]["defaults"]["unit"] == "currency:financial:$":
        text = panel["description"]
        assert "without a price" in text or "tokenizer" in text


def test_ids_are_unique_and_panels_fill_the_grid_without_covering_each_other() -> None:
    uids = [page["uid"] for page in pages().values()]
    assert len(set(uids)) == len(uids)
    for name, page in pages().items():
        assert (page["uid"], page.get("id")) == (f"tallyspan-{name}", None)
        assert page["schemaVersion"] >= 41
        assert page["editable"] is False
        assert page["refresh"] == "5m"
        ids = [panel["id"] for panel in page["panels"]]
        assert ids == list(range(1, len(ids) + 1))
        assert len(ids) <= 15, "a page of many panels waits for the connection pool"
        titles = [panel["title"] for panel in page["panels"]]
        assert len(titles) == len(set(titles))
        taken: set[tuple[int, int]] = set()
        for panel in page["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken
            taken |= cells
        bottom = max(y for _, y in taken) + 1
        assert len(taken) == 24 * bottom


def test_queries_read_the_reporting_views_only_and_name_variables_that_exist() -> None:
    for name, page in pages().items():
        variables = {variable["name"] for variable in page["templating"]["list"]}
        for title, sql in queries():
            if title.startswith(f"{name}:"):
                read = set(re.findall(r"(?:FROM|JOIN) (\w[\w.]+)", sql)) - {
                    "periods",
                    "spent",
                    "largest",
                    "pairs",
                }
                assert read <= {
                    "tallyspan.calls",
                    "tallyspan.clock",
                    "tallyspan.running_periods",
                    "tallyspan.usage_daily",
                    "tallyspan.usage_by_agent_alone",
                    "tallyspan.usage_by_model_alone",
                    "tallyspan.usage_hourly",
                    "tallyspan.unknown_users",
                    "tallyspan.call_doubts",
                    "tallyspan.call_price_doubts",
                    "tallyspan.call_meters",
                    "tallyspan.usage_by_model",
                    "tallyspan.usage_by_conversation",
                    "tallyspan.usage_totals",
                    "tallyspan.usage_by_user",
                    "tallyspan.usage_by_agent",
                    "tallyspan.usage_by_service",
                    "tallyspan.usage_entries",
                    "tallyspan.reconciliations",
                    "tallyspan.bill_runs",
                    "tallyspan.imports",
                    "tallyspan.bills",
                    "tallyspan.month_totals",
                    "tallyspan.month_corrections",
                    "tallyspan.department_months",
                    "tallyspan.second_prices",
                    "tallyspan.collector_health",
                    "tallyspan.requests_not_understood",
                    "tallyspan.budget_status",
                    "tallyspan.budget_periods",
                    "tallyspan.budgeted_days",
                }, title
                assert set(re.findall(r"\$\{?([a-z]\w*)", sql)) <= variables, title
                assert all(":singlequote" in each for each in re.findall(r"\$\{\w+[^}]*\}", sql))


def test_macros_are_those_the_plugin_has_and_no_day_is_cut_by_seconds() -> None:
    for title, sql in queries():
        assert set(re.findall(r"\$__\w+", sql)) <= {
            "$__timeFilter",
            "$__fromTime",
            "$__toTime",
            "$__conditionalAll",
        }, title
        assert not re.search(r"toStartOfInterval|\$__timeInterval", sql), title


def test_one_value_is_asked_for_where_one_is_drawn_and_several_elsewhere() -> None:
    for name, page in pages().items():
        for variable in page["templating"]["list"]:
            assert bool(variable.get("multi")) == (name not in SINGLE)
            assert bool(variable.get("includeAll")) == (name not in SINGLE)


def links() -> list[tuple[str, str]]:
    urls = [(name, link["url"]) for name, page in pages().items() for link in page.get("links", [])]
    for name, panel in PANELS:
        for override in panel["fieldConfig"]["overrides"]:
            urls += [
                (name, link["url"])
                for each in override["properties"]
                if each["id"] == "links"
                for link in each["value"]
            ]
    return urls


def test_every_link_leads_to_a_page_and_a_variable_of_it() -> None:
    by_uid = {page["uid"]: page for page in pages().values()}
    assert any("var-" in url for _, url in links())
    for _, url in links():
        uid, _, query = url.removeprefix("/d/").partition("?")
        variables = {each["name"] for each in by_uid[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", query)) <= variables
        assert not query or "${__url_time_range}" in query


@pytest.mark.parametrize(("page", "panel"), PANELS, ids=IDS)
def test_a_link_takes_its_key_from_a_column_of_the_row(page: str, panel: Any) -> None:
    sql = panel["targets"][0]["rawSql"]
    named = {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]}
    for key in re.findall(r"__data\.fields\.(\w+)", json.dumps(panel["fieldConfig"])):
        assert key in named
        assert f"AS {key}" in sql


def test_the_menu_is_the_same_on_every_page_and_keeps_range_and_choice() -> None:
    for page in pages().values():
        assert [link["title"] for link in page["links"]] == list(MENU.values())
        assert all(link["keepTime"] and link["includeVars"] for link in page["links"])


def test_the_menu_stands_above_the_page_and_not_in_its_controls() -> None:
    assert not any("placement" in link for page in pages().values() for link in page["links"])


def test_series_have_a_legend_and_a_tooltip_has_all_of_them() -> None:
    kinds = {"timeseries": True, "barchart": False}
    drawn = [panel for _, panel in PANELS if panel["type"] in kinds]
    assert len(drawn) > 10
    for panel in drawn:
        options = panel["options"]
        assert options["legend"]["showLegend"] is kinds[panel["type"]], panel["title"]
        assert options["tooltip"] == {"mode": "multi", "sort": "desc"}, panel["title"]


def test_macros_become_what_the_plugin_makes_of_them() -> None:
    start = datetime(2014, 11, 12, 11, 45, 26, 123000, UTC)
    end = datetime(2015, 11, 12, 11, 45, 26, 456000, UTC)

    assert interpolate("$__timeFilter(t)", start, end) == (
        "t >= toDateTime(1415792726) AND t <= toDateTime(1447328726)"
    )
    assert interpolate("$__fromTime x $__toTime", start, end) == (
        "toDateTime(1415792726) x toDateTime(1447328726)"
    )
    sql = "$__conditionalAll(f(a) IN (${user:singlequote}), $user)"
    assert interpolate(sql, start, end, {"user": ["x", "y'"]}) == "f(a) IN ('x','y\\'')"
    assert interpolate(sql, start, end, {"user": [ALL]}) == "1=1"


def test_provisioning_names_the_data_source_and_folder_that_the_dashboards_use() -> None:
    root = FOLDER.parent / "provisioning"
    (source,) = yaml.safe_load((root / "datasources/tallyspan.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((root / "dashboards/tallyspan.yaml").read_text())["providers"]

    assert (source["uid"], source["jsonData"]["username"]) == ("tallyspan", "tallyspan_reader")
    assert provider["options"]["path"] == "/var/lib/tallyspan/dashboards"
