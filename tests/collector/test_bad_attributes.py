"""Whatever an emitter puts into its attributes: no exception, nothing negative, nothing unsaid."""

import sqlite3
from contextlib import closing
from functools import cache
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from otlp_spans import CHAT, START_NS, request
from otlp_spans import span as protobuf_span
from tallyspan import semconv
from tallyspan.answer import MAX_TOKENS
from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.dialects import Reader, Reading
from tallyspan_collector.dialects.coding_agents import CLAUDE_CODE, CODEX, GEMINI
from tallyspan_collector.dialects.interpreter import interpret
from tallyspan_collector.dialects.plan import Plan, plan
from tallyspan_collector.dialects.registry import DIALECTS
from tallyspan_collector.dialects.table import Dialect
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ingest.block import Encoder
from tallyspan_collector.ingest.inserter import TABLE
from tallyspan_collector.ledger import entry
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read import otlp
from tallyspan_collector.read.call import Call, Flag, columns_of
from tallyspan_collector.resolution.resolver import Resolver

AGENTS = {CLAUDE_CODE.name: "api_request", CODEX.name: "codex.sse_event",
          GEMINI.name: "gemini_cli.api_response"}  # fmt: skip
EVERY = (*DIALECTS, CLAUDE_CODE, CODEX, GEMINI)
BY_NAME = {dialect.name: dialect for dialect in EVERY}
BOOK = PriceBook()
NOT_COUNTS: list[Any] = [
    -1, -(2**62), 1.5, -3.0, 1e30, float("inf"), float("-inf"), float("nan"), True, False,
    "-3", "1.5", "1e3", "many", "12 tokens", "9" * 30, [1], {"a": 1}, MAX_TOKENS,
]  # fmt: skip
"""Values no count can have; empty texts and `none` are no statement at all, not a wrong one."""
ODD: list[Any] = [
    *NOT_COUNTS, 0, 1, 1000, 2**53 - 1, 12.0, "12", "12.0", " 7 ", "", "none", "None", "null", None,
    "NULL", "unknown", "nul\0inside", "🙂", "x" * 2_000, [], {}, ["a", 1], [None], [[1]], {"a": {}},
    '{"input": 5, "total": 2}', "{'input': 5, 'output': None}", '{"input": -5, "output": "x"}',
    '{"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 50}}', "[" * 1_500, "{",
    '{"input": 1e400, "total": NaN}', '{"user": "\\ud800", "cache_read": true}', "(1,", "{1: 2, 3}",
    '"2026-09-21T14:13:20Z"', "0001-01-01T00:00:00+00:00", '"\\ud800"', '["\\udfff"]', "['\\ud800']",
    '{"total": 999999999999e99}', "999999999999", 999999999999, 1e308, "1e99", "chat", "llm", "LLM",
    "generation", "invoke_agent", "openai", "anthropic", "gcp.gemini", "gpt-5-mini",
    "claude-sonnet-4-5", "openai/gpt-5-mini", "agent=", "agent_x____1", '{"usage": {"a": [{}]}}',
]  # fmt: skip
VALUES = st.sampled_from(ODD) | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=9)


def names_of(dialect: Dialect) -> list[str]:
    """Every attribute the dialect looks at."""
    listed = [
        *dialect.operation, *dialect.total, *dialect.claimed_cost, *dialect.cache_hit,
        *dialect.keys, *dialect.needs, *dialect.wrapper_keys,
        *(f"{prefix}made_up" for prefix in dialect.tags),
        *(name for of in (dialect.texts, dialect.tokens, dialect.added) for names in of.values()
          for name in names),
    ]  # fmt: skip
    if dialect.name == "langfuse":
        listed += [f"langfuse.observation.{name}" for name in
                   ("usage_details", "level", "status_message", "completion_start_time")]  # fmt: skip
        listed += ["langfuse.trace.tags", "langfuse.trace.name",
                   "langfuse.observation.metadata.langgraph_node"]  # fmt: skip
    if dialect.name.startswith("vercel"):
        listed += ["ai.response.msToFirstChunk", "ai.response.finishReason"]
    listed += ["auth_mode", "duration_ms", "event.name"] if dialect.name in AGENTS else []
    common = [semconv.HTTP_STATUS, semconv.FINISH_REASONS, semconv.TIME_TO_FIRST_CHUNK,
              semconv.REPORTED_COST_USD, semconv.REQUEST_STREAM, semconv.CALL_ID]  # fmt: skip
    plain = (name.partition("#")[0].replace("*", "made_up") for name in (*listed, *common))
    return sorted(set(plain))


