"""What a chat is told of costs, by the SDK's own client over HTTP, of a collector and its store."""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp.client.client import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult
from starlette.datastructures import Headers

from ledger import book, call, unpriced
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan_clickhouse.query.access import Access
from tallyspan_collector.access import keys
from tallyspan_collector.access.keys import Key
from tallyspan_collector.api.chat import endpoint
from tallyspan_collector.api.chat.identity import Asker
from tallyspan_collector.cli import main
from tallyspan_collector.config import Config as CollectorConfig
from tallyspan_collector.librechat.check.asking import collector_findings
from tallyspan_collector.librechat.check.settings import Config, Environment, Settings
from tallyspan_collector.service import serve_chat
from tallyspan_collector.summary.person import OwnCalls, Person
from waiting import wait_for

NOW = datetime.now(UTC).replace(microsecond=0)
MONTH = NOW.replace(day=1, hour=0, minute=0, second=0)
USER, CONVERSATION, MESSAGE = (
    "X-Tallyspan-User", "X-Tallyspan-Conversation", "X-Tallyspan-Message",
)  # fmt: skip
ADA = {USER: "65f0ada", CONVERSATION: "c-ada", MESSAGE: "m-2"}
BOB = {USER: "65f0bob", CONVERSATION: "c-bob", MESSAGE: "m-9"}
CALLS = [
    # An answer of two calls and the title that was made of it; then one whose usage nobody knows.
    ("m-1", "gpt-5-mini", Decimal("0.0125")),
    ("m-1", "gpt-5-mini", Decimal("0.0000005")),
    ("title-m-1", "gpt-5-nano", Decimal("0.0001")),
    ("m-2", "claude-sonnet-4-5", None),
]
_RANDOM = random.Random(22)
ANYBODYS: list[dict[str, Any]] = [
    {
        "user_id": _RANDOM.choice(("u1", "u2", "")),
        "source": _RANDOM.choice(("librechat", "import:librechat", "elsewhere", "")),
        "tenant": _RANDOM.choice(("", "acme")),
        "conversation_id": _RANDOM.choice(("x1", "x2", "")),
        "cost_usd": Decimal(_RANDOM.randrange(1, 1000)).scaleb(-12),
        "start_time": NOW,
    }
    for _ in range(300)
]
TOKENS: dict[str, str] = {}
HTTP = httpx.Client(timeout=30)
PROTOCOL = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}


def entries(user: str, conversation: str, **columns: Any) -> list[dict[str, Any]]:
    start: datetime = columns.pop("start_time", MONTH)
    common = {
        "user_id": user, "conversation_id": conversation, "source": "librechat",
        "agent_id": "agent_x",
    } | columns  # fmt: skip
    return [
        (
            unpriced(**common, model_name=model, tags={"message_id": message})
            | {"unpriced_reason": "unknown_usage", "usage_source": "unknown"}
            if cost is None
            else call(**common, model_name=model, cost_usd=cost, tags={"message_id": message})
        )
        | {"start_time": start + timedelta(seconds=number)}
        for number, (message, model, cost) in enumerate(CALLS)
    ]


