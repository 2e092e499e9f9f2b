import json
import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

import otlp_logs
from otlp_spans import CHAT, START_NS, pairs, request, span
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan import semconv
from tallyspan_collector.booked.move import Move
from tallyspan_collector.booked.move import Scope as Days
from tallyspan_collector.booked.reprice import Reprice, Scope
from tallyspan_collector.booked.run import run
from tallyspan_collector.cli import main
from tallyspan_collector.directory import stored
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.directory.period import FURTHER_NOTICE, Period
from tallyspan_collector.pricing.book import PriceBook

MS = 1_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
ID = {"gen_ai.response.id": "chatcmpl-1"}
INFERENCE = "openinference.instrumentation.openai"
GENAI = "opentelemetry.instrumentation.genai.openai"
LLM: dict[str, Any] = {
    "openinference.span.kind": "LLM", "llm.model_name": "gpt-5-mini", "llm.provider": "openai",
    "llm.token_count.prompt": 1000, "llm.token_count.completion": 100,
}  # fmt: skip
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support", "user.id": "eve"}
CACHED = {**CHAT, **ID, "gen_ai.usage.cache_read.input_tokens": 400, "user.id": ""}
WAY_OUT = "ffffffffffffffffffffffffffffffff"


def layer(
    number: int, scope: str, said: dict[str, Any], parent: int, at: tuple[int, int], trace: str
) -> bytes:
    made = Span(
        trace_id=bytes.fromhex(trace),
        span_id=number.to_bytes(8),
        parent_span_id=parent.to_bytes(8) if parent else b"",
        name="chat",
        start_time_unix_nano=START_NS + at[0] * MS,
        end_time_unix_nano=START_NS + at[1] * MS,
        attributes=pairs(said),
    )
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=pairs({"service.name": "shop"})),
                scope_spans=[ScopeSpans(scope=InstrumentationScope(name=scope), spans=[made])],
            )
        ]
    ).SerializeToString()


def send(collector: Running, body: bytes) -> None:
    answer = httpx.post(
        f"http://{collector.ready.otlp_http}/v1/traces",
        content=body,
        headers={"content-type": "application/x-protobuf"},
        timeout=30,
    )
    assert answer.status_code == 200
    collector.settle()


@pytest.fixture(scope="module")
def collector(collector: Running) -> Running:
    """Three layers of one call in three batches, the innermost and best one last; one lone call."""
    send(collector, layer(2, INFERENCE, LLM, 1, (10, 90), TRACE))
    send(collector, layer(1, "pydantic-ai", AGENT, 0, (0, 100), TRACE))
    send(collector, layer(3, GENAI, CACHED, 2, (20, 80), TRACE))
    send(collector, layer(7, GENAI, CHAT, 0, (0, 100), f"{7:032x}"))
    return collector


def explained(collector: Running, subject: str, *more: str) -> list[str]:
    where = ["--store", collector.store, "--data-dir", str(collector.data_dir)]
    return ["explain", subject, *where, *more]


