from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry, Gauge
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from ledger import NOON, book, call
from shared_store import SharedStore
from tallyspan_clickhouse.engine import connect
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.api import create_app

KEY = "correct-horse"
ENTRIES = "/api/admin/token_usage"
SUMMARY = "/api/admin/token_usage/summary"
CALLS: list[tuple[str, str, Decimal | None, str]] = [
    ("ada", "gpt-4.1", Decimal("0.000123"), "priced"),
    ("ada", "homemade", None, "unpriced"),
    ("bob", "homemade", None, "unpriced"),
    ("' OR 1=1 --", "gpt-4.1", Decimal("1.5"), "priced"),
]


@pytest.fixture(scope="module")
def ledger(client: Client) -> Client:
    nobody = dict.fromkeys(("department", "conversation_id", "endpoint_id"), "")
    book(
        client,
        [
            call(
                start_time=NOON + timedelta(days=n), user_id=user, model_name=model,
                cost_usd=cost, cost_status=status, trace_id="0" * 32, span_id=f"{n:016x}", **nobody,
            )
            for n, (user, model, cost, status) in enumerate(CALLS)
        ],
    )  # fmt: skip
    return client


def opened(
    client: Client,
    keys: Mapping[str, str],
    health: Mapping[str, object] | None = None,
) -> TestClient:
    state = {"ready": True} if health is None else health
    metrics = CollectorRegistry()
    Gauge("tallyspan_up", "Whether it is up", registry=metrics).set(1)
    app = create_app(client, Keys.of(keys), lambda: state, metrics)
    return TestClient(app)


@pytest.fixture
def anonymous(ledger: Client) -> TestClient:
    return opened(ledger, {"ops": "other", "finance": KEY})


@pytest.fixture
def admin(anonymous: TestClient) -> TestClient:
    anonymous.headers["Authorization"] = f"Bearer {KEY}"
    return anonymous