@pytest.fixture(scope="module")
def chat(store: SharedStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tallyspan_collector.server.worker.READ_SECONDS", 0.1)
        with running_collector(tmp_path_factory.mktemp("chat"), store=store.url) as running:
            for role, name, more in (
                ("chat", "librechat", {}),
                ("chat", "elsewhere", {}),
                ("chat", "librechat", {"tenant": "acme"}),
                ("chat", "gone", {}),
                ("admin", "finance", {}),
                ("admin", "sales", {}),
                ("ingest", "librechat", {}),
            ):
                departments = ("sales",) if name == "sales" else ()
                key, token = keys.make(role, name, departments=departments, **more)
                keys.store(running.client, key)
                TOKENS["-".join((role, name, *more.values()))] = token
                TOKENS[f"id of {name}"] = key.id
            book(
                running.client,
                [
                    *entries("65f0ada", "c-ada"),
                    *entries("65f0bob", "c-bob"),
                    *entries("65f0bob", "c-ada"),  # in her conversation, and not hers
                    *entries("65f0ada", "c-ada", source="import:librechat"),
                    *entries("65f0ada", "c-ada", source="other-app"),
                    *entries("65f0ada", "c-ada", tenant="acme"),
                    *entries("65f0ada", "c-old", start_time=MONTH - timedelta(days=1)),
                    *(call(**each) for each in ANYBODYS),
                    unpriced(model_name="homemade", user_id="65f0bob", start_time=NOW),
                ],
            )
            wait_for(lambda: is_let_in(running), "the keys there")
            with HTTP:
                yield running


def post(running: Running, key: str, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {TOKENS.get(key, key)}"}
    return HTTP.post(f"{running.ready.admin}/mcp", headers=headers, **{"json": {}} | more)


def is_let_in(running: Running) -> bool:
    headers = {"Authorization": f"Bearer {TOKENS['admin-finance']}"}
    return httpx.post(f"{running.ready.admin}/mcp", headers=headers).status_code != 401


def ask(
    running: Running, tool: str, headers: dict[str, str], key: str = "chat-librechat", **more: Any
) -> CallToolResult:
    """What a client without a session gets; the SDK's own asks in a test of its own."""
    return ask_at(f"{running.ready.admin}/mcp", tool, headers, key, **more)


def ask_at(
    url: str, tool: str, headers: dict[str, str], key: str = "chat-librechat", **more: Any
) -> CallToolResult:
    answer = HTTP.post(
        url,
        headers=PROTOCOL | {"Authorization": f"Bearer {TOKENS[key]}"} | headers,
        json={
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": tool, "arguments": more},
        },
    )  # fmt: skip
    return CallToolResult.model_validate(answer.json()["result"])


def text_of(result: CallToolResult) -> str:
    [content] = result.content
    assert content.type == "text"
    return content.text


def test_a_user_is_told_what_the_conversation_cost_and_what_that_lacks(chat: Running) -> None:
    result = ask(chat, "conversation_cost", ADA)
    values = result.structured_content or {}

    # Sent and imported: 2 * (0.0125 + 0.0000005 + 0.0001), and two calls of unknown usage.
    assert (values["cost_usd"], values["currency"], values["calls"]) == ("0.025201", "USD", 8)
    assert (values["unpriced_calls"], values["unknown_usage_calls"]) == (2, 2)
    assert [(row["name"], row["cost_usd"]) for row in values["by_model"]] == [
        ("gpt-5-mini", "0.025001"), ("gpt-5-nano", "0.0002"), ("claude-sonnet-4-5", None),
    ]  # fmt: skip
    assert "$0.025201 (8 calls)" in text_of(result)
    assert "Not included: 2 calls whose usage the provider did not report." in text_of(result)


def test_the_message_is_told_with_the_answer_before_it(chat: Running) -> None:
    result = ask(chat, "message_cost", ADA)
    values = result.structured_content or {}

    assert (values["message_id"], values["cost_usd"], values["calls"]) == ("m-2", None, 2)
    [before] = values["messages_before"]
    assert (before["name"], before["cost_usd"], before["calls"]) == ("m-1", "0.025201", 6)
    assert "The answer before it cost $0.025201 (6 calls)." in text_of(result)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("model", [("gpt-5-mini", "0.025001"), ("gpt-5-nano", "0.0002"), ("claude-sonnet-4-5", None)]),
        ("agent", [("agent_x", "0.025201")]),
        ("day", [(f"{MONTH:%Y-%m-%d}", "0.025201")]),
    ],
)  # fmt: skip
def test_a_month_is_this_one_or_the_one_named_and_is_split_by_what_is_asked(
    chat: Running, by: str, groups: list[tuple[str, str | None]]
) -> None:
    this = ask(chat, "month_cost", {USER: "65f0ada"}, by=by).structured_content or {}
    last = f"{MONTH - timedelta(days=1):%Y-%m}"
    before = ask(chat, "month_cost", {USER: "65f0ada"}, by=by, month=last).structured_content or {}

    assert [(row["name"], row["cost_usd"]) for row in this["groups"]] == groups
    assert (before["month"], before["cost_usd"]) == (last, "0.0126005")


