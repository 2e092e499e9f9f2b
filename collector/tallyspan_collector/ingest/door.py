"""What a request holds that can become a call; the rest goes no further, and is counted."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError as ProtobufError

from tallyspan_collector.dialects import NEEDLES, is_call_record
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.read import otlp, wire


@dataclass(frozen=True, slots=True)
class Admitted:
    """`blob` is an OTLP request of what may be calls; empty: nothing may.

    `spans` counts the spans or records in the blob, `untimed` those refused for want of any time:
    the sender is told (OTLP partial success).
    """

    blob: bytes
    spans: int = 0
    untimed: int = 0


def admit(body: bytes) -> Admitted:
    """Return what is worth keeping of an ExportTraceServiceRequest.

    A scope none of whose bytes names an attribute of an LLM dialect is dropped unparsed. Raises
    `DecodeError` if the bytes are no such request.
    """
    try:
        request = wire.Request.FromString(body)
        spans = untimed = dropped = 0
        for of_resource in request.resource_spans:
            kept = []
            for raw in of_resource.scope_spans:
                if not any(needle in raw for needle in NEEDLES):
                    dropped += 1
                    continue
                scope = wire.ScopeSpans.FromString(raw)
                without = [
                    number
                    for number, span in enumerate(scope.spans)
                    if not span.start_time_unix_nano and not span.end_time_unix_nano
                ]
                for number in reversed(without):
                    del scope.spans[number]
                untimed += len(without)
                spans += len(scope.spans)
                kept.append(scope.SerializeToString() if without else raw)
            if len(kept) != len(of_resource.scope_spans) or untimed:
                del of_resource.scope_spans[:]
                of_resource.scope_spans.extend(kept)
    except ProtobufError as error:
        raise DecodeError(f"not an OTLP ExportTraceServiceRequest: {error}") from None
    if not spans:
        return Admitted(b"", 0, untimed)
    return Admitted(request.SerializeToString() if dropped or untimed else body, spans, untimed)


def admit_logs(body: bytes) -> Admitted:
    """Return the records of an ExportLogsServiceRequest that are calls of coding agents.

    Prompts and tools' answers are records of their own: they never reach the disk. Raises
    `DecodeError` if the bytes are no such request.
    """
    try:
        request = wire.Request.FromString(body)
        records = untimed = 0
        for of_resource in request.resource_spans:
            kept = []
            for raw in of_resource.scope_spans:
                scope = wire.ScopeLogs.FromString(raw)
                calls = [
                    record
                    for record in scope.log_records
                    if is_call_record(otlp.record_name(record), otlp.record_attributes(record))
                ]
                timed = [
                    each for each in calls if each.time_unix_nano or each.observed_time_unix_nano
                ]
                untimed += len(calls) - len(timed)
                records += len(timed)
                if timed:
                    made = wire.ScopeLogs(scope=scope.scope)
                    made.log_records.extend(timed)
                    kept.append(made.SerializeToString())
            del of_resource.scope_spans[:]
            of_resource.scope_spans.extend(kept)
    except (ProtobufError, UnicodeDecodeError) as error:
        raise DecodeError(f"not an OTLP ExportLogsServiceRequest: {error}") from None
    return Admitted(request.SerializeToString() if records else b"", records, untimed)


def admit_metrics(body: bytes) -> Admitted:
    """Return nothing: what agents count in metrics, their logs and spans say call by call."""
    try:
        wire.Request.FromString(body)
    except ProtobufError as error:
        raise DecodeError(f"not an OTLP ExportMetricsServiceRequest: {error}") from None
    return Admitted(b"")
