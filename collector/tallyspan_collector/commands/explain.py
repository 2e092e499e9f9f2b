"""`tallyspan explain FILE`: what spans were taken for, what was merged, which price, the sum."""

import argparse
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tallyspan_collector import entry, otlp
from tallyspan_collector.call import Call
from tallyspan_collector.dialects import Reader, Reading
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import ConfigError, DecodeError
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.receiver.otlp_json import to_protobuf
from tallyspan_collector.resolution.resolver import Resolver


def add_parser(commands: Any) -> None:
    """Give `tallyspan explain` its parser."""
    parser = commands.add_parser(
        "explain", help="say of the spans in a file which are calls, and what they cost"
    )
    parser.add_argument("file", type=Path, help="an OTLP trace request, JSON or protobuf")
    parser.add_argument("--prices", type=Path, help="models_pricing.yaml")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        body = options.file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{options.file}: {error.strerror}; name a file of OTLP spans") from None
    try:
        if body.lstrip().startswith(b"{"):
            body = to_protobuf(body, ExportTraceServiceRequest())
        spans = otlp.decode(body)
    except DecodeError as error:
        raise ConfigError(f"{options.file}: {error}") from None
    for line in explain(spans, PriceBook.load(options.prices)):
        sys.stdout.write(line + "\n")
    return 0


def explain(spans: Sequence[otlp.Span], book: PriceBook) -> Iterator[str]:
    """Yield the lines: each span, then each charge with its price."""
    reader = Reader()
    readings = [reader.read(span) for span in spans]
    yield f"{len(spans)} spans"
    for span, reading in zip(spans, readings, strict=True):
        yield f"  {span.span_id} {span.name!r} of {span.scope_name or 'an unnamed scope'}"
        dialect = f" ({reading.dialect})" if reading.dialect else ""
        yield f"      {reading.kind}{dialect}: {reading.reason}"
    charged = _charges(readings)
    yield f"{len(charged)} charged"
    for call in charged:
        yield f"  {call.span_id} {call.operation_name} {call.provider_name} {call.model_name}"
        for also in readings:
            if also.kind == "call" and also.call is not None and _is_merged(also.call, call):
                yield f"      the same call as {also.call.span_id} of {also.call.scope_name}"
        yield f"      for user {call.user_id or '-'}, conversation {call.conversation_id or '-'}"
        yield "      tokens: " + (", ".join(_counts(call)) or "unknown")
        if call.quality_flags:
            yield f"      flags: {', '.join(call.quality_flags)}"
        (cost,) = entry.costs([call], book, Directory())
        amount, prompt, answer = entry.usd(cost[:3])
        if amount is None:
            yield f"      no cost: {cost.unpriced_reason}"
            continue
        parts = (
            f" = {prompt} for the prompt + {answer} for the answer" if prompt is not None else ""
        )
        price = f" at {cost.price_id} of {cost.price_source}" if cost.price_id else ""
        yield f"      {amount} USD ({cost.cost_status}){parts}{price}"


def _charges(readings: Sequence[Reading]) -> list[Call]:
    with closing(sqlite3.connect(":memory:")) as file:
        return Resolver(file).resolve(readings).calls


def _is_merged(other: Call, call: Call) -> bool:
    return other.span_id != call.span_id and bool(
        other.trace_id == call.trace_id
        and other.response_id == call.response_id
        and call.response_id
    )


def _counts(call: Call) -> Iterator[str]:
    for name in call.usage.__slots__:
        count = getattr(call.usage, name)
        if count is not None:
            yield f"{name} {count}"
