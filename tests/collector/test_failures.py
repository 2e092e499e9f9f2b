"""A request that was refused, or never left the client, costs nothing; a cut stream is billed."""

from contextlib import suppress
from decimal import Decimal
from typing import Any

import httpx2
import openai
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otlp_spans import CHAT, START_NS, request, span
from tallyspan.usage import Usage
from tallyspan_collector.dialects import Reader
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ledger import entry
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.ledger.failures import REFUSED, UNSENT
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span, decode

BOOK = PriceBook.load()
NO_USAGE = {key: value for key, value in CHAT.items() if "usage" not in key}
OPENLLMETRY, OPENINFERENCE = "opentelemetry.instrumentation.openai", "openinference.instrumentation"
# gpt-5-mini: 1000 tokens at 0.25 and 100 at 2.00 USD a million
PRICE = Decimal("0.00045")


def read(attributes: dict[str, Any], scope: str = "") -> Call:
    ids = "a" * 32, "b" * 16, ""
    call = Reader().read(Span(*ids, START_NS, START_NS + 5, True, attributes, {}, scope)).call
    assert call is not None
    return call


def cost(call: Call) -> Cost:
    (result,) = entry.costs([call], BOOK, Directory())
    return result


def usd(result: Cost) -> Decimal | None:
    return None if result.cost_picousd is None else Decimal(result.cost_picousd) / 10**12


@pytest.mark.parametrize("scope", ["", OPENLLMETRY, "litellm", "agent_framework"])
@pytest.mark.parametrize(
    "status",
    [
        {"http.response.status_code": 400},
        {"http.response.status_code": 503},
        {"http.status_code": 429},
        {"error.type": "429"},
        {"error.code": "404", "error.type": "NotFoundError"},
    ],
)
def test_tokens_that_a_sender_counted_for_a_refused_call_are_not_billed_and_stay_visible(
    status: dict[str, Any], scope: str
) -> None:
    call = read({**CHAT, "llm.request.type": "chat", **status}, scope)
    result = cost(call)

    assert (result.cost_status, usd(result)) == ("not_billed", Decimal(0))
    assert (call.usage.input_tokens, call.usage.output_tokens) == (1000, 100)
    assert call.usage_source == "estimated"


def test_what_a_refusing_provider_itself_counts_is_billed() -> None:
    answer = {"tallyspan.usage.source": "provider", "http.response.status_code": 400}
    result = cost(read({**CHAT, **answer}, "tallyspan"))

    assert (result.cost_status, usd(result)) == ("priced", PRICE)


@pytest.mark.parametrize(
    "error",
    [
        "httpx.ConnectError",
        "ConnectError",
        "ConnectTimeout",
        "LocalProtocolError",
        "UnsupportedProtocol",
        "openai.APIConnectionError",
        "aiohttp.client_exceptions.ClientConnectorDNSError",
        "requests.exceptions.ConnectionError",
        "botocore.exceptions.EndpointConnectionError",
        "<class 'httpx2.ConnectError'>",
        "ECONNREFUSED",
        "ENOTFOUND",
        "UND_ERR_CONNECT_TIMEOUT",
        "java.net.UnknownHostException",
    ],
)
@pytest.mark.parametrize("tokens", [{}, {"gen_ai.usage.input_tokens": 1000}])
def test_a_request_that_never_left_the_client_is_not_billed(
    error: str, tokens: dict[str, Any]
) -> None:
    result = cost(read({**NO_USAGE, **tokens, "error.type": error}))

    assert (result.cost_status, usd(result), result.unpriced_reason) == (
        "not_billed",
        Decimal(0),
        "",
    )


@pytest.mark.parametrize(
    "error",
    [
        "openai.APITimeoutError",
        "httpx.ReadTimeout",
        "ReadError",
        "RemoteProtocolError",
        "TimeoutError",
        "CancelledError",
        "AbortError",
        "ECONNRESET",
        "UND_ERR_HEADERS_TIMEOUT",
        "ServerDisconnectedError",
        "ConnectionClosedError",
        "",
    ],
)
def test_a_request_that_left_and_was_not_answered_is_unknown_and_not_free(error: str) -> None:
    result = cost(read({**NO_USAGE, "error.type": error}))

    assert (result.cost_status, result.unpriced_reason) == ("unpriced", "unknown_usage")


@pytest.mark.parametrize(
    "error", ["NotFoundError", "openai.BadRequestError", "RateLimitError", "ThrottlingException"]
)
def test_a_refusal_by_name_alone_costs_nothing(error: str) -> None:
    assert cost(read({**NO_USAGE, "error.type": error})).cost_status == "not_billed"


