"""Every page with a limited key: exactly what a full key gets of a ledger with those rows only."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from call_facts import FACTS, Fact, fill
from grafana_pages import SINGLE, key
from ledger import book, call
from set_clock import clock_at
from tallyspan_collector.access.keys import Key, Keys, digest
from tallyspan_collector.api import create_app
from tallyspan_collector.console.dashboards import bundled
from tallyspan_collector.summary.budgets import Budget, put

NOW = datetime.now(UTC).replace(microsecond=0)
LONG_AGO = date(2020, 1, 1)
ALL_FACTS = [
    *FACTS,
    # Two departments have the user, the agent and the conversation in common.
    Fact(5, "ada", "sales", agent="tutor", conversation="c1", cost=Decimal("0.25")),
    Fact(28, "ada", "sales", agent="tutor", conversation="c1", cost=Decimal("0.5")),
    Fact(29, "zoe", "platform", agent="offers", conversation="c9", cost=Decimal(3)),
    Fact(700, "zoe", "platform", cost=Decimal(30), status="error", usage_source="estimated"),
    *(Fact(24 * day + 2, "bob", "sales", cost=Decimal(2)) for day in range(2, 30)),
    Fact(25, "bob", "sales", cost=Decimal(90)),
    Fact(26, "zoe", "platform", "unknown-model", cost_status="unpriced"),
    Fact(27, cost=Decimal(4), usage_source="unknown"),
]
BUDGETS = [
    Budget("total", "", "month", LONG_AGO, Decimal(100)),
    Budget("department", "sales", "month", LONG_AGO, Decimal(10)),
    Budget("department", "sales", "year", LONG_AGO, Decimal(1000)),
    Budget("department", "platform", "month", LONG_AGO, Decimal(1)),
    Budget("user", "ada", "month", LONG_AGO, Decimal(5)),
    Budget("model", "gpt-5", "quarter", LONG_AGO, Decimal(5)),
]
PEOPLE = [("ada", "sales"), ("zoe", "platform")]
NOT_UNDERSTOOD = "tallyspan_requests_not_understood_total"
OF_ALL = {
    "Recorded against billed", "Drift per day of the bill", "Collectors",
    "Seen but not understood", "Imported, not seen",
    "Used of the budget of all calls",
    "Bills",
    "Billed and not recorded",
}  # fmt: skip
"""Panels about the whole organisation: nothing in them is of a department."""
CHOICES = {
    "user": ("zoe", "bob", "ada"),
    "conversation": ("c1", "c9"),
    # Of research, of sales with what is doubtful, of nobody, of sales in a shared conversation.
    "call": tuple(f"{number:032x}-{number:016x}" for number in (0, 6, 7, 9)),
    "budget": ("department sales, month", "user ada, month", "department platform, month"),
}
"""The first has something on every panel; the last is of a department of the key with two."""
FULL, SALES, TWO, NOBODY = "tsa_full", "tsa_sales", "tsa_two", "tsa_none"
LIMITS = {SALES: ("sales",), TWO: ("sales", "platform"), NOBODY: ("nowhere",)}
EVERY, FIRST, LAST = slice(None), slice(1), slice(-1, None)
Figures = dict[str, Any]


def everything(client: Client, departments: Sequence[str] | None = None) -> None:
    """Fill the ledger, or the part of it that is of the departments."""
    is_all = departments is None
    mine = departments or ()
    chosen = [n for n, each in enumerate(ALL_FACTS) if is_all or each.department in mine]
    fill(client, [ALL_FACTS[number] for number in chosen], NOW, chosen)
    for table in (
        "budgets",
        "directory",
        "reconciliation_lines",
        "reconciliation_runs",
        "import_lines",
        "collector_metrics",
        "bill_days",
    ):
        client.command(f"TRUNCATE TABLE {table}")
    for budget in BUDGETS:
        if is_all or (budget.scope == "department" and budget.name in mine):
            put(client, budget)
    # Who is in the directory is no secret of a department: both ledgers have all people.
    client.insert(
        "directory",
        [("", user, date(1970, 1, 1), date(2299, 12, 31), own) for user, own in PEOPLE],
        column_names=["tenant", "user_id", "valid_from", "valid_to", "department"],
    )
    if is_all:
        day = (NOW - timedelta(days=2)).date()
        client.insert(
            "reconciliation_lines",
            [("r", NOW, "openai", day, "gpt-5", Decimal(3), Decimal(4), 10, 12)],
            column_names=["run_id", "run_at", "provider", "day", "model_name", "recorded_cost_usd",
                          "billed_cost_usd", "recorded_tokens", "billed_tokens"],
        )  # fmt: skip
        client.insert(
            "import_lines",
            [("r", NOW, "openai", day, "gpt-5", 12, 10, 2)],
            column_names=["run_id", "run_at", "source", "day", "model_name", "reported_tokens",
                          "recorded_tokens", "imported_tokens"],
        )  # fmt: skip
        client.insert(
            "bill_days",
            [("openai", day, "r", NOW, 1, Decimal(5))],
            column_names=["bill", "day", "revision", "read_at", "lines", "billed_usd"],
        )
        moved = {"entry_kind": "prior_period", "sign": 0, "start_time": NOW.replace(day=1)}
        tags = {"closed_month": f"{NOW.replace(day=1) - timedelta(days=1):%Y-%m}"}
        book(client, [call(**moved, department="research", tags=tags, cost_usd=Decimal(1))])
        client.insert(
            "collector_metrics",
            [
                (NOW, "one", "tallyspan_calls_stored_total", "", "counter", 5.0),
                (NOW, "one", NOT_UNDERSTOOD, "provider=openai,request=POST x/v1/y", "counter", 2.0),
            ],
        )


class Pages:
    """All answers of all pages by page, choice and panel or variable; each is asked for once."""

    def __init__(self, ledger: Client) -> None:
        keys = [
            Key(token, "admin", token, digest(token.encode()), departments=LIMITS.get(token, ()))
            for token in (FULL, *LIMITS)
        ]
        app = create_app(ledger, Keys(keys), lambda: {"ready": True}, CollectorRegistry())
        self.browser = TestClient(app)
        self._ledger = ledger
        self._content = ""
        self._answers: dict[tuple[str, ...], Figures] = {}

    def hold(self, content: str) -> None:
        """Fill the ledger with what a key may see, unless it has just that."""
        if content != self._content:
            everything(self._ledger, LIMITS.get(content))
            self._content = content

    def figures(
        self,
        content: str,
        token: str,
        days: float,
        several: Mapping[str, list[str]],
        single: slice = EVERY,
    ) -> Figures:
        """What a key gets of a ledger with what `content` may see.

        With `several` only pages with one of these variables: to the others it means nothing.
        `single` are the choices of which pages about one thing are asked.
        """
        self.hold(content)
        self.browser.headers["Authorization"] = f"Bearer {token}"
        start, end = NOW - timedelta(days=days), NOW + timedelta(minutes=1)
        ends = {"from": str(int(start.timestamp() * 1000)), "to": str(int(end.timestamp() * 1000))}
        figures: Figures = {}
        for uid, dashboard in bundled().items():
            page = uid.removeprefix("tallyspan-")
            if several and (page in SINGLE or not {*several} & {*dashboard.variables}):
                continue
            choices: list[dict[str, Any]] = [{f"var-{k}": v for k, v in several.items()}]
            chosen_by = ""
            if page in SINGLE:
                (chosen_by,) = dashboard.variables
                choices = [{f"var-{chosen_by}": key(name)} for name in CHOICES[chosen_by][single]]
            for number, chosen in enumerate(choices):
                paths = [f"{uid}/panels"]
                if number:  # the others do not depend on it
                    paths = [
                        f"{uid}/panels/{panel}"
                        for question in dashboard.questions
                        for panel in question.panels
                        if f"{{{chosen_by}:" in question.sql
                    ]
                for path in paths:
                    answers = self._ask(content, token, path, {**ends, **chosen})
                    figures |= {f"{page} {chosen} {title}": each for title, each in answers.items()}
            for name in dashboard.variables:
                answers = self._ask(content, token, f"{uid}/variables/{name}", ends)
                figures |= {f"{page} ${name}": each for each in answers.values()}
        return copy.deepcopy(figures)

    def _ask(self, content: str, token: str, path: str, query: dict[str, Any]) -> Figures:
        """Title of the panel -> answer; a variable has no title."""
        place = (content, token, path, str(query))
        if place not in self._answers:
            answer = self.browser.get(f"/api/admin/dashboards/{path}", params=query)
            assert answer.status_code == 200, answer.text
            uid, kind, *rest = path.split("/")
            if kind == "variables":
                answers = {"": answer.json()}
            elif rest:
                answers = {titles(uid)[int(rest[0])]: answer.json()}
            else:
                lines = map(json.loads, answer.text.splitlines())
                answers = {titles(uid)[line["panel"]]: line["answer"] for line in lines}
            self._answers[place] = answers
        return self._answers[place]


@cache
def titles(uid: str) -> dict[int, str]:
    return {each["id"]: each["title"] for each in json.loads(bundled()[uid].text)["panels"]}


@pytest.fixture(scope="module")
def asked(client: Client) -> Iterator[Pages]:
    with clock_at(client, NOW):
        yield Pages(client)


def without_clock(figures: Figures) -> Figures:
    """What must be equal: a minute may pass between two questions, a hidden array has no order."""
    for answer in figures.values():
        answer["rows"] = [
            [sorted(value) if isinstance(value, list) else value for value in row]
            for row in answer["rows"]
        ]
    return {name: each for name, each in figures.items() if "Since the last call" not in name}


@pytest.mark.parametrize(
    ("token", "days", "several", "single"),
    [
        (SALES, 90, {}, EVERY),
        (TWO, 1.5, {}, LAST),
        (
            TWO,
            90,
            {
                "user": [key("ada"), key("bob"), key("zoe")],
                "model": [key("gpt-5")],
                "department": [key("sales"), key("research"), key("platform")],
            },
            EVERY,
        ),
    ],
    ids=["all", "short", "chosen"],
)
def test_a_limited_key_gets_what_a_ledger_of_its_rows_holds(
    asked: Pages, token: str, days: float, several: dict[str, list[str]], single: slice
) -> None:
    limited = asked.figures(FULL, token, days, several, single)
    own = asked.figures(token, FULL, days, several, single)

    assert limited.keys() == own.keys()
    others = without_clock(own)
    for name, answer in without_clock(limited).items():
        assert answer == others[name], name
    for name, answer in limited.items():
        if name.endswith(tuple(OF_ALL)):
            assert [row for row in answer["rows"] if any(row)] == [], name


def test_a_full_key_sees_more_on_every_panel(asked: Pages) -> None:
    full, nothing = (asked.figures(FULL, token, 90, {}, FIRST) for token in (FULL, NOBODY))
    names = {without_choice(name) for name in full}
    differ = {without_choice(name) for name in full if full[name] != nothing[name]}

    assert names - differ <= {
        "budgets Going to be over", "budgets Nearly used up", "overview Unusual yesterday",
    }  # fmt: skip


def without_choice(name: str) -> str:
    page, _, rest = name.partition(" ")
    return f"{page} {rest.partition('} ')[2] or rest}"


def test_the_budget_of_a_department_is_drawn_for_its_own_key(asked: Pages) -> None:
    asked.hold(FULL)
    browser = asked.browser
    for token, count in ((SALES, 1), (TWO, 1), (NOBODY, 0)):
        browser.headers["Authorization"] = f"Bearer {token}"
        path = "/api/admin/dashboards/tallyspan-budgets/panels/6"
        rows = browser.get(path, params={"var-budget": key("department sales, month")}).json()
        spent = [row[1] for row in rows["rows"] if row[1] is not None]
        assert (len(spent) >= count, bool(rows["rows"])) == (True, bool(count))
        if count:
            month = NOW.replace(day=1, hour=0, minute=0, second=0)
            own = [each for each in ALL_FACTS if each.department == "sales"]
            now = [e for e in own if NOW - timedelta(hours=e.hours_ago) >= month]
            total = sum((each.cost for each in now if each.cost is not None), Decimal(0))
            assert Decimal(spent[-1]) == total


def test_a_name_with_anything_in_it_can_be_a_department(client: Client) -> None:
    strange = "a'; DROP --\\"
    fill(client, [replace(ALL_FACTS[0], department=strange), ALL_FACTS[4]], NOW)
    keys = Keys([Key("s", "admin", "s", digest(b"tsa_s"), departments=(strange,))])
    app = create_app(client, keys, lambda: {"ready": True}, CollectorRegistry())
    browser = TestClient(app, headers={"Authorization": "Bearer tsa_s"})
    figure = browser.get("/api/admin/dashboards/tallyspan-overview/panels/1?from=now-90d").json()

    assert figure["rows"] == [["1.25"]]
