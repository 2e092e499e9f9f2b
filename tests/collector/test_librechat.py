"""LibreChat's spans as its agents package sends them (both generations), and what it asks for."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from running import Running
from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.dialects.librechat import decode_agent
from tallyspan_collector.ledger.failures import costs_nothing
from tallyspan_collector.read.call import Call, Flag
from tallyspan_collector.read.otlp import Span

OM, TM = "langfuse.observation.metadata.", "langfuse.trace.metadata."
USAGE = {
    "input": 200,
    "input_cache_read": 1000,
    "output": 50,
    "output_reasoning": 30,
    "total": 1280,
}
NEW = {
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "gpt-5-mini-2025-08-07",
    "langfuse.observation.usage_details": json.dumps(USAGE),
    f"{OM}ls_provider": "openai",
    f"{OM}ls_model_name": "gpt-5-mini",
    f"{OM}agentId": "agent_abc",
    f"{OM}agentName": "Support",
    f"{TM}messageId": "m-1",
    "langfuse.trace.tags": ["librechat", "agent"],
    "user.id": "65f0",
    "session.id": "c-7",
}
OLD = {
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "gpt-5-mini",
    "langfuse.observation.usage_details": json.dumps(USAGE),
    f"{OM}ls_provider": "openai",
    f"{OM}ls_model_name": "gpt-5-mini",
    f"{OM}user_id": "65f0",
    f"{OM}thread_id": "c-7",
    f"{OM}run_id": "m-1",
    f"{OM}langgraph_node": "agent=agent_abc",
}


def read(said: dict[str, Any]) -> Call:
    span = Span("1" * 32, "2" * 16, "", 10**18, 10**18 + 10**9, False, said, {}, "langfuse-sdk")
    reading = Reader().read(span)
    assert reading.kind is Kind.CALL
    assert reading.call is not None
    return reading.call


@pytest.mark.parametrize("said", [OLD, NEW], ids=["agents 3.0", "agents 3.2 and later"])
def test_both_generations_say_who_and_how_much(said: dict[str, Any]) -> None:
    call = read(said)

    assert (call.user_id, call.conversation_id, call.agent_id) == ("65f0", "c-7", "agent_abc")
    assert (call.usage.input_tokens, call.usage.output_tokens) == (1200, 80)
    assert (call.usage.cache_read_tokens, call.usage.reasoning_tokens) == (1000, 30)
    assert (call.provider_name, call.request_model) == ("openai", "gpt-5-mini")
    assert call.tags["message_id"] == "m-1"
    assert call.quality_flags == ()


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("agent_abc", ("agent_abc", "")),
        ("agent_abc____1", ("agent_abc", "")),
        ("my-gateway__llama-3.3-70b___Llama", ("", "my-gateway")),
        ("openAI__gpt-5", ("", "openAI")),
        ("default", ("", "")),
        ("", ("", "")),
    ],
)
def test_an_agent_made_up_for_a_turn_names_its_endpoint(
    agent: str, expected: tuple[str, str]
) -> None:
    assert decode_agent(agent) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({f"{OM}endpoint": "anthropic"}, ("agent_abc", "Support", "anthropic")),
        # what LibreChat says of the conversation is right where the call's own is not
        ({f"{OM}endpoint": "openAI", f"{TM}librechat.endpoint": "my-gateway"},
         ("agent_abc", "Support", "my-gateway")),
        ({f"{OM}agentId": "my-gateway__llama-3.3-70b___Llama", f"{OM}agentName": "Llama",
          f"{OM}endpoint": "openAI", f"{TM}librechat.endpoint": "agents"},
         ("", "", "my-gateway")),
        ({f"{OM}agentId": "default", f"{OM}agentName": "default", f"{OM}endpoint": "openAI",
          "langfuse.trace.name": "MemoryRun"}, ("", "", "openAI")),
    ],
    ids=["saved agent", "saved agent at a custom endpoint", "no agent", "memory"],
)  # fmt: skip
def test_a_call_is_of_the_endpoint_that_is_surest(
    attributes: dict[str, str], expected: tuple[str, str, str]
) -> None:
    call = read({**NEW, **attributes})

    assert (call.agent_id, call.agent_name, call.endpoint_id) == expected


@pytest.mark.parametrize(
    ("message", "error_type", "status"),
    [
        ("Error: AbortError: User aborted the request.", "AbortError", 0),
        ("AbortError: This operation was aborted", "AbortError", 0),
        ("Error: Request was aborted.", "AbortError", 0),
        ("CanceledError: canceled", "AbortError", 0),
        ("GoogleGenerativeAIAbortError: Request aborted", "AbortError", 0),
        ("Error: Aborted", "AbortError", 0),
        ("Error: Aborted by the provider", "Error", 0),
        ("Error: 400 no such model\n\nError details:\n{}", "Error", 400),
        ('BadRequestError: 400 {"type":"error"}', "BadRequestError", 400),
        ("429 status code (no body)", "429 status code (no body)", 429),
        ("[GoogleGenerativeAI Error]: Error fetching from https://a/b: [503 Service Unavailable] x",
         "[GoogleGenerativeAI Error]", 503),
        ("Error: Connection error.", "Error", 0),
        ("Error code: 401 - {}", "Error code", 401),
        ("500 rows were read", "500 rows were read", 0),
    ],
)  # fmt: skip
def test_a_call_that_was_aborted_is_told_from_one_that_was_refused(
    message: str, error_type: str, status: int
) -> None:
    failed = {key: value for key, value in NEW.items() if "usage" not in key}
    call = read({**failed, "langfuse.observation.level": "ERROR",
                 "langfuse.observation.status_message": message})  # fmt: skip

    assert (call.error_type, call.http_status) == (error_type, status)
    assert costs_nothing(call) == (status > 0)


def test_an_aborted_call_has_unknown_usage_not_none() -> None:
    aborted = {key: value for key, value in NEW.items() if "usage" not in key}
    call = read({**aborted, "langfuse.observation.level": "ERROR",
                 "langfuse.observation.status_message": "AbortError: aborted"})  # fmt: skip

    assert call.usage.input_tokens is None
    assert (call.usage_source, call.error_type) == ("unknown", "AbortError")


TWICE = {
    "input": 0,
    "input_cache_read": 2222,
    "input_cache_creation": 836,
    "output": 34,
    "total": 40,
}


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        (TWICE, 1532),
        ({"input": 2014, "output": 60, "total": 2074}, 1007),
        ({**TWICE, "input": 6, "total": 3098}, 3064),  # its total has the cache: not twice
        ({"input": 2013, "output": 60, "total": 2073}, 2013),  # twice would be even
    ],
)
def test_the_doubled_input_of_anthropics_streams_before_agents_3_2_is_halved(
    buckets: dict[str, int], expected: int
) -> None:
    streamed = {
        **OLD,
        f"{OM}ls_provider": "anthropic",
        "langfuse.observation.model.name": "claude-sonnet-4-5",
        "langfuse.observation.completion_start_time": '"2099-01-01T00:00:00.000Z"',
        "langfuse.observation.usage_details": json.dumps(buckets),
    }
    call = read(streamed)

    assert call.usage.input_tokens == expected
    assert (Flag.TOTAL_REPAIRED in call.quality_flags) == (expected in {1532, 1007})


def test_bedrocks_clamped_input_is_concluded_from_the_total() -> None:
    clamped = {"input": 0, "input_cache_read": 2000, "output": 50, "total": 2150}
    call = read({**NEW, f"{OM}ls_provider": "bedrock",
                 "langfuse.observation.usage_details": json.dumps(clamped)})  # fmt: skip

    assert call.usage.input_tokens == 2100
    assert Flag.TOTAL_REPAIRED in call.quality_flags


CAPTURES = sorted((Path(__file__).parents[1] / "conformance").glob("librechat_agents_*/*.json"))


def as_posted(captured: dict[str, Any]) -> Iterator[bytes]:
    """Yield the requests as LibreChat sends them: JSON, ids in hex."""
    for request in captured["traces"]:
        for of_resource in request["resourceSpans"]:
            for scope in of_resource["scopeSpans"]:
                for span in scope["spans"]:
                    for name in {"traceId", "spanId", "parentSpanId"} & span.keys():
                        span[name] = base64.b64decode(span[name]).hex()
        yield json.dumps(request).encode()


@pytest.mark.parametrize("case", CAPTURES, ids=[f"{c.parent.name}-{c.stem}" for c in CAPTURES])
def test_what_librechats_packages_posted_is_their_calls_in_the_ledger(
    collector: Running, case: Path
) -> None:
    captured = json.loads(case.read_text())
    prefix = f"/{case.parent.name}-{case.stem}"
    before = collector.rows("SELECT count() AS n FROM calls")[0]["n"]
    for body in as_posted(captured):
        answer = httpx.post(
            f"http://{collector.ready.otlp_http}{prefix}/api/public/otel/v1/traces",
            content=(body[at : at + 4096] for at in range(0, len(body), 4096)),  # chunked
            headers={"content-type": "application/json"},
            auth=("librechat-prod", "any"),
        )
        assert (answer.status_code, answer.json()) == (200, {})
    rows = collector.rows(
        "SELECT usage_source, user_id, conversation_id, agent_id, endpoint_id FROM calls"
        " ORDER BY ingested_at DESC LIMIT {n:UInt8}", n=len(captured["expected"]),
    )  # fmt: skip
    names = ("user_id", "conversation_id", "agent_id", "endpoint_id")

    assert collector.rows("SELECT count() AS n FROM calls")[0]["n"] == before + len(rows)
    assert sorted(tuple(row[name] for name in names) for row in rows) == sorted(
        tuple(each[name] for name in names) for each in captured["expected"]
    )
    assert {row["usage_source"] for row in rows} == (
        {"unknown"} if case.stem == "aborted" else {"provider"}
    )


@pytest.mark.parametrize("prefix", ["", "/librechat", "/tenant/t1/central-media-disabled"])
@pytest.mark.parametrize(
    ("method", "path", "status", "key"),
    [
        ("GET", "/api/public/projects", 200, "data"),
        ("POST", "/api/public/media", 200, "uploadUrl"),
        ("PATCH", "/api/public/media/x", 200, None),
        ("POST", "/api/public/scores", 200, "id"),
        ("DELETE", "/api/public/scores/x", 200, None),
        ("POST", "/api/public/ingestion", 207, "errors"),
        ("GET", "/api/public/v2/observations", 404, "message"),
    ],
)
def test_what_librechat_asks_for_is_answered(
    collector: Running, prefix: str, method: str, path: str, status: int, key: str | None
) -> None:
    answer = httpx.request(
        method, f"http://{collector.ready.otlp_http}{prefix}{path}", auth=("librechat", "")
    )

    assert answer.status_code == status
    assert key is None or key in answer.json()
