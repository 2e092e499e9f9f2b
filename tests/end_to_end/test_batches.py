"""Batches by the real SDKs, before a local provider: created in one process, read in others."""

import gc
import json
import threading
from collections.abc import Iterator, Mapping
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import anthropic
import boto3
import openai
import pytest
from botocore.config import Config
from google import genai
from google.oauth2.credentials import Credentials
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from application import process, provider_of
from running import running_collector
from shared_store import SharedStore
from tallyspan import semconv
from tallyspan.batch import MAX_ITEMS

Answers = dict[str, tuple[str, bytes]]
"""Method and path -> content type and body."""
PRICES = """
prices:
  - {provider: openai, model: gpt-5-mini, service_tier: batch, unit: 1M tokens, input: 0.125,
     output: 1, cache_read: 0.0125}
  - {provider: anthropic, model: claude-opus-5, service_tier: batch, unit: 1M tokens, input: 2.5,
     output: 12.5}
  - {provider: gcp.gemini, model: gemini-2.5-flash, service_tier: batch, unit: 1M tokens,
     input: 0.15, output: 1.25}
  - {provider: aws.bedrock, model: "amazon.nova-lite-v1:0", service_tier: batch, unit: 1M tokens,
     input: 0.03, output: 0.12}
  - {provider: gcp.vertex_ai, model: veo-3.1-generate-001, tools: {video_seconds: 0.4}}
"""
NOVA_LITE = "amazon.nova-lite-v1:0"


def batch(status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "status": status,
        "input_file_id": "file-1", "completion_window": "24h", "created_at": 1, "model": "gpt-5-mini",
        **more,
    }  # fmt: skip


def line(number: int, input_tokens: int, output_tokens: int) -> str:
    body = {
        "id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": "gpt-5-mini",
        "service_tier": "default", "choices": [],
        "usage": {"prompt_tokens": input_tokens, "completion_tokens": output_tokens,
                  "total_tokens": input_tokens + output_tokens},
    }  # fmt: skip
    response = {"status_code": 200, "request_id": "r", "body": body}
    return json.dumps({"id": "b", "custom_id": f"q{number}", "response": response, "error": None})


REFUSED = json.dumps(
    {"id": "b", "custom_id": "bad", "response": {"status_code": 400, "body": {"error": {}}}}
)
RESULTS = 450
LINES = [line(number, 1000, 100) for number in range(RESULTS)]
USAGE = {"input_tokens": 500_000, "output_tokens": 50_000, "total_tokens": 550_000}
OPENAI = {
    "POST /v1/batches": batch("validating"),
    "GET /v1/batches/batch_1": batch(
        "completed", output_file_id="file-2", error_file_id="file-3", usage=USAGE,
        request_counts={"total": 501, "completed": 500, "failed": 1},
    ),
    "GET /v1/files/file-2/content": "\n".join([LINES[0], REFUSED, *LINES[1:]]) + "\n",
    "GET /v1/files/file-3/content": REFUSED + "\n",
    "GET /v1/files/file-1/content": json.dumps({"custom_id": "q0", "body": {"model": "gpt-5-mini"}}),
}  # fmt: skip
SUMS = (
    "SELECT user_id, department, toString(part) AS part, toString(service_tier) AS tier, count() AS"
    " calls, sum(input_tokens) AS given, sum(cost_usd) AS cost FROM calls GROUP BY ALL ORDER BY part"
)


def client(answers: Mapping[str, Any]) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", http_client=provider_of(answers), max_retries=0)


