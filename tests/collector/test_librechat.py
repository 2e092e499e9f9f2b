"""LibreChat's spans as its agents package sends them (both generations), and what it asks for."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from running import Running, running_collector
from tallyspan_collector.call import Call, Flag
from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.dialects.librechat import decode_agent
from tallyspan_collector.otlp import Span

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


def test_an_aborted_call_has_unknown_usage_not_none() -> None:
    aborted = {key: value for key, value in NEW.items() if "usage" not in key}
    call = read({**aborted, "langfuse.observation.level": "ERROR",
                 "langfuse.observation.status_message": "AbortError: aborted"})  # fmt: skip

    assert call.usage.input_tokens is None
    assert (call.usage_source, call.error_type) == ("unknown", "AbortError")


def test_bedrocks_clamped_input_is_concluded_from_the_total() -> None:
    clamped = {"input": 0, "input_cache_read": 2000, "output": 50, "total": 2150}
    call = read({**NEW, f"{OM}ls_provider": "bedrock",
                 "langfuse.observation.usage_details": json.dumps(clamped)})  # fmt: skip

    assert call.usage.input_tokens == 2100
    assert Flag.TOTAL_REPAIRED in call.quality_flags


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_collector(tmp_path_factory.mktemp("store")) as running:
        yield running


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
