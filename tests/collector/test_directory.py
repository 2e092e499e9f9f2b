import json
import random
import time
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from full_disk import full_disk
from ledger import NOON, Entry, book, call, price_change, reversal, unpriced
from otlp_spans import CHAT, request, span
from running import ADMIN_KEY, Running, running_collector
from shared_store import SharedStore
from tallyspan_clickhouse import table_lock
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.ledger_lock import ledger_lock
from tallyspan_clickhouse.local import LocalStore
from tallyspan_collector.access.keys import Keys, make
from tallyspan_collector.api import create_app
from tallyspan_collector.booked import move
from tallyspan_collector.booked import run as booking
from tallyspan_collector.cli import main
from tallyspan_collector.directory import file, stored
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.directory.period import FURTHER_NOTICE, Period
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.resolution.resolver import WINDOW_SECONDS
from waiting import wait_for

DAY = date(2026, 3, 31)
DAY_NS = (DAY - date(1970, 1, 1)).days * 86_400 * 10**9
PEOPLE = '''user,department,cost_centre,display_name,valid_from,valid_to
ada,Research,0042,Ada Lovelace,,2026-03-31
ada,Sales,0043,Ada Lovelace,2026-04-01,
"o'neill, 🙂","Sales ""West""",,Tip,,
'''


@pytest.fixture
def client(empty_store: SharedStore, client: Client) -> Client:
    return client