def a_span(dialect: Dialect, attributes: dict[str, Any], number: int = 1) -> otlp.Span:
    scope = next(iter(dialect.scopes), "").replace("*", "")
    service = next(iter(dialect.services), "shop")
    name = next(iter(dialect.span_names), "chat").replace("*", "")
    return otlp.Span(
        f"{number:032x}", f"{number:016x}", "", START_NS, START_NS + 10**6, False, attributes,
        {"service.name": service}, scope, AGENTS.get(dialect.name, name), kind=3,
    )  # fmt: skip


def is_call_of(dialect: Dialect, **more: Any) -> dict[str, Any]:
    """Attributes that make a call of the dialect: an operation, a model, a provider."""
    said: dict[str, Any] = {}
    if dialect.operation and dialect.calls:
        value = next(iter(dialect.calls))
        said[dialect.operation[0]] = f"x.{value}" if dialect.operation_after else value
    for field, value in (("request_model", "gpt-5-mini"), ("provider_name", "openai")):
        name = next((name for name in dialect.texts.get(field, ()) if "#" not in name), "")
        if name:
            said[name] = value
    if dialect.name in AGENTS:
        said["event.name"] = AGENTS[dialect.name]
    return said | more


def checked(call: Call) -> None:
    for name in TOKEN_FIELDS:
        count = getattr(call.usage, name)
        assert count is None or (type(count) is int and count >= 0), name
    assert all(amount >= 0 for amount in call.meters.values())
    assert call.http_status >= 0
    for amount in (call.claimed_cost_picousd, call.reported_cost_picousd,
                   call.time_to_first_chunk_us):  # fmt: skip
        assert amount is None or amount >= 0


def booked(readings: list[Reading]) -> dict[str, Any]:
    """Take the readings through resolution and pricing to the columns of their entries."""
    with closing(sqlite3.connect(":memory:")) as file:
        resolver = Resolver(file)
        made = resolver.resolve(readings)
        costs = entry.costs(made.calls, BOOK, Directory())
        resolver.commit(made, costs)
        again = resolver.resolve(readings[:20])  # what was kept can be read back
        assert not again.calls
    return dict(entry.columns(columns_of(made.calls), costs, 1, 1)) if made.calls else {}


@cache
def plan_of(name: str, keys: frozenset[str]) -> Plan:
    """As in a collector, all spans of a shape are read by one plan."""
    return plan(BY_NAME[name], keys)


def read_as(dialect: Dialect, attributes: dict[str, Any], number: int = 1) -> Reading:
    """Read a span by this very table, whichever one would recognise it."""
    span = a_span(dialect, attributes, number)
    return interpret(span, plan_of(dialect.name, frozenset(attributes)))


@pytest.fixture(scope="module")
def encoder(client: Client) -> Encoder:
    encoder = Encoder(client, TABLE)
    encoder.open()
    return encoder


@pytest.mark.parametrize("dialect", EVERY, ids=lambda dialect: dialect.name)
def test_any_value_of_any_attribute_is_booked_or_left_out(
    dialect: Dialect, encoder: Encoder
) -> None:
    sound = is_call_of(dialect)
    readings = [
        read_as(dialect, {**sound, name: value}, number)
        for number, (name, value) in enumerate(
            ((name, value) for name in names_of(dialect) for value in ODD), 1
        )
    ]
    for reading in readings:
        if reading.call is not None:
            checked(reading.call)
    columns = booked(readings)

    if columns:
        assert encoder.encode(columns)
        for name in ("cost_usd", "claimed_cost_usd", "reported_cost_usd"):
            assert all(amount is None or 0 <= amount < 10**6 for amount in columns[name]), name


COUNTS = [
    pytest.param(dialect, field, names[0], id=f"{dialect.name}-{field}")
    for dialect in EVERY
    if dialect.count is None  # Langfuse's buckets have a test of their own
    and dialect.calls
    and dialect.name != "coding_agent_spans"  # never calls
    for field, names in (*dialect.tokens.items(), *dialect.added.items(),
                         *((("total", dialect.total),) if dialect.total else ()))
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "field", "name"), COUNTS)
def test_a_count_that_cannot_be_is_left_out_and_flagged(
    dialect: Dialect, field: str, name: str
) -> None:
    key, _, path = name.partition("#")
    for value in NOT_COUNTS:
        stated: Any = value
        for step in reversed(path.split(".") if path else ()):
            stated = {step: stated}
        if path and isinstance(value, list | dict):
            continue  # a place within a blob is a number or a text
        other = "output_tokens" if field != "output_tokens" else "input_tokens"
        sound = {n: 7 for n in dialect.tokens[other][:1] if n.partition("#")[0] != key}
        call = read_as(dialect, is_call_of(dialect, **sound, **{key: stated})).call
        assert call is not None
        assert Flag.BAD_COUNT in call.quality_flags, (value, call.usage)
        if field in dialect.tokens and name not in dialect.added.get(field, ()):
            assert getattr(call.usage, field) is None, value


