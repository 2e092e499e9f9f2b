"""The console in a real browser: every page drawn, no error, the API's own figures on it.

Pictures of every page are left in the folder that TALLYSPAN_SCREENSHOTS names; without it none is
taken.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from call_facts import NASTY, NASTY_FACTS, a_busy_time, fill
from grafana_pages import key
from running import Running, running_collector
from tallyspan_collector.console.dashboards import bundled
from tallyspan_collector.summary.budgets import Budget, put

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PICTURES = os.environ.get("TALLYSPAN_SCREENSHOTS")
LONG_AGO = date(2020, 1, 1)
# Panels and columns in which the clock counts: a second later they have other figures.
OF_THIS_SECOND = {
    "Since the last call", "Forecast of this month", "forecast", "low", "high", "forecast_used",
}  # fmt: skip
BUDGETS = [
    Budget("total", "", "month", LONG_AGO, Decimal(30), owner="cfo@example.com"),
    Budget("department", "platform", "month", LONG_AGO, Decimal(8), owner="linus.t"),
    Budget("department", "research", "quarter", LONG_AGO, Decimal(20)),
    Budget("user", "linus.t", "month", LONG_AGO, Decimal("7.50"), warn_percent=70),
    Budget("model", "gpt-5", "year", LONG_AGO, Decimal(400)),
    Budget("agent", "tutor", "month", LONG_AGO, Decimal(6)),
]
DESK, PHONE = {"width": 1440, "height": 1000}, {"width": 390, "height": 844}
PAGES = [uid.removeprefix("tallyspan-") for uid in bundled()]


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """On a store of its own: only there `up` writes the key that a person logs in with."""
    with running_collector(tmp_path_factory.mktemp("store")) as running:
        fill(running.client, a_busy_time())
        for each in BUDGETS:
            put(running.client, each)
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def session(chromium: Any, collector: Running) -> Any:
    """What a browser keeps of a login, for tabs that need not go through it again."""
    tab = Tab(chromium, collector)
    tab.log_in()
    kept = tab.context.storage_state()
    tab.context.close()
    return kept


class Tab:
    """A tab that keeps what the browser complained of, and every address it asked."""

    def __init__(self, chromium: Any, collector: Running, session: Any = None) -> None:
        self.home = collector.ready.admin
        self.key_file = collector.ready.admin_key_file
        self.context = chromium.new_context(viewport=DESK, storage_state=session)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda line: (
                self.complaints.append(line.text) if line.type in {"error", "warning"} else None
            ),
        )
        self.page.on("request", lambda request: self.requested.append(request.url))

    def renew(self) -> None:
        """Leave what a new tab has; a process of a page's own would cost a second of work."""
        self.page.goto("about:blank")
        self.page.set_viewport_size(DESK)
        self.page.emulate_media(color_scheme="light")
        self.complaints.clear()
        self.requested.clear()

    def log_in(self) -> None:
        assert self.key_file is not None
        self.page.goto(self.home + "/")
        self.page.fill("#key", Path(self.key_file).read_text().strip())
        self.page.press("#key", "Enter")
        self.settle()

    def open(self, path: str) -> None:
        self.page.goto(self.home + path)
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_selector("#page[aria-busy=false]")
        playwright.expect(self.page.locator(".panel.loading")).to_have_count(0)

    def picture(self, name: str) -> None:
        if PICTURES:
            Path(PICTURES).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)

    def api(self, path: str) -> Any:
        answer = self.context.request.get(self.home + path)
        assert answer.ok
        return answer.json()

    def check_drawn(self) -> None:
        """No panel is missing, failed or empty, and nothing was asked elsewhere."""
        uid = re.sub(r"[?#].*", "", self.page.url).rpartition("/")[2]
        panels = self.api(f"/api/admin/dashboards/{uid}")["panels"]
        assert self.page.locator(".panel").count() == len(panels)
        assert self.page.locator(".panel.failed").count() == 0
        assert self.page.locator(".panel .body:empty").count() == 0
        assert self.complaints == []
        assert {u for u in self.requested if not u.startswith((self.home, "blob:"))} == set()
        assert not any("tsa_" in url for url in self.requested)


@pytest.fixture(scope="module")
def tab_of_module(chromium: Any, collector: Running, session: Any) -> Iterator[Tab]:
    opened = Tab(chromium, collector, session)
    yield opened
    opened.context.close()