def test_an_openai_batch_is_its_results_of_whoever_created_it(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "models_pricing.yaml"
    prices.write_text(PRICES)
    data, store = tmp_path / "data", empty_store.url
    with running_collector(data, prices, store=store) as collector:
        with process(collector, monkeypatch), tallyspan.attribution(user_id="ada", department="r"):
            client(OPENAI).batches.create(
                input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"
            )
        with process(collector, monkeypatch):
            waiting = client({"GET /v1/batches/batch_1": batch("in_progress")})
            waiting.batches.retrieve("batch_1")
            client(OPENAI).batches.retrieve("batch_1")
        whole = collector.rows(SUMS)
    with running_collector(data, prices, store=store) as collector:  # after a restart
        for _ in range(2):
            with process(collector, monkeypatch), tallyspan.attribution(user_id="cron"):
                reader = client(OPENAI)
                reader.batches.retrieve("batch_1")
                for file in ("file-1", "file-2", "file-3"):
                    reader.files.content(file).read()
        rows = collector.rows(SUMS)
        received, dropped = (
            collector.metric(f"tallyspan_{name}_total")
            for name in ("genai_spans_received", "spans_dropped")
        )
        [net] = collector.rows("SELECT sum(sign) AS calls FROM llm_calls")

    of = {"user_id": "ada", "department": "r", "tier": "batch"}
    # 500,000 * 0.125 / 1M + 50,000 * 1 / 1M
    total = {"part": "batch_total", "calls": 1, "given": 500_000, "cost": Decimal("0.1125")}
    # 450 * (1,000 * 0.125 + 100 * 1) / 1M, and 50,000 and 5,000 tokens that no line has
    items = {"part": "batch_item", "calls": 450, "given": 450_000, "cost": Decimal("0.10125")}
    rest = {"part": "batch_rest", "calls": 1, "given": 50_000, "cost": Decimal("0.01125")}
    assert whole == [of | total]
    assert rows == [of | items, of | rest]
    assert net == {"calls": 451}
    # two states that are known, and the results twice: 450 of them are calls, 450 are known
    assert (received, dropped) == (2 + 2 * 450, 2 + 450)


def test_the_sums_of_a_list_of_batches_are_booked_once(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "models_pricing.yaml"
    prices.write_text(PRICES)
    over = OPENAI["GET /v1/batches/batch_1"]
    cancelled = {"input_tokens": 8_000, "output_tokens": 800, "total_tokens": 8_800}
    listed = [
        over,
        {**batch("cancelled", usage=cancelled), "id": "batch_2"},
        {**batch("in_progress", usage=cancelled), "id": "batch_3"},
    ]
    page = {"object": "list", "data": listed, "has_more": False}
    names: list[str] = []
    with running_collector(tmp_path / "data", prices, store=empty_store.url) as collector:
        with process(collector, monkeypatch), tallyspan.attribution(user_id="ada", department="r"):
            client(OPENAI).batches.create(
                input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"
            )
        for _ in range(2):
            with process(collector, monkeypatch), tallyspan.attribution(user_id="cron"):
                names = [each.id for each in client({"GET /v1/batches": page}).batches.list()]
                client(OPENAI).batches.retrieve("batch_1")
        rows = collector.rows(SUMS.replace("ORDER BY part", "ORDER BY given"))

    assert names == ["batch_1", "batch_2", "batch_3"]
    total = {"part": "batch_total", "tier": "batch", "calls": 1}
    # 8,000 * 0.125 / 1M + 800 * 1 / 1M; nobody is known to have created it
    other = {"user_id": "cron", "department": "", "given": 8_000, "cost": Decimal("0.0018")}
    # 500,000 * 0.125 / 1M + 50,000 * 1 / 1M
    hers = {"user_id": "ada", "department": "r", "given": 500_000, "cost": Decimal("0.1125")}
    assert rows == [total | other, total | hers]


def result(number: int, kind: str = "succeeded") -> str:
    message = {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-opus-5",
        "content": [{"type": "text", "text": "Yes."}], "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 400, "output_tokens": 40, "service_tier": "batch"},
    }  # fmt: skip
    content = {"type": kind} | ({"message": message} if kind == "succeeded" else {})
    return json.dumps({"custom_id": f"q{number}", "result": content}).ljust(1000)


MESSAGE_BATCH = {
    "id": "msgbatch_1", "type": "message_batch", "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 3, "errored": 1, "canceled": 1, "expired": 0},
    "created_at": "2026-11-01T10:00:00Z", "expires_at": "2026-11-02T10:00:00Z",
    "ended_at": "2026-11-01T11:00:00Z", "archived_at": None, "cancel_initiated_at": None,
    "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
}  # fmt: skip
ANTHROPIC_PATH = "/v1/messages/batches"
ANTHROPIC = {
    f"POST {ANTHROPIC_PATH}": MESSAGE_BATCH,
    f"GET {ANTHROPIC_PATH}/msgbatch_1": MESSAGE_BATCH,
    f"GET {ANTHROPIC_PATH}/msgbatch_1/results": "\n".join(
        [result(1), result(2, "errored"), result(3), result(4, "canceled"), result(5)]
    ),
}


def test_an_anthropic_batch_is_its_results_though_they_are_read_first_and_half(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "models_pricing.yaml"
    prices.write_text(PRICES)

    def sdk(answers: Mapping[str, Any]) -> anthropic.Anthropic:
        return anthropic.Anthropic(api_key="k", http_client=provider_of(answers), max_retries=0)

    with running_collector(tmp_path / "data", prices, store=empty_store.url) as collector:
        with process(collector, monkeypatch), tallyspan.attribution(user_id="cron"):
            next(iter(sdk(ANTHROPIC).messages.batches.results("msgbatch_1")))
            gc.collect()  # the others of a file that is left after the first
        before = collector.rows(SUMS)
        before = collector.rows(SUMS)
        with process(collector, monkeypatch), tallyspan.attribution(user_id="ada", department="r"):
            sdk(ANTHROPIC).messages.batches.create(
                requests=[{"custom_id": "q1", "params": {"model": "claude-opus-5", "max_tokens": 9,
                           "messages": [{"role": "user", "content": "?"}]}}]
            )  # fmt: skip
        read: list[object] = []
        for _ in range(2):
            with process(collector, monkeypatch), tallyspan.attribution(user_id="cron"):
                read += list(sdk(ANTHROPIC).messages.batches.results("msgbatch_1"))
        rows = collector.rows(SUMS)

    assert len(read) == 10
    item = {"part": "batch_item", "tier": "batch"}
    # 400 * 2.5 / 1M + 40 * 12.5 / 1M
    one = {"calls": 1, "given": 400, "cost": Decimal("0.0015")}
    assert before == [{"user_id": "cron", "department": "", **item, **one}]
    three = {"calls": 3, "given": 1200, "cost": Decimal("0.0045")}
    assert rows == [{"user_id": "ada", "department": "r", **item, **three}]


def answer_of_gemini(number: int) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"parts": [{"text": "Yes."}], "role": "model"},
                        "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 10,
                          "totalTokenCount": 1010},
        "modelVersion": "gemini-2.5-flash", "responseId": f"r{number}",
    }  # fmt: skip


