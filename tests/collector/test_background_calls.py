"""A background answer and its later retrieval, in traces of their own, are one net charge."""

from pathlib import Path

import grpc
import pytest

from otlp_spans import CHAT, request, span
from running import running_collector
from shared_store import SharedStore
from tallyspan import semconv

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
NET = "SELECT sum(sign) AS calls, sum(input_tokens) AS given FROM llm_calls"


@pytest.mark.parametrize("is_retrieved_first", [False, True])
@pytest.mark.parametrize("is_one_batch", [False, True])
def test_what_was_deferred_is_charged_once_it_is_retrieved(
    tmp_path: Path, empty_store: SharedStore, *, is_retrieved_first: bool, is_one_batch: bool
) -> None:
    without = {key: value for key, value in CHAT.items() if not key.startswith("gen_ai.usage")}
    posted = span(
        1,
        {**without, semconv.USAGE_SOURCE: "deferred", semconv.RESPONSE_ID: "resp_1"},
    )
    call_id = f"{posted.trace_id.hex()}-{posted.span_id.hex()}"
    retrieved = span(
        2,
        {
            **without,
            semconv.USAGE_SOURCE: "provider",
            semconv.RESPONSE_ID: "resp_1",
            semconv.CALL_ID: call_id,
            "gen_ai.usage.input_tokens": 14,
            "gen_ai.usage.output_tokens": 12,
        },
    )
    assert posted.trace_id != retrieved.trace_id
    order = [retrieved, posted] if is_retrieved_first else [posted, retrieved]
    with (
        running_collector(tmp_path, store=empty_store.url) as collector,
        grpc.insecure_channel(collector.ready.otlp_grpc) as channel,
    ):
        send = channel.unary_unary(TRACES)
        for spans in [order] if is_one_batch else [[each] for each in order]:
            send(request(*spans), timeout=20)
            collector.settle()

        assert collector.rows(NET) == [{"calls": 1, "given": 14}]
        (row,) = collector.rows("SELECT cost_status, usage_source FROM calls")
        assert row["usage_source"] == "provider"
