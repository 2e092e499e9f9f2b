"""The part of a request that can become calls; the rest goes no further, and is counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from google.protobuf.message import DecodeError as ProtobufError

from tallyspan_collector.dialects import NEEDLES, RECORD_NEEDLES, is_call_record
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.read import otlp, wire
from tallyspan_collector.read.envelope import (
    Part,
    Resource,
    check_items,
    has_any,
    items,
    joined,
    pieces,
    resources,
)
from tallyspan_collector.read.glance import Admitted, glance


def admit(body: bytes) -> Admitted:
    """Return the part of an ExportTraceServiceRequest that may be calls.

    Raises `DecodeError` if the bytes are no such request, or of more than a request may hold.
    """
    with _named("ExportTraceServiceRequest"):
        return glance(body, NEEDLES)


def admit_logs(body: bytes) -> Admitted:
    """Return the records of an ExportLogsServiceRequest that are calls of coding agents.

    Prompts and tools' answers are records of their own: they never reach the disk. Raises
    `DecodeError` if the bytes are no such request, or of more than a request may hold.
    """
    records = seen = untimed = 0
    kept: list[Resource] = []
    with _named("ExportLogsServiceRequest"):
        for resource in resources(body):
            scopes = []
            for scope in resource.scopes:
                if not has_any(body, scope.content, scope.end, RECORD_NEEDLES):
                    continue
                left_out: list[Part] = []
                calls = 0
                for start, end in pieces(body, scope.content, scope.end):
                    piece = body[start:end]
                    log_records = wire.ScopeLogs.FromString(piece).log_records
                    seen += len(log_records)
                    check_items(seen, end, "log records")
                    places = items(piece, 0, len(piece))
                    for (at, stop), record in zip(places, log_records, strict=True):
                        is_call = _is_call(record)
                        has_time = record.time_unix_nano or record.observed_time_unix_nano
                        if is_call and has_time:
                            calls += 1
                            continue
                        untimed += is_call
                        left_out.append((start + at, start + stop))
                if calls:
                    records += calls
                    scopes.append(replace(scope, left_out=left_out))
            if scopes:
                kept.append(Resource(resource.others, scopes))
    return Admitted(joined(body, kept), records, untimed)


def _is_call(record: object) -> bool:
    return is_call_record(otlp.record_name(record), otlp.record_attributes(record))


def admit_metrics(body: bytes) -> Admitted:
    """Return nothing: the logs and spans of agents have each call that their metrics count."""
    with _named("ExportMetricsServiceRequest"):
        resources(body)
    return Admitted(b"")


@contextmanager
def _named(request: str) -> Iterator[None]:
    """Say of which request an error is."""
    try:
        yield
    except (DecodeError, ProtobufError, UnicodeDecodeError) as error:
        raise DecodeError(f"not an OTLP {request} that can be taken: {error}") from None
