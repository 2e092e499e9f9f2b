"""The part of a request that can become calls; the rest goes no further, and is counted."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError as ProtobufError

from tallyspan_collector.dialects import NEEDLES, is_call_record
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.read import otlp, wire


@dataclass(frozen=True, slots=True)
class Admitted:
    """`blob` is an OTLP request with the spans or records that may be calls; empty: there are none.

    `spans` counts those in the blob, `untimed` those refused because they have no time at all: the
    answer to the sender has their number (OTLP partial success).
    """

    blob: bytes
    spans: int = 0
    untimed: int = 0


def admit(body: bytes) -> Admitted:
    """Return the part of an ExportTraceServiceRequest that may be calls.

    A scope none of whose bytes names an attribute of an LLM dialect is dropped unparsed. Raises
    `DecodeError` if the bytes are no such request.
    """
    try:
        export = wire.Export.FromString(body)
        spans = untimed = dropped = 0
        for of_resource in export.of_resources:
            kept = []
            for raw in of_resource.of_scopes:
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
            if len(kept) != len(of_resource.of_scopes) or untimed:
                del of_resource.of_scopes[:]
                of_resource.of_scopes.extend(kept)
    except ProtobufError as error:
        raise DecodeError(f"not an OTLP ExportTraceServiceRequest: {error}") from None
    if not spans:
        return Admitted(b"", 0, untimed)
    return Admitted(export.SerializeToString() if dropped or untimed else body, spans, untimed)


def admit_logs(body: bytes) -> Admitted:
    """Return the records of an ExportLogsServiceRequest that are calls of coding agents.

    Prompts and tools' answers are records of their own: they never reach the disk. Raises
    `DecodeError` if the bytes are no such request.
    """
    try:
        export = wire.Export.FromString(body)
        records = untimed = 0
        for of_resource in export.of_resources:
            kept = []
            for raw in of_resource.of_scopes:
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
                    of_calls = wire.ScopeLogs(scope=scope.scope)
                    of_calls.log_records.extend(timed)
                    kept.append(of_calls.SerializeToString())
            del of_resource.of_scopes[:]
            of_resource.of_scopes.extend(kept)
    except (ProtobufError, UnicodeDecodeError) as error:
        raise DecodeError(f"not an OTLP ExportLogsServiceRequest: {error}") from None
    return Admitted(export.SerializeToString() if records else b"", records, untimed)


def admit_metrics(body: bytes) -> Admitted:
    """Return nothing: the logs and spans of agents have each call that their metrics count."""
    try:
        wire.Export.FromString(body)
    except ProtobufError as error:
        raise DecodeError(f"not an OTLP ExportMetricsServiceRequest: {error}") from None
    return Admitted(b"")