@pytest.mark.parametrize(
    ("key", "headers", "what"),
    [
        ("chat-librechat", BOB | {CONVERSATION: "c-old"}, "somebody else's conversation"),
        ("chat-librechat", BOB | {USER: "nobody"}, "a user without calls"),
        ("chat-elsewhere", ADA, "the same user id at another application"),
    ],
)
def test_what_is_not_the_own_is_not_known(
    chat: Running, key: str, headers: dict[str, str], what: str
) -> None:
    for tool in ("conversation_cost", "message_cost"):
        result = ask(chat, tool, headers, key)

        assert result.is_error, what
        assert "is not known" in text_of(result)
        assert result.structured_content is None


@pytest.mark.parametrize("conversation", ["x1", "x2", None])
@pytest.mark.parametrize("source", ["librechat", "elsewhere"])
def test_a_person_is_told_the_sum_of_the_own_calls_whatever_else_there_is(
    chat: Running, source: str, conversation: str | None
) -> None:
    for user in ("u1", "u2", "u3"):
        for tenant in ("", "acme"):
            person = Person(user, (source, f"import:{source}"), tenant)
            total = OwnCalls(person, conversation).total(chat.client)
            own = [
                each
                for each in ANYBODYS
                if (each["user_id"], each["tenant"]) == (user, tenant)
                and each["source"] in person.sources
                and conversation in {None, each["conversation_id"]}
            ]

            assert total["calls"] == len(own)
            assert total["cost_usd"] == (sum(each["cost_usd"] for each in own) if own else None)


@pytest.mark.parametrize(
    ("sent", "user"),
    [
        (b"ada", "ada"),
        ("Zoë".encode("latin-1"), "Zoë"),  # as LibreChat sends it
        (b"b64:5YyX5Lqs", "北京"),
        ("北京".encode(), "北京"),
        (b"b64:no base64", "b64:no base64"),
    ],
)
def test_a_user_is_read_in_whatever_letters_the_name_has(sent: bytes, user: str) -> None:
    asker = Asker(Key("1", "chat", "x", ""), Access(), Headers(raw=[(USER.lower().encode(), sent)]))

    assert asker.person().user_id == user


def test_a_key_of_a_tenant_speaks_for_its_users_alone(chat: Running) -> None:
    result = ask(chat, "conversation_cost", ADA, "chat-librechat-acme")

    assert (result.structured_content or {})["cost_usd"] == "0.0126005"


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({USER: ""}, "X-Tallyspan-User of the mcpServers entry: it is empty; librechat.yaml must"),
        ({USER: "{{LIBRECHAT_USER_ID}}"}, "did not fill it in; its version does not know"),
        ({CONVERSATION: "new"}, "it is 'new', there is no id yet; ask again after a first answer"),
        ({CONVERSATION: "{{LIBRECHAT_BODY_CONVERSATION}}"}, "misspelt: it must be {{LIBRECHAT_BODY"),
        ({MESSAGE: "00000000-0000-0000-0000-000000000000"}, "there is no id yet"),
        ({USER: "x" * 1025}, "must have 1024 characters at most"),
        ({USER: "b64:AA=="}, "must not contain a NUL character"),
    ],
)  # fmt: skip
def test_a_header_that_says_nothing_is_told_with_the_line_to_write(
    chat: Running, headers: dict[str, str], sentence: str
) -> None:
    result = ask(chat, "message_cost", ADA | headers)

    assert result.is_error
    assert sentence in text_of(result)


@pytest.mark.parametrize("text", ["{{s3cret}}", "s3cret{{", "s3cret", "s3cret" * 200])
def test_no_sentence_repeats_what_a_header_has(chat: Running, text: str) -> None:
    for tool in ("conversation_cost", "message_cost"):
        result = ask(chat, tool, ADA | {CONVERSATION: text})

        assert result.is_error
        assert "s3cret" not in text_of(result)