@pytest.fixture
def tab(tab_of_module: Tab) -> Tab:
    tab_of_module.renew()
    return tab_of_module


@pytest.fixture
def overview(tab: Tab) -> Tab:
    tab.open("/")
    return tab


@pytest.fixture(scope="module")
def tab_of_pages(chromium: Any, collector: Running, session: Any) -> Iterator[Tab]:
    opened = Tab(chromium, collector, session)
    yield opened
    opened.context.close()


@pytest.fixture(scope="module", params=PAGES)
def drawn(request: pytest.FixtureRequest, tab_of_pages: Tab) -> tuple[str, Tab]:
    """A page and the tab that has drawn it, once for all that is looked at."""
    tab_of_pages.renew()
    tab_of_pages.open(f"/d/tallyspan-{request.param}?from=now-29d%2Fd&to=now%2Fd")
    return request.param, tab_of_pages


def test_every_page_is_drawn_without_an_error_or_a_request_to_elsewhere(
    drawn: tuple[str, Tab],
) -> None:
    name, tab = drawn
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)
        tab.settle()
        tab.check_drawn()
        tab.picture(f"{name}-{scheme}")


def test_a_page_can_be_opened_in_the_dark(tab: Tab) -> None:
    tab.page.emulate_media(color_scheme="dark")
    tab.open("/d/tallyspan-overview")
    tab.check_drawn()


def test_the_figures_on_a_page_are_those_of_the_api(drawn: tuple[str, Tab]) -> None:
    name, tab = drawn
    query = tab.page.url.partition("?")[2]
    dashboard = tab.api(f"/api/admin/dashboards/tallyspan-{name}")
    lines = tab.context.request.get(
        f"{tab.home}/api/admin/dashboards/tallyspan-{name}/panels?{query}"
    ).text()
    answers = {each["panel"]: each["answer"] for each in map(json.loads, lines.splitlines())}
    for panel in dashboard["panels"]:
        drawn_panel = tab.page.locator(f"[data-panel='{panel['id']}']")
        answer = answers[panel["id"]]
        names = [column["name"] for column in answer["columns"]]
        if panel["type"] == "stat" and panel["title"] not in OF_THIS_SECOND:
            shown = drawn_panel.locator(".figure").get_attribute("data-value")
            value = answer["rows"][0][0] if answer["rows"] else None
            assert shown == (None if value is None else text_of(value)), panel["title"]
        if panel["type"] == "table" and answer["rows"]:
            first = drawn_panel.locator("tbody tr").first.locator("td")
            hidden = {
                each["matcher"]["options"]
                for each in panel["fieldConfig"]["overrides"]
                for property_ in each["properties"]
                if property_["id"] == "custom.hidden"
            }
            row = [
                (column, text_of(value))
                for column, value in zip(names, answer["rows"][0], strict=True)
                if column not in hidden
            ]
            cells = [cell.get_attribute("data-value") or "" for cell in first.all()]
            assert len(cells) == len(row)
            for shown, (column, value) in zip(cells, row, strict=True):
                assert shown == value or column in OF_THIS_SECOND, (panel["title"], column)
            assert drawn_panel.locator("tbody tr").count() == len(answer["rows"])


def test_nothing_is_wider_than_a_phone(drawn: tuple[str, Tab]) -> None:
    name, tab = drawn
    tab.page.set_viewport_size(PHONE)
    tab.settle()
    tab.page.wait_for_function(f"document.documentElement.scrollWidth <= {PHONE['width']}")
    tab.picture(f"{name}-phone")
    assert tab.complaints == []
    tab.page.set_viewport_size(DESK)


def test_a_page_opened_on_a_phone_is_no_wider(tab: Tab) -> None:
    tab.page.set_viewport_size(PHONE)
    tab.open("/d/tallyspan-overview")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert tab.complaints == []