def people(tmp_path: Path, text: str, name: str = "people.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def take(client: Client, *periods: Period) -> None:
    stored.write(client, stored.changes(periods, stored.stored(client)), "test", "test")


def period(user: str, department: str, first: str = "1970-01-01", last: str = "") -> Period:
    end = date.fromisoformat(last) if last else FURTHER_NOTICE
    return Period("", user, date.fromisoformat(first), end, department)


def run(store: SharedStore, *arguments: str) -> int:
    return main(["directory", *arguments, "--store", store.url])


def test_a_file_is_imported_once_and_looked_up_by_the_day_of_the_call(
    store: SharedStore, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = people(tmp_path, "\ufeff" + PEOPLE)
    assert run(store, "import", str(path), "--dry-run") == 0
    assert stored.stored(client) == []
    assert run(store, "import", str(path)) == 0
    assert run(store, "import", str(path)) == 0
    directory = Directory(tmp_path / "copy.json")
    with full_disk():
        assert directory.read(client)
    assert "copy.json cannot be written" in directory.copy.last_error
    assert not directory.read(client)
    assert directory.copy.last_error == ""

    next_day = DAY_NS + 86_400 * 10**9
    assert "0 periods changed" in capsys.readouterr().err
    assert directory.department("", "ada", next_day - 1) == "Research"
    assert directory.department("", "ada", next_day) == "Sales"
    assert directory.department("", "o'neill, 🙂", 0) == 'Sales "West"'
    assert directory.department("acme", "ada", next_day) == ""
    copy = Directory(tmp_path / "copy.json")  # a start while the store is away
    assert copy.department("", "ada", next_day) == "Sales"
    assert "Lovelace" not in (tmp_path / "copy.json").read_text()


def test_the_same_people_come_from_yaml_and_from_a_spreadsheet_with_semicolons(
    tmp_path: Path,
) -> None:
    yaml = """people:
- {user: ada, department: Research, cost_centre: "0042", valid_to: 2026-03-31}
- user: ada
  department: Sales
  valid_from: 2026-04-01
"""
    text = "user;department;cost_centre;valid_from;valid_to\nada;Sales;;2026-04-01;\n"
    text += "\nada;Research;0042;;2026-03-31\n"

    assert file.read(people(tmp_path, yaml, "p.yaml")) == file.read(people(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("user,department\nada,Research\n,Sales\n", r"people.csv:3: user: is empty"),
        ("user,department\nada,\n", r":2: department: is empty"),
        ("user,department,valid_from,valid_to\nada,R,2026-04-01,2026-03-31\n",
         r":2: valid_to 2026-03-31 is before valid_from 2026-04-01"),
        ("user,department,valid_from,valid_to\nada,R,,2026-04-01\nbob,R,,\nada,S,2026-04-01,\n",
         r":4: 'ada' already has a department on 2026-04-01, by .*people.csv:2"),
        ("user,department,valid_from\nada,R,1.4.2026\n", r":2: valid_from: must be a day"),
        ("user,department,valid_from\nada,R,1066-01-01\n", r":2: valid_from: must be from 1970"),
        ("user,departmant\nada,R\n", r":1: unknown column 'departmant'; did you mean 'department'"),
        ("user,user,department\n", r":1: column 'user' stands here twice"),
        ("user\nada\n", r":1: there is no column 'department'"),
        ("user,department\nada,R,x\n", r":2: 3 cells, the first line has 2 names"),
        ('user,department\n"ada,R\n', r"not CSV"),
        ("user,department\nada,R\0D\n", r"(control character|not CSV)"),
        (f"user,department\nada,{'x' * 1001}\n", r":2: department: 1001 characters"),
        ("", r":1: there is no column 'user'"),
    ],
)  # fmt: skip
def test_a_csv_file_that_cannot_be_is_refused_by_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        file.read(people(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("people:\n- user: ada\n  department: R\n  cost_centre: 0042\n",
         r"p.yaml:4: people.0.cost_centre: must be text: put it in quotes"),
        ("people:\n- user: ada\n  departmant: R\n", r":3: unknown key 'departmant'; did you"),
        ("persons: []\n", r":1: unknown key 'persons'; known: people"),
        ("people: ada\n", r"must have a list under 'people'"),
        ("people:\n- ada\n", r":2: people.0: must have keys"),
        ("people:\n- user: ada\n  department: R\n- user: ada\n  department: S\n",
         r":4: 'ada' already has a department"),
    ],
)  # fmt: skip
def test_a_yaml_file_that_cannot_be_is_refused_by_line(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        file.read(people(tmp_path, text, "p.yaml"))


def test_a_list_of_today_ends_what_was_and_leaves_the_past_alone(
    store: SharedStore, client: Client, tmp_path: Path
) -> None:
    take(client, period("ada", "Research"), period("bob", "Sales"), period("eve", "Legal"))
    path = people(tmp_path, "user,department\nada,Sales\nbob,Sales\nnew,Legal\n")
    for _ in range(2):
        assert run(store, "import", str(path), "--effective", "2026-07-01") == 0

    assert stored.stored(client) == [
        period("ada", "Research", last="2026-06-30"),
        period("ada", "Sales", "2026-07-01"),
        period("bob", "Sales"),
        period("eve", "Legal"),
        period("new", "Legal", "2026-07-01"),
    ]


def test_an_import_puts_in_place_of_a_persons_periods_those_of_the_file(client: Client) -> None:
    take(client, period("ada", "Research", last="2026-06-30"), period("ada", "S", "2026-07-01"))
    take(client, period("ada", "Legal", "2026-02-01"))

    assert stored.stored(client) == [period("ada", "Legal", "2026-02-01")]


def test_calls_get_the_department_of_their_day_unless_their_span_names_one(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallyspan_collector.server.worker.READ_SECONDS", 0.1)
    monkeypatch.setenv("TALLYSPAN_ADMIN_KEY", ADMIN_KEY)
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    with (
        running_collector(tmp_path, store=empty_store.url) as collector,
        httpx.Client(base_url=f"{collector.ready.admin}/api/admin", headers=headers) as admin,
    ):
        rows = [
            {"user": "ada", "department": "Old", "valid_to": "2026-09-20"},
            {"user": "ada", "department": "Research", "valid_from": "2026-09-21"},
        ]
        assert admin.put("/directory", json={"people": rows}).json()["dry_run"] is False
        wait_for_department(collector, "Research")
        send(collector, span(1, CHAT))
        send(collector, span(2, {**CHAT, "tallyspan.department": "Own"}))
        send(collector, span(3, {**CHAT, "user.id": "nobody knows"}))
        collector.settle()
        moved = [{"user": "ada", "department": "Elsewhere"}]
        admin.put("/directory", json={"people": moved})
        wait_for_department(collector, "Elsewhere")
        send(collector, span(4, CHAT))

        asked = "SELECT user_id, department, department_source FROM llm_calls ORDER BY trace_id"
        assert [tuple(row.values()) for row in collector.rows(asked)] == [
            ("ada", "Research", "directory"),
            ("ada", "Own", "span"),
            ("nobody knows", "", ""),
            ("ada", "Elsewhere", "directory"),
        ]
        unknown = admin.get("/directory/unknown", params={"start_date": "2026-09-01"}).json()
        assert [(each["user_id"], each["calls"]) for each in unknown["people"]] == [
            ("nobody knows", 1)
        ]


def send(collector: Running, *spans: Any) -> None:
    headers = {"content-type": "application/x-protobuf"}
    url = f"http://{collector.ready.otlp_http}/v1/traces"
    assert httpx.post(url, content=request(*spans), headers=headers).status_code == 200


def wait_for_department(collector: Running, department: str) -> None:
    """Wait until the collector goes by a directory that has the department."""
    copy = collector.data_dir / "directory-0.json"
    wait_for(
        lambda: copy.is_file() and f'"{department}"' in copy.read_text(), "the directory as read"
    )


def totals(client: Client) -> list[Any]:
    measures = "sum(calls), sum(cost_usd), sum(input_tokens), sum(unpriced_calls), sum(duration_us)"
    return [
        client.query(f"SELECT department, {measures} FROM {view} GROUP BY department ORDER BY 1")
        .result_rows
        for view in ("usage_daily", "usage_hourly")
    ]  # fmt: skip


def test_a_correction_moves_the_calls_and_what_was_added_up_and_running_it_again_nothing(
    store: SharedStore, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    priced_again = call(cost_usd=Decimal(1), department_source="span")
    gone = call()
    dear = {"cost_usd": Decimal(5), "meters": {"web_search": 3.0}, "department": "", "tags": {}}
    book(
        client,
        [
            call(**dear),
            unpriced(department=""),
            priced_again,
            price_change(priced_again, Decimal(4), NOON + timedelta(hours=1)),
            gone,
            reversal(gone),
            call(department="Own", department_source="span"),
            call(user_id="bob", department=""),
            call(user_id="eve"),
            call(start_time=NOON + timedelta(days=1), department=""),
        ],
    )
    take(client, period("ada", "Legal"), period("bob", "Sales"))
    command = ["correct", "--user", "ada", "--from", "2026-03-31", "--to", "2026-03-31"]
    before = totals(client)
    assert run(store, *command) == 0
    assert totals(client) == before
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1].split() == ["ada", "(none)", "Legal", "2", "5"]
    assert "2 calls whose span names another department stay" in shown.err
    assert run(store, *command, "--even-named", "--apply", "--reason", "late list") == 0
    assert run(store, *command, "--even-named", "--apply", "--reason", "again") == 0
    assert "0 calls, 0 USD moved" in capsys.readouterr().err

    one, three = (4, Decimal("9.000123"), 400), (1, Decimal("0.000123"), 100)
    legal = client.query("SELECT sum(calls), sum(cost_usd), sum(input_tokens) FROM usage_daily"
                         " WHERE department = 'Legal'").result_rows  # fmt: skip
    assert legal == [one]
    rows = client.query("SELECT user_id, department, cost_usd, meters FROM calls"
                        " ORDER BY user_id, department, cost_usd DESC NULLS LAST").result_rows  # fmt: skip
    assert rows == [
        ("ada", "", three[1], {}),
        ("ada", "Legal", Decimal(5), {"web_search": 3.0}),
        ("ada", "Legal", Decimal(4), {}),
        ("ada", "Legal", Decimal("0.000123"), {}),
        ("ada", "Legal", None, {}),
        ("bob", "", three[1], {}),
        ("eve", "research", three[1], {}),
    ]
    audit = client.query(
        "SELECT state, calls, cost_usd, reason FROM directory_corrections ORDER BY written_at"
    ).result_rows
    assert audit == [
        ("begun", 0, Decimal(0), "late list"),
        ("finished", 4, Decimal("9.000123"), "late list"),
    ]


def test_corrections_of_any_directory_leave_the_sum_over_departments_as_it_was(
    client: Client,
) -> None:
    draw = random.Random(7)
    entries: list[Entry] = []
    for _ in range(60):
        made = draw.choice([call, unpriced])(
            user_id=draw.choice(["ada", "bob", "eve"]),
            department=draw.choice(["", "A", "B"]),
            start_time=NOON + timedelta(hours=draw.randrange(60)),
        )
        entries.append(made)
        if draw.random() < 0.2:
            entries.append(reversal(made))
    book(client, entries)
    whole = "SELECT sum(calls), sum(cost_usd), sum(total_tokens), sum(unpriced_calls) FROM {}"
    before = [client.query(whole.format(v)).result_rows for v in ("usage_daily", "usage_hourly")]
    for step in range(4):
        first = NOON.date() + timedelta(days=step % 3)
        take(client, *(period(user, draw.choice("ABC"), str(first)) for user in ("ada", "bob")))
        directory = Directory()
        directory.read(client)
        scope = move.Scope((), NOON.date(), NOON.date() + timedelta(days=9), with_named=True)
        booking.run(client, move.Move(directory, scope), is_applied=True)
        again = booking.run(client, move.Move(directory, scope), is_applied=True)
        assert not again.total.calls

    after = [client.query(whole.format(v)).result_rows for v in ("usage_daily", "usage_hourly")]
    by_call = "SELECT department, count(), sum(cost_usd) FROM calls GROUP BY 1 ORDER BY 1"
    by_day = "SELECT department, sum(calls), sum(cost_usd) FROM usage_daily GROUP BY 1"
    assert after == before
    assert client.query(by_call).result_rows == client.query(
        f"{by_day} HAVING sum(calls) != 0 ORDER BY 1"
    ).result_rows  # fmt: skip


def test_calls_that_a_collector_may_still_reverse_are_not_corrected_yet(client: Client) -> None:
    book(client, [call(department="")])
    take(client, period("ada", "Legal"))
    directory = Directory()
    directory.read(client)
    scope = move.Scope((), DAY, DAY)

    early = booking.run(
        client, move.Move(directory, scope, now=NOON + timedelta(hours=6)), is_applied=True
    )
    assert (early.total.calls, early.not_settled) == (0, 1)
    # a trace is forgotten two windows after its last span at the latest
    assert move.SETTLED.total_seconds() > 2 * WINDOW_SECONDS


class SlowDirectory(Directory):
    """A directory that takes its time, during which another run tries to book."""

    def __init__(self, store: LocalStore, seconds: float, stale_seconds: int) -> None:
        super().__init__()
        self._store, self._seconds, self._stale_seconds = store, seconds, stale_seconds
        self.refusals = 0

    def department(self, tenant: str, user_id: str, at_ns: int) -> str:
        time.sleep(self._seconds)
        with (
            connect(self._store.url) as other,
            pytest.raises(StoreError, match="directory correct by process"),
            ledger_lock(other, "another run", 0, self._stale_seconds),
        ):
            pass
        self.refusals += 1
        return super().department(tenant, user_id, at_ns)


def test_a_correction_that_outlives_the_lock_s_life_keeps_the_lock_to_its_end(
    store: LocalStore, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_lock, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(booking, "BATCH_CALLS", 1)
    calls, seconds, stale_seconds = 5, 1.0, 4
    book(client, [call(department="") for _ in range(calls)])
    take(client, period("ada", "Legal"))
    directory = SlowDirectory(store, seconds, stale_seconds)
    directory.read(client)
    started = time.monotonic()
    result = booking.run(client, move.Move(directory, move.Scope((), DAY, DAY)), is_applied=True)

    assert time.monotonic() - started > stale_seconds
    assert (result.total.calls, directory.refusals) == (calls, calls)


def test_names_are_there_where_people_read(store: SharedStore, client: Client) -> None:
    book(client, [call(), call(user_id="bob")])
    take(client, Period("", "ada", DAY, FURTHER_NOTICE, "Research", "0042", "Ada Lovelace"))
    with connect(store.url_for("tallyspan_reader")) as reader:
        names = "SELECT user_id, display_name FROM token_usage ORDER BY user_id"
        assert reader.query(names).result_rows == [("ada", "Ada Lovelace"), ("bob", "")]
        who = "SELECT user_id, reason, calls FROM unknown_users"
        assert reader.query(who).result_rows == [("bob", "unknown", 1)]
        assert reader.query("SELECT cost_centre, is_current FROM people").result_rows == [
            ("0042", True)
        ]


def test_a_user_whose_tenant_is_another_in_the_file_is_told_so(
    store: SharedStore, client: Client
) -> None:
    book(
        client,
        [call(tenant="acme"), call(tenant="acme", user_id="bob"), call(user_id="eve"),
         call(user_id="zoe"), call(tenant="acme", user_id="eve")],
    )  # fmt: skip
    take(
        client,
        Period("", "ada", DAY, FURTHER_NOTICE, "Research", "", ""),
        Period("acme", "eve", DAY, FURTHER_NOTICE, "Legal", "", ""),
        Period("other", "bob", DAY, FURTHER_NOTICE, "Legal", "", ""),
    )
    ordered = "SELECT tenant, user_id, reason FROM unknown_users ORDER BY tenant, user_id"

    assert client.query(ordered).result_rows == [
        ("", "eve", "other_tenant"), ("", "zoe", "unknown"),
        ("acme", "ada", "other_tenant"),
        ("acme", "bob", "unknown"),  # what another tenant has is nobody's business
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["import", "nowhere.csv"], "nowhere.csv: cannot be read"),
        (["import", "people.txt"], "people.txt: must be a .csv, .yaml or .yml file"),
        (["show", "nobody"], "the directory has no user 'nobody'"),
        (["correct", "--from", "2026-04-02", "--to", "2026-04-01"], "--to 2026-04-01 is before"),
        (["correct", "--from", "soon", "--to", "2026-04-01"], "--from must be a day"),
        (["correct", "--from", "2026-04-01", "--to", "2026-04-01", "--apply"], "needs --reason"),
        (["unknown", "--since", "soon"], "--since must be"),
    ],
)
def test_a_command_that_cannot_be_is_refused(
    store: SharedStore, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(store, *arguments) == 2
    assert says in capsys.readouterr().err


def test_the_api_refuses_people_that_cannot_be_and_keys_that_are_limited(
    store: SharedStore, client: Client
) -> None:
    keys = Keys.of({"boss": "tsa_all"})
    limited, token = make("admin", "limited", departments=("Sales",))
    keys.add(limited)
    api = TestClient(create_app(client, keys, dict, CollectorRegistry()))
    boss = {"authorization": "Bearer tsa_all"}

    def put(body: Any, headers: dict[str, str] = boss, **params: str) -> tuple[int, str]:
        text = body if isinstance(body, str) else json.dumps(body)
        answer = api.put(
            "/api/admin/directory",
            content=text,
            headers={"content-type": "application/json", **headers},
            params=params,
        )
        return answer.status_code, answer.text

    ada = {"user": "ada", "department": "Sales"}
    assert put({"people": [ada]}, headers={})[0] == 401
    # What a form of another site may send with the reader's cookie.
    assert put({"people": [ada]}, headers={**boss, "content-type": "text/plain"})[0] == 415
    assert put({"people": [ada]}, headers={"authorization": f"Bearer {token}"})[0] == 403
    for body, says in (
        ("[", "must be JSON"),
        ({"persons": []}, "must be {"),
        ({"people": [ada, ada]}, "people[1]: 'ada' already has a department"),
        ({"people": [{**ada, "valid_from": 2026}]}, "people[0]: valid_from: must be text"),
        ({"people": [{**ada, "age": "7"}]}, "people[0]: unknown key 'age'"),
        ({"people": [{"user": "x"}]}, "people[0]: department: is empty"),
    ):
        status, text = put(body)
        assert (status, says in json.loads(text)["error"]) == (400, True), text
    assert put({"people": [ada]}, dry_run="true")[0] == 200
    assert stored.stored(client) == []
    assert put({"people": [ada, {"user": "bob", "department": "Legal"}]})[0] == 200
    seen = api.get("/api/admin/directory", headers={"authorization": f"Bearer {token}"}).json()
    assert [each["user_id"] for each in seen["people"]] == ["ada"]
    by = client.query("SELECT DISTINCT imported_by, imported_from FROM directory").result_rows
    assert by == [("boss", "api")]