def test_a_trace_is_explained_from_its_reports_to_its_net(
    collector: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(explained(collector, TRACE)) == 0
    told = capsys.readouterr().out

    assert "3 received" in told
    assert f"{1:016x} wrapper (pydantic_ai) of pydantic-ai" in told
    assert f"{2:016x} call (openinference) of {INFERENCE}" in told
    assert "one call, reported 2 times:" in told
    assert f"{3:016x} is inside {2:016x}, the same model" in told
    assert "600 input x 0.25 USD a million = 0.000150000000 USD" in told
    assert "400 cache_read x 0.025 USD a million = 0.000010000000 USD" in told
    assert "for user_id eve" in told
    assert "net: 1 call, input_tokens 1000, output_tokens 100" in told
    assert told.rstrip().endswith("0.000360000000 USD")


def test_every_entry_is_listed_with_what_took_it_back(
    collector: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(explained(collector, f"{TRACE.upper()}-{3:016x}", "--format", "json")) == 0
    told = json.loads(capsys.readouterr().out)
    entries = told["entries"]
    booked = collector.rows(
        "SELECT toString(batch_id) AS batch, cost_usd FROM llm_calls"
        " WHERE toString(trace_id) = {trace:String}",
        trace=TRACE,
    )

    kinds = [(each["entry_kind"], each["sign"], each["span_id"][-1]) for each in entries]
    assert kinds[0] == ("call", 1, "2")
    assert kinds[-2:] == [("reversal", -1, "2"), ("call", 1, "3")]
    assert sum(sign for _, sign, _ in kinds) == told["net"]["calls"] == 1
    assert sorted((str(each["batch_id"]), Decimal(each["cost_usd"])) for each in entries) == sorted(
        (row["batch"], row["cost_usd"]) for row in booked
    )
    assert "not_in_ledger_yet" not in told


def test_a_trace_of_one_call_is_explained(
    collector: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(explained(collector, f"{7:032x}")) == 0
    told = capsys.readouterr().out
    assert "1 received" in told
    assert "reported" not in told
    assert told.rstrip().endswith("0.000450000000 USD")


def test_a_trace_too_old_for_the_journal_is_told_from_the_ledger(
    collector: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", TRACE, "--store", collector.store, "--data-dir", str(tmp_path)]) == 0
    told = capsys.readouterr().out

    assert "the ledger's part alone" in told
    assert "received" not in told
    assert "net: 1 call" in told
    assert not (tmp_path / "spool").exists()


def test_explaining_leaves_the_journal_as_it_is(
    collector: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    def content() -> list[object]:
        with sqlite3.connect(collector.data_dir / "spool" / "journal.sqlite") as file:
            return [
                *file.execute("SELECT * FROM trace_turn"),
                *file.execute("SELECT * FROM traces_0 UNION ALL SELECT * FROM traces_1"),
                *file.execute("SELECT * FROM chunks_0 UNION ALL SELECT * FROM chunks_1"),
            ]

    before = content()
    main(explained(collector, TRACE))
    main(explained(collector, WAY_OUT))
    assert content() == before
    assert WAY_OUT in capsys.readouterr().err


def test_a_trace_nobody_knows_is_one_sentence(
    collector: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(explained(collector, WAY_OUT)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert f"trace {WAY_OUT}: neither the ledger nor the journal" in told.err


def test_a_file_of_spans_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "spans.pb"
    file.write_bytes(request(span(1, CHAT), span(2, {**CHAT, "gen_ai.operation.name": "plan"})))

    assert main(["explain", str(file)]) == 0
    told = capsys.readouterr().out
    assert "gen_ai.operation.name = chat" in told
    assert "gen_ai.operation.name = plan is no call of its own" in told
    assert "1 charged" in told
    assert "input_tokens 1000, output_tokens 100" in told
    assert "0.000450000000 USD (priced)" in told


def test_usage_that_no_rule_reads_is_explained_by_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "spans.bin"
    file.write_bytes(request(span(7, {**CHAT, "gen_ai.usage.hologram_tokens": 7})))

    assert main(["explain", str(file)]) == 0
    assert "unread: gen_ai.usage.hologram_tokens" in capsys.readouterr().out


OPUS: dict[str, Any] = {
    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "claude-opus-4-8", "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100, "tallyspan.condition.geo": "us",
    "tallyspan.meter.web_search": 2,
}  # fmt: skip


def explained_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], attributes: dict[str, Any], scope: str = ""
) -> tuple[str, dict[str, Any]]:
    """Return an explanation as text, and its one charge as JSON."""
    file = tmp_path / "spans.pb"
    file.write_bytes(layer(7, scope, attributes, 0, (0, 10), TRACE))
    assert main(["explain", str(file)]) == 0
    text = capsys.readouterr().out
    assert main(["explain", str(file), "--format", "json"]) == 0
    (charge,) = json.loads(capsys.readouterr().out)["charges"]
    return text, charge


def test_every_factor_and_fee_of_a_price_is_explained_with_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, charge = explained_file(tmp_path, capsys, OPUS)

    # 5 and 25 USD a million, x 1.1 for geo us; 2 searches at 0.01
    assert charge["cost_usd"] == "0.028250000000"
    kinds = {each["kind"]: each for each in charge["steps"]}
    assert kinds.keys() == {"price", "fee", "factor"}
    assert (kinds["factor"]["amount"], kinds["factor"]["about"]) == ("1.1", {"geo": "us"})
    assert kinds["factor"]["origin"]["file"] == "anthropic.yaml"
    assert kinds["factor"]["origin"]["source"].endswith("/data-residency")
    assert (kinds["fee"]["meter"], kinds["fee"]["amount"]) == ("web_search", "0.01 USD each")
    assert "factor: x 1.1 for geo us since 2026-02-05 (anthropic.yaml:" in text
    assert "2 web_search x 0.01 USD each = 0.020000000000 USD" in text


def test_each_count_meter_condition_and_name_is_explained_with_its_attribute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tier = {"gen_ai.openai.response.service_tier": "flex", "server.address": "eu.api.openai.com"}
    _, charge = explained_file(tmp_path, capsys, {**CHAT, **tier, "tallyspan.meter.images": 3})

    places = {each["name"]: (each["value"], each["place"]) for each in charge["read_from"]}
    assert places == {
        "input_tokens": (1000, "gen_ai.usage.input_tokens"),
        "output_tokens": (100, "gen_ai.usage.output_tokens"),
        "images": (3, "tallyspan.meter.images"),
        "region": ("eu", "server.address"),
        "service_tier": ("flex", "gen_ai.openai.response.service_tier"),
        "provider_name": ("openai", "gen_ai.provider.name"),
        "request_model": ("gpt-5-mini", "gen_ai.request.model"),
    }


def test_a_count_that_a_rule_adds_up_is_explained_with_all_places_in_its_blob(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = {"input": 100, "input_cached_tokens": 40, "output": 10}
    generation = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "gpt-5-mini",
        "langfuse.observation.usage_details": json.dumps(usage),
        "langfuse.observation.metadata.ls_provider": "openai",
    }
    text, charge = explained_file(tmp_path, capsys, generation, "langfuse-sdk")

    blob = "langfuse.observation.usage_details#"
    places = {each["name"]: (each["value"], each["place"]) for each in charge["read_from"]}
    assert places["input_tokens"] == (140, f"{blob}input and {blob}input_cached_tokens")
    assert places["cache_read_tokens"] == (40, f"{blob}input_cached_tokens")
    assert f"output_tokens 10: from {blob}output of {7:016x} (langfuse)" in text


def test_an_undecided_price_is_explained_with_both_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    azure = {**CHAT, "gen_ai.provider.name": "azure.ai.openai", "gen_ai.request.model": "gpt-4.1"}
    text, charge = explained_file(tmp_path, capsys, azure)

    # (1000 x 2 + 100 x 8) / 1M; a data zone costs a tenth more
    assert (charge["cost_usd"], charge["other_cost_usd"]) == ("0.002800000000", "0.003080000000")
    assert charge["price_flags"] == ["deployment_unknown"]
    assert "undecided: deployment_unknown; decided the other way: 0.003080000000 USD" in text


def test_a_condition_that_no_price_knows_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, charge = explained_file(tmp_path, capsys, {**OPUS, "tallyspan.condition.geo": "mars"})

    assert charge["cost_usd"] is None
    assert "no price: unknown_condition for geo mars" in text


def test_facts_of_a_merged_call_are_explained_with_the_report_that_has_them(
    collector: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(explained(collector, TRACE, "--format", "json")) == 0
    (charge,) = json.loads(capsys.readouterr().out)["charges"]

    reports = {each["name"]: (each["span_id"], each["dialect"]) for each in charge["read_from"]}
    assert reports["cache_read_tokens"] == (f"{3:016x}", "otel_genai")
    assert reports["input_tokens"] == (f"{3:016x}", "otel_genai")
    assert {each["place"] for each in charge["read_from"]} == {""}


def test_a_file_that_holds_no_spans_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "spans.json"
    file.write_text("{")

    assert main(["explain", str(file)]) == 2
    assert "spans.json" in capsys.readouterr().err


@pytest.mark.parametrize("is_json", [True, False])
def test_a_file_of_log_records_is_explained(
    is_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = otlp_logs.request(
        otlp_logs.record(otlp_logs.CLAUDE, "claude_code.api_request"),
        otlp_logs.record({"event.name": "user_prompt"}, "claude_code.user_prompt"),
    )
    if is_json:
        body = json.dumps(MessageToDict(ExportLogsServiceRequest.FromString(body))).encode()
    file = tmp_path / "records"
    file.write_bytes(body)

    assert main(["explain", str(file)]) == 0
    told = capsys.readouterr().out
    assert "2 log records" in told
    assert "call (claude_code): event.name = api_request" in told
    assert "1 charged" in told
    assert "input_tokens 2400, output_tokens 50" in told


def test_why_reports_in_a_file_are_one_call_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = layer(2, "opentelemetry.instrumentation.openai.v1", {**CHAT, **ID}, 0, (0, 90), TRACE)
    file = tmp_path / "spans.pb"
    file.write_bytes(first + layer(3, GENAI, {**CHAT, **ID}, 0, (10, 95), TRACE))

    assert main(["explain", str(file)]) == 0
    told = capsys.readouterr().out
    assert "1 charged" in told
    assert f"{2:016x} = {3:016x}: the same answer id chatcmpl-1" in told


NEW_PRICE = "prices:\n  - {model: gpt-5-mini, unit: 1M tokens, input: 6, output: 20}\n"
LATER = datetime.now(UTC) + timedelta(days=2)


@pytest.mark.store
def test_a_history_with_a_correction_and_a_change_of_price_is_explained_to_the_net(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = tmp_path / "new.yaml"
    prices.write_text(NEW_PRICE)
    with running_collector(tmp_path / "data") as collector:
        send(collector, layer(3, GENAI, {**CHAT, **ID, "user.id": "ada"}, 0, (0, 90), TRACE))
        client = collector.client
        day = datetime.fromtimestamp(START_NS / 1e9, UTC)
        legal = Period("", "ada", day.date(), FURTHER_NOTICE, "Legal")
        directory = Directory()
        stored.write(client, stored.changes([legal], []), "test", "test")
        directory.read(client)
        moved = run(
            client,
            Move(directory, Days((), day.date(), day.date(), with_named=True), now=LATER),
            is_applied=True,
        )  # fmt: skip
        changed = run(
            client,
            Reprice(
                PriceBook.load(prices), Scope(day - timedelta(days=1), day + timedelta(days=1))
            ),
            is_applied=True, changed_by="ada", reason="new contract",
        )  # fmt: skip
        assert (moved.total.calls, changed.total.calls) == (1, 1)
        more = ("--prices", str(prices))
        assert main(explained(collector, TRACE, *more)) == 0
        told = capsys.readouterr().out
        assert main(explained(collector, TRACE, *more, "--format", "json")) == 0
        said = json.loads(capsys.readouterr().out)

    assert [(each["entry_kind"], each["sign"]) for each in said["entries"]] == [
        ("call", 1), ("correction", -1), ("correction", 1), ("price_change", 0),
    ]  # fmt: skip
    costs = [Decimal(each["cost_usd"]) for each in said["entries"]]
    assert sum(costs) == Decimal(said["net"]["cost_usd"]) == Decimal("0.008")
    assert said["entries"][-1]["cost_after_usd"] == "0.008000000000"
    assert said["net"]["calls"] == 1
    assert "correction of 0000000000000003, and booked where it belongs" in told
    assert "for user_id ada, department Legal" in told
    assert "as it was booked; its price changed later" in told
    assert "1000 input x 6 USD a million = 0.006000000000 USD" in told
    assert "+0.007550000000 USD, and so 0.008000000000 USD at new.yaml" in told
    net = "net: 1 call, input_tokens 1000, output_tokens 100, 0.008000000000 USD"
    assert told.rstrip().endswith(net)


def test_a_background_answer_in_a_file_is_one_call_with_its_retrieval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = {key: value for key, value in CHAT.items() if "usage" not in key}
    posted = {**without, **ID, semconv.USAGE_SOURCE: "deferred"}
    retrieved = {**CHAT, **ID, semconv.USAGE_SOURCE: "provider",
                 semconv.CALL_ID: f"{TRACE}-{1:016x}"}  # fmt: skip
    file = tmp_path / "spans.pb"
    file.write_bytes(
        layer(1, "tallyspan", posted, 0, (0, 10), TRACE)
        + layer(2, "tallyspan", retrieved, 0, (500, 510), f"{8:032x}")
    )

    assert main(["explain", str(file)]) == 0
    told = capsys.readouterr().out
    assert "1 charged" in told
    assert "one names the other as its very call" in told
    assert "meters: input_tokens 1000, output_tokens 100" in told


def test_a_call_told_of_in_two_traces_is_explained_with_both(
    tmp_path: Path, store: SharedStore, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {**CHAT, "gen_ai.response.id": "chatcmpl-C1KMEUDb1vVwsROQUCZTgG6A6vtWo"}
    one, other = f"{21:032x}", f"{22:032x}"
    first = layer(1, "opentelemetry.instrumentation.openai.v1", said, 0, (0, 90), one)
    second = layer(2, GENAI, said, 0, (5, 80), other)
    with running_collector(tmp_path / "data", store=store.url) as collector:
        send(collector, first)
        send(collector, second)
        assert main(explained(collector, one)) == 0
        from_ledger = capsys.readouterr().out
    (tmp_path / "spans.pb").write_bytes(first + second)
    assert main(["explain", str(tmp_path / "spans.pb")]) == 0
    from_file = capsys.readouterr().out

    assert f"and trace {other}, which tells of a call of it as well" in from_ledger
    assert "net: 1 call, input_tokens 1000, output_tokens 100, 0.000450000000 USD" in from_ledger
    for told in (from_ledger, from_file):
        assert "1 charged" in told
        assert f"{1:016x} = {2:016x}: the same answer id" in told