# a table in a bucket is OpenAI's own usage object, and read as that
@pytest.mark.parametrize("value", [v for v in NOT_COUNTS if not isinstance(v, dict)], ids=repr)
def test_a_bucket_of_langfuse_that_cannot_be_a_count_is_flagged(value: Any) -> None:
    langfuse = next(dialect for dialect in DIALECTS if dialect.name == "langfuse")
    usage = "langfuse.observation.usage_details"
    for name in ("input", "output", "total", "input_cached_tokens"):
        said = is_call_of(langfuse, **{usage: {"input": 5, "output": 3, name: value}})
        call = read_as(langfuse, said).call

        assert call is not None
        assert Flag.BAD_COUNT in call.quality_flags, name
        assert name not in {"input", "output"} or not call.usage.input_tokens


CONTRADICTIONS: list[dict[str, int]] = [
    {"input_tokens": 10, "output_tokens": 5, "reasoning_tokens": 9},
    {"input_tokens": 10, "output_tokens": 5, "input_audio_tokens": 11},
    {"input_tokens": 10, "output_tokens": 5, "output_audio_tokens": 6},
    {"input_tokens": 10, "output_tokens": 5, "input_image_tokens": 11},
    {"input_tokens": 10, "cache_write_tokens": 2, "cache_write_1h_tokens": 3},
]


@pytest.mark.parametrize("counts", CONTRADICTIONS, ids=lambda counts: list(counts)[-1])
def test_a_part_larger_than_its_whole_is_flagged(counts: dict[str, int]) -> None:
    dialect = DIALECTS[0]
    said = {dialect.tokens[field][0]: count for field, count in counts.items()}
    call = read_as(dialect, is_call_of(dialect, **said)).call

    assert call is not None
    assert Flag.CONTRADICTORY in call.quality_flags


@pytest.mark.parametrize(
    "dialect", [d for d in EVERY if d.total and not d.count], ids=lambda d: d.name
)
def test_a_total_that_contradicts_its_parts_is_flagged(dialect: Dialect) -> None:
    said: dict[str, Any] = {}
    for names, count in ((dialect.tokens["input_tokens"], 10),
                         (dialect.tokens["output_tokens"], 5), (dialect.total, 99)):  # fmt: skip
        key, _, path = names[0].partition("#")
        stated: Any = count
        for step in reversed(path.split(".") if path else ()):
            stated = {step: stated}
        said[key] = _merged(said.get(key), stated)
    call = read_as(dialect, is_call_of(dialect, **said)).call

    assert call is not None
    assert Flag.TOTAL_MISMATCH in call.quality_flags


def _merged(one: Any, other: Any) -> Any:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return other
    return one | {name: _merged(one.get(name), value) for name, value in other.items()}


@settings(max_examples=150)
@given(st.data())
def test_any_mixture_of_attributes_is_read_and_booked(data: st.DataObject) -> None:
    dialect = data.draw(st.sampled_from(EVERY))
    said = data.draw(st.dictionaries(st.sampled_from(names_of(dialect)), VALUES, max_size=12))
    reader = Reader()
    read = reader.read_log if dialect.name in AGENTS else reader.read
    readings = [read(a_span(dialect, is_call_of(dialect, **said), number)) for number in (1, 2)]
    for reading in readings:
        if reading.call is not None:
            checked(reading.call)
    booked(readings)


def test_a_span_of_ten_thousand_attributes_is_a_call_like_any_other() -> None:
    names = names_of(DIALECTS[0])
    said: dict[str, Any] = {f"{name}.{number}": number for number in range(250) for name in names}
    said |= is_call_of(DIALECTS[0], **{semconv.USAGE_ATTRIBUTES["input_tokens"]: 7})
    assert len(said) > 10_000
    [span] = otlp.decode(request(protobuf_span(1, said)))
    reading = Reader().read(span)

    assert reading.call is not None
    assert reading.call.usage.input_tokens == 7
    assert len(reading.call.tags) <= 32
    assert booked([reading])


@pytest.mark.parametrize("key", ["gen_ai.operation.name", "gen_ai.request.model"])
def test_what_a_span_says_does_not_depend_on_an_equal_value_that_was_read_before(key: str) -> None:
    values: list[Any] = [0, False, 0.0, -0.0, "0", 1, True, 1.0]
    spans = [otlp_span({**CHAT, key: value}) for value in values]
    one_reader = Reader()

    assert [one_reader.read(span) for span in spans] == [Reader().read(span) for span in spans]


def otlp_span(attributes: dict[str, Any]) -> otlp.Span:
    (span,) = otlp.decode(request(protobuf_span(1, attributes)))
    return span