@pytest.mark.parametrize("path", [ENTRIES, SUMMARY, "/api/admin/", "/api/admin/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {KEY}",
        KEY,
        "Bearer é",
        f"Bearer {KEY}x",
    ],
)
def test_no_admin_path_answers_without_the_right_key(
    anonymous: TestClient, path: str, method: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {b"Authorization": authorization.encode()}
    answer = anonymous.request(method, path, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("key", ["", "wrong", KEY])
def test_without_any_key_set_up_nobody_reads_and_the_answer_says_how(
    ledger: Client, key: str
) -> None:
    answer = opened(ledger, {}).get(SUMMARY, headers={"Authorization": f"Bearer {key}"})

    assert answer.status_code == 403
    assert "TALLYSPAN_ADMIN_KEY" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
def test_what_says_nothing_about_costs_needs_no_key(anonymous: TestClient, path: str) -> None:
    assert anonymous.get(path).status_code == 200


@pytest.mark.parametrize(("key", "name", "status"), [(KEY, "finance", 200), ("no", None, 401)])
def test_every_admin_request_is_logged_by_the_name_of_its_key(
    anonymous: TestClient, key: str, name: str | None, status: int
) -> None:
    with capture_logs() as logs:
        anonymous.get(ENTRIES, headers={"Authorization": f"bearer {key}"})

    [line] = [entry for entry in logs if entry["event"] == "admin.request"]
    assert (line["method"], line["path"], line["status"]) == ("GET", ENTRIES, status)
    assert line["key_name"] == name
    assert key not in str({k: v for k, v in line.items() if k != "event"}.values())


def test_an_admin_path_that_does_not_exist_is_a_logged_404(admin: TestClient) -> None:
    with capture_logs() as logs:
        answer = admin.get("/api/admin/nothing")

    assert (answer.status_code, logs[0]["status"]) == (404, 404)
    assert "there is nothing at /api/admin/nothing" in answer.json()["error"]


def test_entries_are_exact_newest_first_and_kept_by_no_proxy(admin: TestClient) -> None:
    answer = admin.get(ENTRIES, params={"user_id": "ada"})

    newest, oldest = answer.json()["entries"]
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.json()["next_cursor"] is None
    assert newest["estimated_cost_usd"] is None
    assert list(oldest.items())[:12] == list(
        {
            "log_id": f"{'0' * 32}-{'0' * 16}",
            "user_id": "ada",
            "department": "",
            "agent_id": "",
            "conversation_id": "",
            "model_name": "gpt-4.1",
            "endpoint_id": "",
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 110,
            "estimated_cost_usd": "0.000123",
            "timestamp": "2026-03-31T12:00:00.000000Z",
        }.items()
    )


def test_following_the_cursor_brings_every_entry_once(admin: TestClient) -> None:
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    for _ in CALLS:
        answer = admin.get(ENTRIES, params={"limit": "1", **cursor}).json()
        seen += [entry["user_id"] for entry in answer["entries"]]
        cursor = {"cursor": answer["next_cursor"]}

    assert seen == [user for user, *_ in reversed(CALLS)]
    assert cursor == {"cursor": None}


def test_a_group_with_only_unpriced_calls_costs_null(admin: TestClient) -> None:
    rows = admin.get(SUMMARY, params={"group_by": "user"}).json()["rows"]

    assert [(r["user"], r["cost_usd"], r["unpriced_calls"]) for r in rows] == [
        ("' OR 1=1 --", "1.5", 0),
        ("ada", "0.000123", 1),
        ("bob", None, 1),
    ]


@pytest.mark.parametrize("path", [ENTRIES, SUMMARY])
def test_a_user_id_that_looks_like_sql_finds_only_itself(admin: TestClient, path: str) -> None:
    answer = admin.get(path, params={"user_id": "' OR 1=1 --"}).json()

    assert len(answer.get("entries", answer.get("rows"))) == 1


def test_a_cut_summary_says_so_and_its_totals_are_over_everything(admin: TestClient) -> None:
    answer = admin.get(SUMMARY, params={"group_by": "user,model", "limit": "1"}).json()

    assert answer["group_by"] == ["user", "model"]
    assert (len(answer["rows"]), answer["truncated"]) == (1, True)
    assert (answer["totals"]["calls"], answer["totals"]["cost_usd"]) == (4, "1.500123")


def test_an_end_date_includes_its_day(admin: TestClient) -> None:
    period = {"start_date": "2026-03-31", "end_date": "2026-04-01"}

    assert admin.get(SUMMARY, params=period).json()["totals"]["calls"] == 2


@pytest.mark.parametrize(
    ("path", "query", "sentence"),
    [
        (ENTRIES, "user=ada", "unknown parameter 'user': did you mean user_id?"),
        (ENTRIES, "group_by=user", "unknown parameter 'group_by'"),
        (SUMMARY, "cursor=x", "cursor must be the next_cursor of an earlier answer"),
        (SUMMARY, "status=fine", "status must be one of ok, error, not 'fine'"),
        (SUMMARY, "tag=project", "tag must be <key>:<value>"),
        (SUMMARY, "tag=:x", "tag must be <key>:<value>"),
        (SUMMARY, "&".join(f"tag={n}:x" for n in range(11)), "tag may be given 10 times at most"),
        (SUMMARY, "group_by=tag:", "group_by must be one or several"),
        (SUMMARY, "group_by=" + ",".join(f"tag:{n}" for n in range(7)), "group_by must be one or"),
        (SUMMARY, "direction=up", "direction must be one of asc, desc"),
        (SUMMARY, "time_zone=Europe/Atlantis", "time_zone must be the name of a time zone"),
        (SUMMARY, "time_zone=../../etc/passwd", "time_zone must be the name of a time zone"),
        (SUMMARY, "time_zone=localtime", "time_zone must be the name of a time zone"),
        (SUMMARY, "time_zone=", "time_zone must be the name of a time zone"),
        (SUMMARY, "format=xml", "format must be one of json, csv"),
        (SUMMARY, "start_date=1970-01-01&end_date=2199-01-01", "an answer covers 3660 days"),
        (
            SUMMARY,
            "group_by=hour&start_date=2024-01-01&end_date=2026-01-01",
            "a summary by hour covers 400 days at most",
        ),
        (ENTRIES, "user_id=a%00b", "user_id must not contain a NUL character"),
        (ENTRIES, "user_id=" + "a" * 10_240, "user_id must have 1024 characters at most"),
        (ENTRIES, "a" * 10_240 + "=x", "unknown parameter 'aaa"),
        (ENTRIES, "%00=x", "unknown parameter"),
        (SUMMARY, "group_by=users", "group_by must be one or several"),
        (SUMMARY, "group_by=user,", "group_by must be one or several"),
        (SUMMARY, "group_by=user&group_by=model", "group_by may be given once only"),
        (SUMMARY, "order=price", "order must be one of cost, tokens, calls, errors, group"),
        (SUMMARY, "start_date=2026-04-01&end_date=2026-03-30", "start_date must be before"),
        (SUMMARY, "start_date=soon", "start_date must be a date"),
        (ENTRIES, "end_date=", "end_date must be a date"),
        (ENTRIES, "cursor=nonsense", "cursor must be the next_cursor"),
        (ENTRIES, "limit=0", "limit must be a whole number from 1 to 1000"),
        (ENTRIES, "limit=1001", "limit must be a whole number from 1 to 1000"),
        (ENTRIES, "limit=-1", "limit must be a whole number"),
        (SUMMARY, "limit=10001", "limit must be a whole number from 1 to 10000"),
        (SUMMARY, "limit=" + "9" * 1000, "limit must be a whole number"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_by_name(
    admin: TestClient, path: str, query: str, sentence: str
) -> None:
    answer = admin.get(f"{path}?{query}")

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(sentence)


def test_a_method_that_is_not_get_is_refused(admin: TestClient) -> None:
    answer = admin.delete(ENTRIES)

    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD"}


def test_a_store_that_fails_is_503_with_a_sentence_and_no_trace(
    store: SharedStore, ledger: Client
) -> None:
    with connect(store.url, database="default") as without_views:
        gate = opened(without_views, {"ops": KEY})
        answer = gate.get(SUMMARY, headers={"Authorization": f"Bearer {KEY}"})

    assert answer.status_code == 503
    assert answer.json()["error"].startswith("the store cannot be read at the moment")
    assert "calls" not in answer.text


def test_readiness_is_503_with_its_reasons_while_liveness_is_200(ledger: Client) -> None:
    state = {"ready": False, "reasons": ["the spool is full"]}
    sick = opened(ledger, {}, state)

    assert (sick.get("/readyz").status_code, sick.get("/readyz").json()) == (503, state)
    assert sick.get("/healthz").status_code == 200


def test_metrics_are_prometheus_text(anonymous: TestClient) -> None:
    answer = anonymous.get("/metrics")

    assert answer.text == (
        "# HELP tallyspan_up Whether it is up\n# TYPE tallyspan_up gauge\ntallyspan_up 1.0\n"
    )
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_keys_do_not_appear_when_printed() -> None:
    key = Keys.of({"ops": KEY}).find(KEY.encode(), "admin")

    assert key is not None
    assert KEY not in repr(key)
    assert key.digest not in repr(key)