def operation(state: str, **response: Any) -> dict[str, Any]:
    metadata = {"model": "models/gemini-2.5-flash", "state": state, "output": response}
    done = {"done": True, "response": response} if response else {}
    return {"name": "batches/b1", "metadata": metadata, **done}


GEMINI_LINES = [json.dumps({"key": f"q{n}", "response": answer_of_gemini(n)}) for n in range(3)]
GEMINI = {
    "POST /v1beta/models/gemini-2.5-flash:batchGenerateContent": operation("BATCH_STATE_PENDING"),
    "GET /v1beta/batches/b1": operation("BATCH_STATE_SUCCEEDED", responsesFile="files/batch-b1"),
    "GET /v1beta/files/batch-b1:download": "\n".join(GEMINI_LINES) + "\n",
}


def test_a_gemini_batch_is_the_results_in_the_file_that_its_state_names(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "models_pricing.yaml"
    prices.write_text(PRICES)

    def sdk() -> genai.Client:
        options = genai.types.HttpOptions(httpx_client=provider_of(GEMINI), api_version="v1beta")
        return genai.Client(api_key="k", http_options=options)

    with running_collector(tmp_path / "data", prices, store=empty_store.url) as collector:
        with process(collector, monkeypatch), tallyspan.attribution(user_id="ada", department="r"):
            sdk().batches.create(model="gemini-2.5-flash", src="files/input")
        for _ in range(2):
            with process(collector, monkeypatch), tallyspan.attribution(user_id="cron"):
                job = sdk().batches.get(name="batches/b1")
                assert job.dest is not None
                sdk().files.download(file=str(job.dest.file_name))
        rows = collector.rows(SUMS)

    # 3 * (1,000 * 0.15 + 10 * 1.25) / 1M
    of = {"user_id": "ada", "department": "r", "part": "batch_item", "tier": "batch"}
    assert rows == [{**of, "calls": 3, "given": 3000, "cost": Decimal("0.0004875")}]


VEO = "projects/p/locations/us-central1/publishers/google/models/veo-3.1-generate-001"
VEO_OPERATION = {"name": f"{VEO}/operations/o1"}
VIDEO = {"gcsUri": "gs://b/1.mp4", "mimeType": "video/mp4"}
FILMED = {**VEO_OPERATION, "done": True, "response": {"videos": [VIDEO, VIDEO]}}
VEO_SUMS = (
    "SELECT user_id, toString(part) AS part, count() AS calls, sum(meters['video_seconds']) AS"
    " seconds, sum(cost_usd) AS cost, toString(any(cost_status)) AS status FROM calls GROUP BY ALL"
)


def test_videos_are_billed_once_they_are_done_to_whoever_started_them(
    tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "models_pricing.yaml"
    prices.write_text(PRICES)

    def sdk(state: dict[str, Any]) -> genai.Client:
        answers = {
            f"POST /v1/{VEO}:predictLongRunning": VEO_OPERATION,
            f"POST /v1/{VEO}:fetchPredictOperation": state,
        }
        options = genai.types.HttpOptions(httpx_client=provider_of(answers), api_version="v1")
        return genai.Client(
            vertexai=True, project="p", location="us-central1", http_options=options,
            credentials=Credentials("t"),  # type: ignore[no-untyped-call]  # google-auth is untyped
        )  # fmt: skip

    with running_collector(tmp_path / "data", prices, store=empty_store.url) as collector:
        with process(collector, monkeypatch), tallyspan.attribution(user_id="ada"):
            config = genai.types.GenerateVideosConfig(duration_seconds=6, number_of_videos=2)
            source = genai.types.GenerateVideosSource(prompt="A cat")
            operation = sdk(VEO_OPERATION).models.generate_videos(
                model="veo-3.1-generate-001", source=source, config=config
            )
        for state in (VEO_OPERATION, FILMED):
            for _ in range(2):
                with process(collector, monkeypatch), tallyspan.attribution(user_id="cron"):
                    sdk(state).operations.get(operation)
        rows = collector.rows(VEO_SUMS)

    # two videos of 6 seconds at 0.40 USD a second
    assert rows == [
        {"user_id": "ada", "part": "batch_item", "calls": 2, "seconds": 12.0,
         "cost": Decimal("4.8"), "status": "priced"}
    ]  # fmt: skip


JOB = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefgh1234"
NOVA = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Yes."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1000, "outputTokens": 10, "totalTokens": 1010},
}
RECORDS = "".join(
    json.dumps({"recordId": f"r{number}", "modelInput": {}, "modelOutput": NOVA}) + "\n"
    for number in range(2)
)

MANIFEST = json.dumps(
    {"totalRecordCount": 4, "processedRecordCount": 4, "successRecordCount": 3,
     "errorRecordCount": 1, "inputTokenCount": 3000, "outputTokenCount": 30}
)  # fmt: skip


class Aws(BaseHTTPRequestHandler):
    """Bedrock's control plane and S3, as far as a job and its results."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer("application/json", json.dumps({"jobArn": JOB}))

    def do_GET(self) -> None:
        is_sum = self.path.partition("?")[0].endswith("/manifest.json.out")
        self._answer("application/octet-stream", MANIFEST if is_sum else RECORDS)

    def _answer(self, kind: str, body: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def aws() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Aws)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_bedrock_batch_is_the_records_that_are_read_from_s3_and_the_rest_of_its_sum(
    aws: str, tmp_path: Path, empty_store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "models_pricing.yaml"
    prices.write_text(PRICES)

    def sdk(service: str) -> Any:
        return boto3.client(
            service, region_name="us-east-1", endpoint_url=aws, aws_access_key_id="k",
            aws_secret_access_key="s", config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip

    def read(name: str) -> None:
        with process(collector, monkeypatch), tallyspan.attribution(user_id="cron"):
            sdk("s3").get_object(Bucket="bucket", Key=f"out/abcdefgh1234/{name}")["Body"].read()

    with running_collector(tmp_path / "data", prices, store=empty_store.url) as collector:
        read("manifest.json.out")
        before = collector.rows(SUMS)
        with process(collector, monkeypatch), tallyspan.attribution(user_id="ada", department="r"):
            sdk("bedrock").create_model_invocation_job(
                jobName="j", roleArn="arn:aws:iam::123456789012:role/r", modelId=NOVA_LITE,
                inputDataConfig={"s3InputDataConfig": {"s3Uri": "s3://bucket/in.jsonl"}},
                outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}},
            )  # fmt: skip
        whole = collector.rows(SUMS)
        for name in ("in.jsonl.out", "manifest.json.out", "in.jsonl.out"):
            read(name)
        rows = collector.rows(SUMS)
        [model] = collector.rows("SELECT DISTINCT model_name FROM calls")

    total = {"part": "batch_total", "calls": 1, "given": 3000}
    assert before == [{"user_id": "cron", "department": "", "tier": "batch", "cost": None, **total}]
    of = {"user_id": "ada", "department": "r", "tier": "batch"}
    # (3,000 * 0.03 + 30 * 0.12) / 1M
    assert whole == [{**of, **total, "cost": Decimal("0.0000936")}]
    # 2 * (1,000 * 0.03 + 10 * 0.12) / 1M, and the third record, which no file has
    assert rows == [
        {**of, "part": "batch_item", "calls": 2, "given": 2000, "cost": Decimal("0.0000624")},
        {**of, "part": "batch_rest", "calls": 1, "given": 1000, "cost": Decimal("0.0000312")},
    ]
    assert model == {"model_name": NOVA_LITE}


def test_results_leave_in_a_few_spans_while_the_file_is_read(
    spans: InMemorySpanExporter,
) -> None:
    # 1,200 lines of some 330 bytes: read 256 kB at a time
    lines = "\n".join(line(number, 1000, 100) for number in range(1200))
    answer = client({"GET /v1/files/file-2/content": lines})
    with answer.files.with_streaming_response.content("file-2") as response:
        pieces = response.iter_bytes(1000)
        for _ in range(300):
            next(pieces)
        before = spans.get_finished_spans()
        for _ in pieces:
            pass

    sizes = [
        len(cast("tuple[str, ...]", (each.attributes or {})[semconv.BATCH_ITEMS]))
        for each in spans.get_finished_spans()
    ]
    assert sizes == [MAX_ITEMS] * 6
    assert 1 < len(before) < len(sizes)