def test_without_the_header_of_the_user_nothing_is_told(chat: Running) -> None:
    result = ask(chat, "month_cost", {})

    assert result.is_error
    assert "X-Tallyspan-User: '{{LIBRECHAT_USER_ID}}'" in text_of(result)


@pytest.mark.parametrize("argument", ["user_id", "user", USER, "tenant", "source"])
def test_arguments_cannot_say_who_asks(chat: Running, argument: str) -> None:
    result = ask(chat, "month_cost", ADA, **{argument: "65f0bob"})

    assert result.is_error
    assert "allowed are month, by" in text_of(result)


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("month_cost", {"month": "2026-13"}, "there is no month 2026-13"),
        ("month_cost", {"by": "user"}, "by must be one of model, agent, day"),
        ("month_cost", {"month": ["2026-03"]}, "must be text or a whole number"),
        ("month_costs", {}, "did you mean 'month_cost'?"),
        ("top_spenders", {}, "no tool is called 'top_spenders'"),
    ],
)
def test_a_wrong_question_is_answered_with_what_is_right(
    chat: Running, tool: str, arguments: dict[str, Any], sentence: str
) -> None:
    result = ask(chat, tool, ADA, **arguments)

    assert result.is_error
    assert sentence in text_of(result)


USER_TOOLS = {"conversation_cost", "message_cost", "month_cost"}
ADMIN_TOOLS = {"cost_summary", "top_spenders", "unpriced_calls", "budget_state"}


def test_the_sdks_client_finds_the_tools_of_its_key_and_asks_them(chat: Running) -> None:
    async def use(key: str, headers: dict[str, str], tool: str) -> tuple[set[str], CallToolResult]:
        everything = headers | {"Authorization": f"Bearer {TOKENS[key]}"}
        async with (
            httpx2.AsyncClient(headers=everything, verify=False) as http,
            McpClient(
                streamable_http_client(f"{chat.ready.admin}/mcp", http_client=http)
            ) as client,
        ):
            tools = (await client.list_tools()).tools
            assert all(each.annotations and each.annotations.read_only_hint for each in tools)
            # It checks the values by the schema that was listed.
            return {each.name for each in tools}, await client.call_tool(tool, {})

    names, result = asyncio.run(use("chat-librechat", ADA, "conversation_cost"))
    assert names == USER_TOOLS
    assert (result.structured_content or {})["cost_usd"] == "0.025201"
    names, result = asyncio.run(use("admin-finance", {}, "cost_summary"))
    assert names == ADMIN_TOOLS
    assert result.is_error is False


def test_an_admin_asks_what_the_api_answers(chat: Running) -> None:
    key = "admin-finance"
    spenders = ask(chat, "top_spenders", {}, key, limit=1).structured_content or {}
    summary = ask(chat, "cost_summary", {}, key, group_by="source", order="group")
    missing = ask(chat, "unpriced_calls", {}, key).structured_content or {}
    budgets = ask(chat, "budget_state", {}, key).structured_content or {}
    api = HTTP.get(
        f"{chat.ready.admin}/api/admin/token_usage/summary?group_by=source&order=group",
        headers={"Authorization": f"Bearer {TOKENS[key]}"},
    ).json()

    assert [(row["user"], row["calls"]) for row in spenders["users"]] == [("65f0ada", 20)]
    assert spenders["has_more"] is True
    assert (summary.structured_content or {})["rows"] == api["rows"]
    assert {row["model_name"] for row in missing["models"]} == {"homemade"}
    assert (budgets["budgets"], budgets["time_zone"], budgets["has_more"]) == ([], "UTC", False)


def test_a_limited_admin_sees_the_own_departments(chat: Running) -> None:
    spenders = ask(chat, "top_spenders", {}, "admin-sales").structured_content or {}
    unpriced_calls = ask(chat, "unpriced_calls", {}, "admin-sales")

    assert spenders["users"] == []
    assert unpriced_calls.is_error
    assert "limited to departments" in text_of(unpriced_calls)


@pytest.mark.parametrize("key", ["tsc_wrong", "ingest-librechat"])
def test_other_keys_are_refused(chat: Running, key: str) -> None:
    answer = post(chat, key)

    assert answer.status_code == 401
    assert "a key of the role chat or admin is needed" in answer.json()["error"]


