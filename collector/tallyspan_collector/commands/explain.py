"""`tallyspan explain TRACE|FILE`: what was received, merged and charged, and why."""

import argparse
import json
import re
import sqlite3
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tallyspan_collector import config
from tallyspan_collector.access import keys
from tallyspan_collector.commands import explained
from tallyspan_collector.commands.explained_text import lines
from tallyspan_collector.commands.price_book import PRICES, book_of
from tallyspan_collector.commands.store import writing
from tallyspan_collector.dialects import Reader, Reading
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.errors import ConfigError, DecodeError
from tallyspan_collector.ingest import journal
from tallyspan_collector.ledger import entry
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read import otlp
from tallyspan_collector.receiver.otlp_json import to_protobuf
from tallyspan_collector.resolution.identity import Identities
from tallyspan_collector.resolution.index import look_up, whereabouts
from tallyspan_collector.resolution.node import Trace
from tallyspan_collector.resolution.resolver import QUIET_SECONDS, Resolver
from tallyspan_collector.summary.calls import entries_of_trace

_TRACE = re.compile(r"([0-9a-fA-F]{32})(?:-[0-9a-fA-F]{16})?\Z")
_LOGS_IN_JSON = ("resourceLogs", "resource_logs")
Explanation = explained.Values


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan explain`."""
    parser = commands.add_parser("explain")
    parser.add_argument(
        "subject",
        metavar="TRACE|FILE",
        help="a trace id (32 hex digits; a log_id will do), or a file with an OTLP request of spans"
        " or log records, JSON or protobuf",
    )
    config.add_flags(parser, (*config.READ_OPTIONS, config.TRUSTED_KEYS, PRICES))
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    trace = _TRACE.match(options.subject)
    if trace is None:
        explanation = of_file(Path(options.subject), book_of(options))
    else:
        explanation = of_trace(trace[1].lower(), options)
    if options.format == "json":
        sys.stdout.write(json.dumps(explanation, indent=2, ensure_ascii=False) + "\n")
        return 0
    for line in lines(explanation):
        sys.stdout.write(line + "\n")
    return 0


def of_trace(trace_id: str, options: argparse.Namespace) -> Explanation:
    """Return what journal and ledger have of a trace. Raises `ConfigError` if both have nothing."""
    settings = config.read(options, options=(config.DATA_DIR, config.TRUSTED_KEYS))
    data_dir: Path = settings["data_dir"]
    book = book_of(options)
    path = data_dir / "spool" / journal.FILE_NAME
    with writing(options) as client:  # the reader account cannot see entries
        tenants = {"", *(key.tenant for key in keys.stored(client))}
        traces = journal.recall(path, trace_id, sorted(tenants))
        ids = {trace_id, *(node.call.trace_id for each in traces for node in each.nodes.values())}
        rows = [row for each in sorted(ids) for row in entries_of_trace(client, each)]
    rows.sort(key=itemgetter("ingested_at"))
    if not traces and not rows:
        raise ConfigError(
            f"trace {trace_id}: neither the ledger nor the journal {path} has a call of it;"
            " if its spans were sent, `tallyspan explain FILE` says what they are taken for"
        )
    explanation: Explanation = {"trace_id": trace_id}
    if also := sorted(ids - {trace_id}):
        explanation["also"] = also
    if not traces:
        explanation["note"] = (
            f"the journal {path} does not have its spans (any more: it keeps hours);"
            " what follows is the ledger's part alone"
        )
    else:
        waiting = [each for trace in traces for each in explained.not_in_ledger(trace, rows)]
        explanation |= _reports(traces) | _charges(traces, book, trusted=settings["trusted_keys"])
        if waiting:
            explanation["not_in_ledger_yet"] = waiting
    explanation["entries"] = explained.entries_of(rows, book)
    explanation["net"] = explained.net_of(rows)
    return explanation


def of_file(path: Path, book: PriceBook) -> Explanation:
    """Return how the spans or log records of a file are read and charged. Raises `ConfigError`."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; name a file of OTLP spans or log records,"
            " or a trace id of 32 hex digits"
        ) from None
    reader = Reader()
    try:
        is_logs, items = _decoded(body)
    except DecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    readings = [(reader.read_log if is_logs else reader.read)(item) for item in items]
    read_from = reader.log_read_from if is_logs else reader.read_from
    places = {
        reading.call.span_id: read_from(item)
        for item, reading in zip(items, readings, strict=True)
        if reading.call is not None
    }
    return {
        "spans": [_item(item, each) for item, each in zip(items, readings, strict=True)],
        "is_logs": is_logs,
        **_charges(_resolved(readings, book), book, places),
    }


def _decoded(body: bytes) -> tuple[bool, list[otlp.Span]]:
    """Return whether the body has log records, and its spans or records. Raises `DecodeError`."""
    if body.lstrip().startswith(b"{"):
        if any(f'"{name}"'.encode() in body for name in _LOGS_IN_JSON):
            return True, otlp.decode_logs(to_protobuf(body, ExportLogsServiceRequest()))
        return False, otlp.decode(to_protobuf(body, ExportTraceServiceRequest()))
    try:
        records = otlp.decode_logs(body)
    except DecodeError:
        records = []
    # both kinds of request look alike; a span read as a record has no time
    if any(record.start_time_ns for record in records):
        return True, records
    return False, otlp.decode(body)


def _resolved(readings: Sequence[Reading], book: PriceBook) -> list[Trace]:
    """Return the traces as they are charged if no more spans arrive."""
    ids = {each.call.trace_id: None for each in readings if each.call is not None}
    now = time.time_ns() // 1_000_000
    with closing(sqlite3.connect(":memory:")) as file:
        resolver = Resolver(file)
        for later, arrived in ((0, readings), (2 * QUIET_SECONDS * 1000, ())):
            resolution = resolver.resolve(arrived, now + later)
            costs = entry.costs(resolution.calls, book, Directory())
            resolver.commit(resolution, costs, now_ms=now + later)
        identities = Identities.read(file)
        numbers = [identities.trace("", each) for each in ids]  # a file has no key, so no tenant
        moved = whereabouts(file, set(numbers))
        places = dict.fromkeys(moved.get(number, number) for number in numbers)
        return [trace for place in places if (trace := look_up(file, place)) is not None]


def _item(item: otlp.Span, reading: Reading) -> Explanation:
    return {
        "span_id": item.span_id,
        "name": item.name,
        "scope_name": item.scope_name,
        "kind": reading.kind.value,
        "dialect": reading.dialect,
        "reason": reading.reason,
    }


def _reports(traces: Sequence[Trace]) -> Explanation:
    nodes = [node for trace in traces for node in trace.nodes.values()]
    nodes.sort(key=lambda node: node.call.start_time_ns)
    return {"received": [explained.report_of(node) for node in nodes]}


def _charges(
    traces: Sequence[Trace],
    book: PriceBook,
    places: explained.Places | None = None,
    trusted: Collection[str] = (),
) -> Explanation:
    return {
        "charges": [
            explained.charge_of(booked, trace, book, places, trusted)
            for trace in traces
            for booked in sorted(trace.booked.values(), key=lambda each: each.call.start_time_ns)
        ]
    }
