"""Conversations over WebSockets, from the SDK of the provider to the ledger."""

from decimal import Decimal
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from websockets.sync.server import ServerConnection

import recording_files
import tallyspan
from running import Running, running_collector
from shared_store import SharedStore
from socket_clients import talk, talk_asynchronously, talk_to_gemini, with_websockets
from socket_server import both_sides_of_tls, playing
from tallyspan import __version__
from tallyspan.guard import failures
from tallyspan.sampling import CallTracer
from tallyspan.session import Session, open_session

pytestmark = pytest.mark.filterwarnings(  # of what openai does
    r"ignore:connect\(\) must be used as a context manager:DeprecationWarning"
)
PRICES = """
prices:
  - {provider: openai, model: gpt-realtime, unit: 1M tokens, input: 4, cache_read: 0.4, output: 16,
     input_audio: 32, cache_read_audio: 0.4, output_audio: 64, input_image: 5,
     cache_read_image: 0.5}
  - {provider: openai, model: gpt-4o-mini-transcribe, unit: 1M tokens, input: 1.25, output: 5,
     input_audio: 3}
  - {provider: openai, model: gpt-5.4-2026-03-05, unit: 1M tokens, input: 2.5, cache_read: 0.25,
     output: 15}
  - {provider: openai, model: [whisper-1, gpt-live-1], per_second: 0.0001}
  - {provider: gcp.gemini, model: gemini-3.8-live, unit: 1M tokens, input: 0.75, output: 4.5,
     input_audio: 3, output_audio: 12}
fees:
  - {provider: gcp.gemini, model: gemini-3.8-live, web_search: 0.014}
"""
COSTS = {
    # 86 * 4 + 64 * 0.4 + 50 * 32 + 144 * 5 + 256 * 0.5 + 30 * 16 + 100 * 64, by the million
    "resp_C9CGAxQz4TnV7bLk2mWp": Decimal("0.0096976"),
    # 58 * 4 + 192 * 0.4 + 202 * 32 + 448 * 0.4 + 12 * 16 + 48 * 64: cancelled, and billed
    "resp_C9CGBsYe8RjD3hUf6vKq": Decimal("0.010216"),
    # 3 * 1.25 + 37 * 3 + 8 * 5: the transcription
    "item_C9CGEkLr7QyB2dHs4uJv": Decimal("0.00015475"),
    # 464 * 2.5 + 1536 * 0.25 + 120 * 15
    "resp_0a3f9c1d5e7b2846f1c0": Decimal("0.003344"),
    # 300 * 2.5 + 16 * 15: incomplete
    "resp_0b84e2d6a91c7f3540de": Decimal("0.00099"),
}
LEDGER = (
    "SELECT response_id, sum(cost_usd) AS cost, count() AS calls,"
    " groupUniqArray((user_id, department, status, usage_source)) AS facts"
    " FROM calls WHERE user_id = 'ada' GROUP BY response_id"
)
SECONDS = (
    "SELECT model_name, meters['seconds'] AS seconds, cost_usd FROM calls WHERE user_id = 'cy'"
)
TURNS = "SELECT usage_source, cost_usd FROM calls WHERE user_id = 'bob' ORDER BY start_time"
RECORDINGS = {(each.format, each.name): each for each in recording_files.conversations()}
REALTIME = RECORDINGS["openai_realtime", "conversation"]
RESPONSES = RECORDINGS["openai_responses", "turns"]
AZURE = RECORDINGS["openai_realtime", "azure-deployment"]
LIVE = RECORDINGS["openai_live", "attached"]  # its socket is cut
GEMINI = RECORDINGS["gemini_live", "conversation"]


def service(collector: Running, name: str) -> TracerProvider:
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    exporter = OTLPSpanExporter(endpoint=f"http://{collector.ready.otlp_http}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def relay(upstream: Session, connection: ServerConnection, message: bytes) -> None:
    """Pass on what a gateway gets from the provider, and sees."""
    upstream.received(message)
    connection.send(message.decode())


def test_each_response_is_charged_once_to_who_asked_for_it_though_a_gateway_sees_it_too(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    failures.clear()
    prices = tmp_path / "models_pricing.yaml"
    prices.write_text(PRICES)
    with running_collector(tmp_path / "data", prices, store=empty_store.url) as collector:
        shop, gateway = service(collector, "shop"), service(collector, "gateway")
        tallyspan.instrument(tracer_provider=shop)
        tracer = CallTracer(gateway, "tallyspan", __version__, is_always_on=True)
        for recording, talking in ((REALTIME, talk), (RESPONSES, talk_asynchronously)):
            path = f"/v1/{recording.format.removeprefix('openai_')}"
            upstream = open_session(tracer, ("wss", "api.openai.com", None, path, ""))
            assert upstream is not None
            with (
                playing(recording.messages, partial(relay, upstream)) as address,
                tallyspan.attribution(user_id="ada", department="sales"),
            ):
                talking(address, recording.messages, recording.format)
            upstream.end("")
        server, trusting = both_sides_of_tls(tmp_path)
        with playing(GEMINI.messages, tls=server) as address, tallyspan.attribution(user_id="bob"):
            talk_to_gemini(address, GEMINI.messages, "gemini-3.8-live", trusting)
        for recording in (AZURE, LIVE):
            with playing(recording.messages) as address, tallyspan.attribution(user_id="cy"):
                path = urlsplit(recording.url).path
                with_websockets(f"ws://{address}{path}", recording.messages)
        tallyspan.uninstrument()
        shop.shutdown()
        gateway.shutdown()
        rows = {row["response_id"]: row for row in collector.rows(LEDGER)}
        turns = collector.rows(TURNS)
        seconds = {
            row["model_name"]: (row["seconds"], row["cost_usd"]) for row in collector.rows(SECONDS)
        }

    assert not failures
    charged = {key: row["cost"] for key, row in rows.items() if row["cost"]}
    assert charged == COSTS
    assert {row["calls"] for key, row in rows.items() if key in COSTS} == {1}
    assert {facts for key in COSTS for facts in rows[key]["facts"]} == {
        ("ada", "sales", "ok", "provider")
    }
    # The two that failed may have cost something; the request that was refused did not.
    others = {key: row["cost"] for key, row in rows.items() if key not in COSTS}
    assert sorted(others.values(), key=str) == [Decimal(0), None, None]
    assert others[""] == 0
    assert [(row["usage_source"], row["cost_usd"]) for row in turns] == [
        # 357 * 0.75 + 165 * 3 + 42 * 12 + 136 * 4.5 (thoughts), by the million
        ("provider", Decimal("0.00187875")),
        # 500 * 0.75 + 200 * 3 + 12 * 4.5: up to the call of a tool
        ("provider", Decimal("0.001029")),
        # 560 * 0.75 + 200 * 3 + 64 * 12: the last of two counts of one turn
        ("provider", Decimal("0.001788")),
        # 600 * 0.75 + 300 * 3 + 30 * 12, and 2 searches at 0.014: interrupted, and billed
        ("provider", Decimal("0.02971")),
        ("unknown", None),
    ]
    # What is billed by the second, of a transcription and of a session that was cut.
    assert seconds["whisper-1"] == (2.5, Decimal("0.00025"))
    assert seconds["gpt-live-1"] == (20, Decimal("0.002"))