def test_a_revoked_key_is_refused_and_every_question_is_in_the_audit(chat: Running) -> None:
    assert ask(chat, "month_cost", ADA, "chat-gone").is_error is False
    keys.revoke(chat.client, TOKENS["id of gone"])
    wait_for(lambda: post(chat, "chat-gone").status_code == 401, "the revocation there")

    query = (
        "SELECT key_name, role, path, query, rows FROM api_audit"
        " WHERE key_name = 'gone' AND query != ''"
    )
    wait_for(lambda: len(chat.client.query(query).result_rows) > 0, "the audit in the store")
    [row] = chat.client.query(query).result_rows
    assert row[:3] == ("gone", "chat", "/mcp")
    assert row[3] == "tool=month_cost&user=65f0ada&conversation=c-ada&message=m-2"


def test_the_tools_are_served_alone_as_well_with_the_same_keys(
    chat: Running, tmp_path: Path
) -> None:
    free = "127.0.0.1:0"
    config = CollectorConfig(chat.store, tmp_path, free, free, free)

    async def run() -> tuple[CallToolResult, int, int]:
        stop, url = asyncio.Event(), asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(serve_chat(config, free, stop, url.set_result))
        at = await url
        result = await asyncio.to_thread(ask_at, at, "conversation_cost", ADA)
        wrong = await asyncio.to_thread(HTTP.post, at, headers={"Authorization": "Bearer x"})
        admin = await asyncio.to_thread(HTTP.get, at.replace("/mcp", "/api/admin/users"))
        stop.set()
        await serving
        return result, wrong.status_code, admin.status_code

    result, wrong, admin = asyncio.run(run())
    assert (result.structured_content or {})["cost_usd"] == "0.025201"
    assert (wrong, admin) == (401, 404)


def test_the_tools_alone_need_the_store_of_a_collector(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mcp", "--data-dir", str(tmp_path)]) == 2
    assert "no collector runs there; start it with 'tallyspan up'" in capsys.readouterr().err
    assert main(["mcp", "--listen", "4320"]) == 2
    assert "--listen '4320': must be HOST:PORT" in capsys.readouterr().err


def test_what_cannot_wait_in_turn_is_told_to_come_again(
    chat: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallyspan_collector.api.chat.protocol.MAX_WAITING", 0)
    result = ask(chat, "month_cost", ADA)

    assert result.is_error
    assert "too much to do at the moment; try again" in text_of(result)


def test_a_large_question_is_not_read(chat: Running) -> None:
    assert post(chat, "chat-librechat", json=None, content=b" " * 65_537).status_code == 413


def test_without_the_extra_one_line_says_what_to_install(
    chat: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "find_spec", lambda _: None)
    answer = post(chat, "chat-librechat")

    assert answer.status_code == 501
    assert "pip install 'tallyspan[mcp]'" in answer.json()["error"]


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("ingest-librechat", ""),
        ("chat-librechat", "does not know the key of LANGFUSE_SECRET_KEY"),
        ("ключ", "has letters that no key has"),
    ],
)
def test_the_check_of_librechats_settings_asks_the_collector_about_the_key(
    chat: Running, key: str, what: str
) -> None:
    values = {"LANGFUSE_PUBLIC_KEY": "librechat", "LANGFUSE_SECRET_KEY": TOKENS.get(key, key)}
    settings = Settings(Environment(values=values), Config())

    findings = list(collector_findings(settings, f"http://{chat.ready.otlp_http}/"))
    assert [what in each.what for each in findings] == ([True] if what else [])


@pytest.mark.parametrize(
    ("port", "what"), [("admin", "answers 404 to /api/public"), ("", "cannot be reached")]
)
def test_an_address_that_is_no_collectors_is_told(chat: Running, port: str, what: str) -> None:
    url = chat.ready.admin if port else "http://127.0.0.1:1"
    [finding] = collector_findings(Settings(Environment(), Config()), url)

    assert what in finding.what