@pytest.mark.parametrize(
    "error", ["ReadError", "openai.APIConnectionError", "InternalServerError", "AbortError"]
)
@pytest.mark.parametrize("status", [{}, {"http.response.status_code": 200}])
def test_a_cut_stream_that_generated_tokens_stays_billed(
    error: str, status: dict[str, Any]
) -> None:
    result = cost(read({**CHAT, "error.type": error, **status}))

    assert (result.cost_status, usd(result)) == ("priced", PRICE)


def test_a_stream_that_began_and_broke_before_its_first_token_is_billed_for_its_prompt() -> None:
    began = {
        **NO_USAGE,
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 0,
        "gen_ai.response.id": "msg_01",
        "error.type": "overloaded_error",
    }

    assert usd(cost(read(began))) == Decimal("0.00025")


def test_a_bill_that_the_provider_states_comes_before_the_failure() -> None:
    call = read({**NO_USAGE, "error.type": "502"})._replace(
        reported_cost_picousd=77, usage=Usage(10, 1)
    )

    assert (cost(call).cost_status, cost(call).cost_picousd) == ("reported", 77)


def test_langfuse_states_the_status_in_words() -> None:
    failed = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "gpt-5-mini",
        "langfuse.observation.level": "ERROR",
        "langfuse.observation.status_message": "Error code: 404 - The model does not exist",
        "langfuse.observation.usage_details": '{"input": 1000, "output": 0, "total": 1000}',
    }
    call = read(failed, "langfuse-sdk")

    assert (call.http_status, call.usage.input_tokens) == (404, 1000)
    assert cost(call).cost_status == "not_billed"


def test_each_name_stands_once() -> None:
    names = [
        name for table in (UNSENT, REFUSED) for names in table.values() for name in names.split()
    ]

    assert sorted(names) == sorted(set(names))


def exported(error: BaseException) -> Call:
    """Return the call of a span that OpenTelemetry's SDK ended with the exception."""
    out = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(out))
    tracer = provider.get_tracer("openinference.instrumentation.openai")
    attributes = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-5-mini"}
    with suppress(type(error)), tracer.start_as_current_span("ChatCompletion") as open_span:
        open_span.set_attributes(attributes)
        raise error
    (decoded,) = decode(encode_spans(out.get_finished_spans()).SerializeToString())
    call = Reader().read(decoded).call
    assert call is not None
    return call


REQUEST = httpx2.Request("POST", "https://api.openai.com/v1/chat/completions")


@pytest.mark.parametrize(
    ("error", "error_type", "cost_status"),
    [
        (
            openai.NotFoundError("no", response=httpx2.Response(404, request=REQUEST), body=None),
            "NotFoundError",
            "not_billed",
        ),
        (openai.APIConnectionError(request=REQUEST), "APIConnectionError", "not_billed"),
        (openai.APITimeoutError(request=REQUEST), "APITimeoutError", "unpriced"),
        (httpx2.ConnectError("refused"), "ConnectError", "not_billed"),
        (RuntimeError("<Rpc\n status = StatusCode.NOT_FOUND"), "NOT_FOUND", "not_billed"),
        (ValueError("a secret: do not keep it"), "ValueError", "unpriced"),
    ],
)
def test_an_emitter_that_names_its_error_in_the_message_alone_is_understood(
    error: BaseException, error_type: str, cost_status: str
) -> None:
    call = exported(error)

    assert (call.is_error, call.error_type) == (True, error_type)
    assert cost(call).cost_status == cost_status


@pytest.mark.parametrize(
    ("message", "error_type"),
    [
        ("connect ECONNREFUSED 127.0.0.1:443", "ECONNREFUSED"),
        ("getaddrinfo ENOTFOUND api.openai.com", "ENOTFOUND"),
        ("the model said: NotFoundError: ha", None),
        ("Connection error.", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_of_an_errors_message_nothing_but_a_type_is_kept(
    message: str, error_type: str | None
) -> None:
    sent = request(span(7, CHAT))
    message_of = ExportTraceServiceRequest.FromString(sent)
    status = message_of.resource_spans[0].scope_spans[0].spans[0].status
    status.code, status.message = Status.STATUS_CODE_ERROR, message
    (decoded,) = decode(message_of.SerializeToString())

    assert decoded.attributes.get("error.type") == error_type
    assert decoded.is_error