def text_of(value: Any) -> str:
    """As JavaScript writes it."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def test_from_the_overview_to_a_user_to_a_conversation_by_links(overview: Tab) -> None:
    tab = overview
    tab.page.locator(".panel", has_text="Top users").get_by_role("link", name="linus.t").click()
    tab.settle()
    assert f"var-user={key('linus.t')}" in tab.page.url
    assert tab.page.locator("[data-panel='1'] .figure").inner_text() == "linus.t"

    tab.page.get_by_role("link", name="refactoring").click()
    tab.settle()
    assert tab.page.locator("h1").inner_text() == "Conversation"
    assert tab.page.locator("[data-panel='3'] .figure").inner_text() == "$5.670000"
    tab.page.go_back()
    tab.settle()
    assert tab.page.locator("h1").inner_text() == "User"


def test_a_call_of_a_conversation_leads_to_why_it_costs_that(tab: Tab) -> None:
    tab.open(f"/d/tallyspan-conversation?var-conversation={key('refactoring')}&from=now-30d&to=now")
    tab.page.locator(".panel", has_text="Calls in order").locator("td a").first.click()
    tab.page.wait_for_selector(".explanation .sum")
    tab.settle()

    assert tab.page.locator("h1").inner_text() == "Call"
    assert tab.page.locator(".explanation .sum").inner_text() == "0.63 USD (priced)"
    meters = tab.page.locator(".panel", has_text="Meters").locator("tbody tr").all_inner_texts()
    assert [each.split() for each in meters] == [
        ["cache_read_tokens", "20,000"], ["input_tokens", "90,000"], ["output_tokens", "9,000"],
    ]  # fmt: skip
    assert tab.complaints == []


def test_a_department_has_its_statement_by_a_link_on_the_page_of_months(tab: Tab) -> None:
    tab.open("/d/tallyspan-months")
    months = tab.page.get_by_label("Month", exact=True)
    months.select_option(index=0)
    tab.picture("statements")
    line = tab.page.locator(".statements li", has_text="research")
    month = months.locator("option").first.inner_text()

    with tab.page.expect_download() as download:
        line.get_by_role("link", name="PDF of research").click()

    assert line.locator("small").inner_text() == "provisional"
    assert download.value.suggested_filename == f"{month}_department_research.pdf"
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF-")
    assert tab.complaints == []


def test_what_is_chosen_is_in_the_address_and_in_the_figures(overview: Tab) -> None:
    tab = overview
    tab.page.click("[data-chooser='User'] .opener")
    tab.page.fill("[data-chooser='User'] input[type=search]", "linus")
    tab.page.get_by_label("linus.t").check()
    tab.page.click("[data-chooser='User'] .primary")
    tab.settle()

    assert f"var-user={key('linus.t')}" in tab.page.url
    rows = tab.page.locator(".panel", has_text="Top users").locator("tbody tr")
    assert [row.locator("td").first.inner_text() for row in rows.all()] == ["linus.t"]
    tab.page.click("[data-chooser='Range'] .opener")
    tab.page.get_by_role("button", name="Last 7 days").click()
    tab.settle()
    assert "from=now-7d" in tab.page.url
    assert "var-user" in tab.page.url


def test_a_table_is_sorted_and_a_chart_becomes_a_table_by_keyboard_alone(tab: Tab) -> None:
    tab.open("/d/tallyspan-users")
    tokens = tab.page.get_by_role("button", name="Tokens")
    tokens.focus()
    tab.page.keyboard.press("Enter")
    heading = tab.page.locator("th", has_text="Tokens")
    assert heading.get_attribute("aria-sort") == "descending"
    cells = tab.page.locator("td:nth-child(8)").all()
    counts = [int(cell.get_attribute("data-value") or 0) for cell in cells]
    assert counts == sorted(counts, reverse=True)

    tab.page.get_by_label("Show Spend per day, by user as a table").focus()
    tab.page.keyboard.press("Enter")
    table = tab.page.locator("[data-panel='6'] table")
    headings = table.locator("th").all_inner_texts()
    assert headings[0] == "Day"
    assert {"linus.t", "(all others)"} <= set(headings)
    days = table.locator("tbody td:first-child").all_inner_texts()
    assert len(days) == len(set(days)) > 20
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d", each) for each in days)
    assert table.locator("tbody td:nth-child(2)").first.inner_text().startswith("$")


def test_who_is_not_in_the_list_is_searched_in_the_store(overview: Tab) -> None:
    tab = overview
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.page.click("[data-chooser='User'] .opener")
    tab.page.fill("[data-chooser='User'] input[type=search]", "nobody of that name")

    tab.page.get_by_text("nothing of that name in the range").wait_for()
    assert any("contains=nobody+of+that+name" in url for url in asked)


def test_a_range_of_days_begins_with_the_one_that_is_shown_and_cannot_be_reversed(
    tab: Tab,
) -> None:
    tab.open("/d/tallyspan-overview?from=2026-02-01&to=2026-02-20")
    tab.page.click("[data-chooser='Range'] .opener")
    first, last = tab.page.locator("#range-from"), tab.page.locator("#range-to")
    assert (first.input_value(), last.input_value()) == ("2026-02-01", "2026-02-20")

    last.fill("2026-01-10")
    tab.page.locator(".dates button").click()
    assert "from=2026-02-01&to=2026-02-20" in tab.page.url
    assert not last.evaluate("e => e.validity.valid")

    tab.open("/d/tallyspan-overview?from=2026-02-20&to=2026-02-01")
    alerts = tab.page.get_by_role("alert").all_inner_texts()
    assert [text for text in alerts if text] == [
        "No figures came: from must be before to: '2026-02-20' is not before '2026-02-01'"
    ]


def test_focus_stays_where_the_keyboard_was(tab: Tab) -> None:
    tab.open("/d/tallyspan-users")
    for name in ("Tokens", "Calls"):
        tab.page.get_by_role("button", name=name, exact=True).focus()
        tab.page.keyboard.press("Enter")
        assert tab.page.evaluate("document.activeElement.textContent") == name

    opener = tab.page.locator("[data-chooser='Range'] .opener")
    opener.focus()
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("button", name="Last 6 hours").focus()
    tab.page.keyboard.press("ArrowDown")
    assert tab.page.evaluate("document.activeElement.textContent") == "Last 24 hours"
    tab.page.keyboard.press("Enter")
    tab.settle()
    assert tab.page.evaluate("document.activeElement.textContent").startswith("Last 24 hours")
    tab.page.keyboard.press("Enter")
    tab.page.locator(".refresh").focus()
    assert tab.page.locator(".dropdown:visible").count() == 0


def test_a_session_that_has_ended_says_so(chromium: Any, collector: Running, session: Any) -> None:
    tab = Tab(chromium, collector, session)
    tab.open("/d/tallyspan-overview")
    tab.context.clear_cookies()
    tab.page.click(".refresh")

    tab.page.get_by_role("alert").get_by_text("Your session has ended").wait_for()
    tab.context.close()


def test_a_choice_on_a_phone_stays_on_the_screen(tab: Tab) -> None:
    tab.page.set_viewport_size(PHONE)
    tab.open("/d/tallyspan-overview")
    for title in ("Department", "User", "Model", "Range"):
        opener = tab.page.locator(f"[data-chooser='{title}'] .opener")
        opener.click()
        box = tab.page.locator(f"[data-chooser='{title}'] .dropdown").bounding_box()
        assert box["x"] >= 0, title
        assert box["x"] + box["width"] <= PHONE["width"], title
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        opener.click()


def test_a_chart_says_what_is_under_the_pointer(overview: Tab) -> None:
    tab = overview
    chart = tab.page.locator("[data-panel='10'] .u-over")
    box = chart.bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5)

    tooltip = tab.page.locator("[data-panel='10'] .tooltip")
    assert re.search(r"20\d\d-\d\d-\d\d", tooltip.inner_text())
    assert "Total" in tooltip.inner_text()


def test_logging_out_ends_the_session(chromium: Any, collector: Running) -> None:
    tab = Tab(chromium, collector)
    tab.log_in()
    tab.page.click("#logout")
    tab.page.wait_for_selector("#key")
    tab.picture("login")

    assert tab.context.request.get(f"{tab.home}/api/admin/dashboards").status == 401
    tab.context.close()


@pytest.fixture
def of_strangers(collector: Running) -> Iterator[None]:
    """The ledger with names that strangers wrote, until the test ends."""
    fill(collector.client, NASTY_FACTS)
    yield
    fill(collector.client, a_busy_time())


def test_names_that_strangers_wrote_are_text_and_nothing_else(of_strangers: None, tab: Tab) -> None:
    tab.page.on("dialog", lambda _: tab.complaints.append("a script of a stranger ran"))
    for name in PAGES:
        tab.open(f"/d/tallyspan-{name}")
        assert tab.page.locator(".panel.failed").count() == 0
        if name == "users":
            links = tab.page.locator(".panel.table td:first-child a").all()
            assert {link.evaluate("e => e.textContent") for link in links} == set(NASTY)
    # An address has a name in hexadecimal, so these two stand for all.
    for name in ("<script>alert(1)</script>", "line\nbreak"):
        tab.open(f"/d/tallyspan-user?var-user={key(name)}")
        figure = tab.page.locator("[data-panel='1'] .figure")
        assert figure.evaluate("e => e.textContent") == name
    assert tab.complaints == []
