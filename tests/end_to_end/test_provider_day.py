"""A day at a provider, seen in every way there is: the ledger comes to what the provider states.

Calls by spans, a batch, a socket, and an import that covers all of it and what nobody saw, in any
order, each by another process, with restarts of the collector in between.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from clickhouse_connect.driver.client import Client

from application import process, provider_of
from billing_server import KEY, BillingServer, Used, billing_server
from running import Running, running_collector
from shared_store import SharedStore
from socket_clients import with_websockets
from socket_server import playing
from tallyspan_collector.cli import main

MODEL, VOICE = "gpt-5-mini", "gpt-realtime"
PRICES = f"""
prices:
  - {{provider: openai, model: {MODEL}, unit: 1M tokens, input: 0.25, output: 2}}
  - {{provider: openai, model: {MODEL}, service_tier: batch, unit: 1M tokens, input: 0.125, output: 1}}
  - {{provider: openai, model: {VOICE}, unit: 1M tokens, input: 4, output: 16, cache_read: 0.4}}
"""
DAY = datetime.now(UTC).date()
STATED = [
    # three calls with spans and two of a notebook: 5,000 * 0.25 / 1M + 500 * 2 / 1M
    Used(DAY, MODEL, 5, 5_000, 500, usd="0.00225"),
    # 3,000 * 0.125 / 1M + 300 * 1 / 1M, of which the results' file lacks one
    Used(DAY, MODEL, 3, 3_000, 300, tier="batch", usd="0.000675"),
    # 1,000 * 4 / 1M + 200 * 0.4 / 1M + 100 * 16 / 1M
    Used(DAY, VOICE, 2, 1_000, 100, cached=200, usd="0.00568"),
    Used(DAY, "text-embedding-3-small", 7, 90_000, 0, kind="embeddings", usd="0.0018"),
]
TOTAL = Decimal("0.00225") + Decimal("0.000675") + Decimal("0.00568") + Decimal("0.0018")


def completion(number: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{number:032x}", "object": "chat.completion", "created": 1, "model": MODEL,
        "service_tier": "default", "choices": [],
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100},
    }  # fmt: skip


def result(number: int) -> str:
    response = {"status_code": 200, "request_id": "r", "body": completion(100 + number)}
    return json.dumps({"id": "b", "custom_id": f"q{number}", "response": response, "error": None})


BATCH = {
    "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "status": "completed",
    "input_file_id": "file-1", "completion_window": "24h", "created_at": 1, "model": MODEL,
    "output_file_id": "file-2", "request_counts": {"total": 3, "completed": 3, "failed": 0},
    "usage": {"input_tokens": 3_000, "output_tokens": 300, "total_tokens": 3_300},
}  # fmt: skip
ANSWERS = {
    "POST /v1/batches": BATCH | {"status": "validating", "usage": None},
    "GET /v1/batches/batch_1": BATCH,
    "GET /v1/files/file-2/content": "\n".join([result(0), result(1)]) + "\n",
}


def response(number: int) -> dict[str, Any]:
    usage = {
        "total_tokens": 650, "input_tokens": 600, "output_tokens": 50,
        "input_token_details": {"text_tokens": 600, "audio_tokens": 0, "cached_tokens": 100,
                                "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 0}},
        "output_token_details": {"text_tokens": 50, "audio_tokens": 0},
    }  # fmt: skip
    done = {"id": f"resp_{number:026}", "object": "realtime.response", "status": "completed"}
    return {"type": "response.done", "event_id": "e", "response": done | {"usage": usage}}


SCRIPT = [
    ("received", {"type": "session.created", "session": {"id": "sess_1", "model": VOICE}}),
    *(
        each
        for number in (1, 2)
        for each in (("sent", {"type": "response.create"}), ("received", response(number)))
    ),
]


def sdk(answers: dict[str, Any]) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", http_client=provider_of(answers), max_retries=0)


def calls() -> None:
    for number in range(3):
        reader = sdk({"POST /v1/chat/completions": completion(number)})
        reader.chat.completions.create(model=MODEL, messages=[])


def batch_created() -> None:
    sdk(ANSWERS).batches.create(
        input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"
    )


def batch_looked_at() -> None:
    sdk(ANSWERS).batches.retrieve("batch_1")


def batch_read() -> None:
    sdk(ANSWERS).files.content("file-2").read()


def spoken() -> None:
    with playing(SCRIPT) as address:
        with_websockets(f"ws://{address}/v1/realtime?model={VOICE}", SCRIPT)


def imported() -> None:
    """Stands for the import, which is no part of the application."""


Step = Callable[[], None]
SEEN: list[Step] = [calls, batch_created, batch_looked_at, batch_read, spoken]


@pytest.mark.parametrize(
    ("steps", "is_restarted"),
    [
        ([imported, *reversed(SEEN), imported], False),
        (
            [
                spoken,
                batch_looked_at,
                imported,
                calls,
                imported,
                batch_read,
                batch_created,
                imported,
            ],
            True,
        ),
    ],
    ids=["import first", "in turns, with restarts"],
)
def test_the_ledger_comes_to_what_the_provider_states(
    steps: Sequence[Step],
    is_restarted: bool,
    tmp_path: Path,
    empty_store: SharedStore,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    prices = tmp_path / "models_pricing.yaml"
    prices.write_text(PRICES)

    def collecting() -> AbstractContextManager[Running]:
        return running_collector(tmp_path / "data", prices, store=empty_store.url)

    with ExitStack() as stack:
        report = stack.enter_context(billing_server(BillingServer(STATED)))
        lives = stack.enter_context(ExitStack())
        collector = lives.enter_context(collecting())
        for step in steps:
            if step is imported:
                where = ["--url", report.url, "--prices", str(prices), "--store", empty_store.url]
                period = ["--from", str(DAY), "--to", str(DAY)]
                assert main(["import", "openai", *where, *period]) == 0
            else:
                with process(collector, monkeypatch):
                    step()
            collector.settle()
            if is_restarted and step is imported:
                lives.close()
                collector = lives.enter_context(collecting())

    sums = "SELECT sum(cost_usd), sum(unpriced_calls), sum(sign) FROM llm_calls"
    # three by spans, two results and what the batch's own sum has more, two on the socket
    assert client.query(sums).first_row == (TOTAL, 0, 3 + 3 + 2)
    assert client.query("SELECT sum(cost_usd) FROM usage_daily").first_row == (TOTAL,)
    by_kind = "SELECT sum(cost_usd) FROM llm_calls WHERE entry_kind = 'imported'"
    # two calls of the notebook, and the embeddings
    assert client.query(by_kind).first_row == (Decimal("0.0009") + Decimal("0.0018"),)
