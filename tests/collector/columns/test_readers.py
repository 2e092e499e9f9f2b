"""Spans read as columns are the calls that are read one by one; what cannot be said leaves."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from captured_requests import captured_requests, inside_another
from otlp_spans import CHAT, request, span
from read_both_ways import RECEIPT, BothWays, columns_of_both
from span_readers import NAMES, reader_named
from spoiled_requests import spoiled
from tallyspan_collector.columns import shapes as limits
from tallyspan_collector.columns.shapes import Shapes
from tallyspan_collector.columns.table import table
from tallyspan_collector.dialects import Kind
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.read import otlp

CAPTURED = list(captured_requests())


@pytest.fixture(params=NAMES, scope="module")
def reader(request: pytest.FixtureRequest) -> Any:
    return reader_named(request.param).decoder


@pytest.fixture
def both(reader: Any) -> BothWays:
    return BothWays(reader)


def test_every_capture_is_read_the_same_alone_and_inside_another_span(both: BothWays) -> None:
    differences = [
        (name, lines)
        for name, captured in CAPTURED
        for variant in (captured, inside_another(captured))
        if (lines := both.differences(variant.SerializeToString()))
    ]

    assert differences == []
    assert both.rows > 200


@pytest.fixture(scope="module")
def long_lived(reader: Any) -> BothWays:
    """Both ways with all that they remember of the examples before."""
    return BothWays(reader)


@given(seed=st.integers(0, 2**32))
def test_spoiled_requests_are_read_the_same(long_lived: BothWays, seed: int) -> None:
    chance = random.Random(seed)
    body = spoiled(chance.choice(CAPTURED)[1], chance)

    assert long_lived.differences(body) == []


@pytest.fixture(scope="module")
def two_readers() -> list[Any]:
    return [reader_named(name).decoder(Shapes()) for name in NAMES[::-1]]


@given(seed=st.integers(0, 2**32))
def test_both_readers_make_the_same_columns(two_readers: list[Any], seed: int) -> None:
    chance = random.Random(seed)
    captured = ExportTraceServiceRequest()
    for _ in range(chance.randrange(1, 8)):
        captured.MergeFrom(chance.choice(CAPTURED)[1])

    one, other = two_readers
    assert columns_of_both(one, other, spoiled(captured, chance, 8)).lines == []


def rows_of(decoder: Any, *bodies: bytes) -> tuple[Any, list[bytes]]:
    leaving = [raw for number, body in enumerate(bodies) for raw in decoder.add(body, number)]
    return table(decoder.take(), [RECEIPT] * len(bodies)), leaving


def test_a_row_has_its_request_and_repeating_attributes_are_concluded_once(reader: Any) -> None:
    bodies = [request(span(number, CHAT), span(number + 1, CHAT)) for number in (1, 3)]
    rows, leaving = rows_of(reader(Shapes()), *bodies)

    assert leaving == []
    assert [*rows.request] == [0, 0, 1, 1]
    assert len(rows.sorts) == 1
    assert [rows.call(row).span_id for row in range(4)] == [f"{each:016x}" for each in (1, 2, 3, 4)]
    assert rows.texts["user_id"] == ["ada"] * 4


def test_what_leaves_is_counted_by_its_reason(reader: Any) -> None:
    decoder = reader(Shapes())
    remote = span(3, CHAT | {"gen_ai.operation.name": "invoke_agent"})
    remote.kind = Span.SPAN_KIND_CLIENT
    body = request(
        span(1, CHAT),
        span(2, CHAT | {"gen_ai.usage.input_tokens": "many"}),
        remote,
        span(4, CHAT | {"gen_ai.usage.nobody_reads": 7}),
        span(5, {"http.route": "/"}),
    )
    rows, leaving = rows_of(decoder, body)

    assert rows.rows == 1
    assert decoder.refused == {"value": 1, "agent": 1, "dialect": 1}
    assert decoder.not_calls == 1
    assert [each.span_id[-1] for raw in leaving for each in otlp.decode(raw)] == ["2", "3", "4"]


def test_an_agent_is_a_row_unless_it_is_remote_and_reports_usage(reader: Any) -> None:
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "router"}
    local, remote = span(1, CHAT | agent), span(2, CHAT | agent)
    without_usage = span(3, agent)
    remote.kind = without_usage.kind = Span.SPAN_KIND_CLIENT
    rows, leaving = rows_of(reader(Shapes()), request(local, remote, without_usage, span(4, CHAT)))

    by_span = {reading.call.span_id[-1]: reading for reading in map(rows.reading, range(3))}
    assert {each: by_span[each].kind for each in by_span} == {
        "1": Kind.WRAPPER,
        "3": Kind.WRAPPER,
        "4": Kind.CALL,
    }
    assert by_span["1"].call.agent_name == "router"
    assert [each.span_id[-1] for raw in leaving for each in otlp.decode(raw)] == ["2"]


def test_an_attribute_that_cannot_be_read_is_as_if_it_were_not_there(reader: Any) -> None:
    both = BothWays(reader)
    body = request(span(1, CHAT | {"app.team": "zzzz"})).replace(b"zzzz", b"\xff\xff\xff\xff")

    assert both.differences(body) == []
    assert both.decoder.refused == {"attribute": 1}


def test_the_last_name_of_the_first_chunks_time_wins(reader: Any) -> None:
    both = BothWays(reader)
    times = {
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.server.time_to_first_token": 0.25,
    }
    rows, _ = rows_of(reader(Shapes()), request(span(1, CHAT | times)))

    assert rows.call(0).time_to_first_chunk_us == 250_000
    assert both.differences(request(span(1, CHAT | times))) == []


def test_a_refusal_leaves_because_its_conditions_depend_on_the_output(reader: Any) -> None:
    both = BothWays(reader)
    refusal = {"gen_ai.response.finish_reasons": ["refusal"], "gen_ai.usage.output_tokens": 0}

    assert both.differences(request(span(1, CHAT | refusal))) == []
    assert both.decoder.refused == {"refusal": 1}


def test_an_error_is_named_by_its_message(reader: Any, both: BothWays) -> None:
    failed = span(1, {key: CHAT[key] for key in CHAT if "usage" not in key})
    failed.status.code = 2  # type: ignore[assignment]  # the enum is an int
    failed.status.message = "openai.NotFoundError: no such model"
    rows, _ = rows_of(reader(Shapes()), request(failed))

    assert rows.call(0).error_type == "openai.NotFoundError"
    assert both.differences(request(failed)) == []


def test_what_is_no_request_raises_and_nothing_of_it_is_taken(reader: Any) -> None:
    decoder = reader(Shapes())
    body = request(span(1, CHAT), span(2, CHAT))
    decoder.add(body, 0)
    with pytest.raises(DecodeError):
        decoder.add(body + b"\x0a\x7f", 1)

    (part,) = decoder.take()
    assert part.rows == 2


def test_an_agent_named_anew_in_every_span_gets_a_column(
    reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_SORTS", 10)
    decoder = reader(Shapes())
    agents = [f"agent-{number}" for number in range(40)]
    body = request(*(span(at + 1, CHAT | {"gen_ai.agent.name": a}) for at, a in enumerate(agents)))
    first, leaving = rows_of(decoder, body)

    assert first.rows == 10
    assert decoder.refused == {"sorts": 30}
    assert sum(len(otlp.decode(raw)) for raw in leaving) == 30
    later, leaving = rows_of(decoder, body)
    assert leaving == []
    assert [later.call(row).agent_name for row in range(40)] == agents
    assert len(later.sorts) == 1


def test_a_model_named_anew_in_every_span_costs_a_bounded_number_of_sorts(
    reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_SORTS", 10)
    decoder = reader(Shapes())
    for _ in range(3):
        body = request(*(span(n, CHAT | {"gen_ai.request.model": f"m{n}"}) for n in range(1, 41)))
        rows, _ = rows_of(decoder, body)
        assert (rows.rows, len(rows.sorts)) == (10, 10)

    assert decoder.refused == {"sorts": 90}


def test_shapes_are_bounded(reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_NEW_SHAPES", 5)
    decoder = reader(Shapes())
    body = request(*(span(number, CHAT | {f"key.{number}": 1}) for number in range(1, 9)))
    rows, _ = rows_of(decoder, body)
    again, _ = rows_of(decoder, body)

    assert (rows.rows, again.rows) == (5, 8)
    assert decoder.refused == {"shapes": 3}


@pytest.mark.parametrize("tokens", [0, 7])
def test_zeros_that_litellm_reports_of_a_failed_call_are_no_usage(reader: Any, tokens: int) -> None:
    both = BothWays(reader)
    failed = span(1, {**CHAT, "litellm.call_type": "completion",
                      "gen_ai.usage.input_tokens": tokens,
                      "gen_ai.usage.output_tokens": 0})  # fmt: skip
    failed.status.code = 2  # type: ignore[assignment]  # the enum is an int
    rows, _ = rows_of(reader(Shapes()), request(failed))

    assert both.differences(request(failed)) == []
    assert rows.call(0).dialect == "litellm"
    assert rows.call(0).usage.input_tokens == (tokens or None)
