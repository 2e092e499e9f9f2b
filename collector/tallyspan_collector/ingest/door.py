"""The part of a request that can become calls; the rest goes no further, and is counted."""

from dataclasses import replace
from typing import Any

from google.protobuf.message import DecodeError as ProtobufError

from tallyspan_collector.dialects import NEEDLES, RECORD_NEEDLES, is_call_record
from tallyspan_collector.errors import DecodeError
from tallyspan_collector.read import otlp, wire
from tallyspan_collector.read.envelope import (
    Part,
    Resource,
    Search,
    check_items,
    has_any,
    items,
    joined,
    pieces,
    resources,
)
from tallyspan_collector.read.glance import Admitted, glance


def admit(body: bytes, search: Search = has_any) -> Admitted:
    """Return the part of an ExportTraceServiceRequest that may be calls; `search` finds it.

    Raises `DecodeError` if the bytes are no such request, or of more than a request may hold.
    """
    try:
        return glance(body, NEEDLES, search)
    except DecodeError as error:
        raise _unusable("Trace", error) from None


def admit_logs(body: bytes, search: Search = has_any) -> Admitted:
    """Return the records of an ExportLogsServiceRequest that are calls of coding agents.

    Prompts and tools' answers are records of their own: they never reach the disk. Raises
    `DecodeError` if the bytes are no such request, or of more than a request may hold.
    """
    records = seen = untimed = 0
    kept: list[Resource] = []
    try:
        for resource in resources(body):
            scopes = []
            for scope in resource.scopes:
                if not search(body, scope.content, scope.end, RECORD_NEEDLES):
                    continue
                left_out: list[Part] = []
                before = records
                for start, end in pieces(body, scope.content, scope.end):
                    piece = body[start:end]
                    log_records = wire.ScopeLogs.FromString(piece).log_records
                    seen += len(log_records)
                    check_items(seen, end, "log records")
                    is_timed = [_is_timed_call(record) for record in log_records]
                    records += is_timed.count(True)
                    untimed += is_timed.count(False)
                    left_out += [
                        (start + at, start + stop)
                        for (at, stop), timed in zip(items(piece), is_timed, strict=True)
                        if not timed
                    ]
                if records > before:
                    scopes.append(replace(scope, left_out=left_out))
            if scopes:
                kept.append(Resource(resource.others, scopes))
    except (DecodeError, ProtobufError, UnicodeDecodeError) as error:
        raise _unusable("Logs", error) from None
    return Admitted(joined(body, kept), records, untimed)


def _is_timed_call(record: Any) -> bool | None:
    """Return whether a call has a time; None: the record is no call."""
    if not is_call_record(otlp.record_name(record), otlp.record_attributes(record)):
        return None
    return bool(record.time_unix_nano or record.observed_time_unix_nano)


def admit_metrics(body: bytes, _: Search = has_any) -> Admitted:
    """Return nothing: the logs and spans of agents have each call that their metrics count."""
    try:
        resources(body)
    except DecodeError as error:
        raise _unusable("Metrics", error) from None
    return Admitted(b"")


def _unusable(signal: str, error: Exception) -> DecodeError:
    return DecodeError(f"not an OTLP Export{signal}ServiceRequest that can be taken: {error}")
