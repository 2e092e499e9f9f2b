"""OTLP's trace and log requests, cut down for reading fast.

The same bytes, but parts that are not always needed are declared `bytes`: both are
length-delimited on the wire, so the C parser stays right and does not open them; a field that is
not named here is skipped. `Export` is an export request of any signal: their outer layers have the
same field numbers. `Times` is a ScopeSpans of whose spans only the times are read; `Merged` is one
whose spans are declared as a single one, which then has the attributes of all. Source:
opentelemetry-proto, trace/v1, logs/v1, common/v1, resource/v1 and collector/*/v1. Field numbers are
the protocol's.
"""

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE = "tallyspan.wire"
_SCHEMA: dict[str, dict[str, tuple[int, int, str]]] = {
    "Export": {"of_resources": (1, Field.LABEL_REPEATED, "OfResource")},
    "OfResource": {
        "resource": (1, Field.LABEL_OPTIONAL, "bytes"),
        "of_scopes": (2, Field.LABEL_REPEATED, "bytes"),
    },
    "Times": {"spans": (2, Field.LABEL_REPEATED, "TimesOfSpan")},
    "TimesOfSpan": {
        "start_time_unix_nano": (7, Field.LABEL_OPTIONAL, "fixed64"),
        "end_time_unix_nano": (8, Field.LABEL_OPTIONAL, "fixed64"),
    },
    "Merged": {"spans": (2, Field.LABEL_OPTIONAL, "AttributesOfSpan")},
    "AttributesOfSpan": {"attributes": (9, Field.LABEL_REPEATED, "bytes")},
    "ScopeSpans": {
        "scope": (1, Field.LABEL_OPTIONAL, "bytes"),
        "spans": (2, Field.LABEL_REPEATED, "Span"),
    },
    "Span": {
        "trace_id": (1, Field.LABEL_OPTIONAL, "bytes"),
        "span_id": (2, Field.LABEL_OPTIONAL, "bytes"),
        "parent_span_id": (4, Field.LABEL_OPTIONAL, "bytes"),
        "name": (5, Field.LABEL_OPTIONAL, "bytes"),
        "kind": (6, Field.LABEL_OPTIONAL, "int32"),
        "start_time_unix_nano": (7, Field.LABEL_OPTIONAL, "fixed64"),
        "end_time_unix_nano": (8, Field.LABEL_OPTIONAL, "fixed64"),
        "attributes": (9, Field.LABEL_REPEATED, "bytes"),
        "status": (15, Field.LABEL_OPTIONAL, "Status"),
    },
    "Status": {
        "message": (2, Field.LABEL_OPTIONAL, "bytes"),
        "code": (3, Field.LABEL_OPTIONAL, "int32"),
    },
    "Resource": {"attributes": (1, Field.LABEL_REPEATED, "bytes")},
    "Scope": {
        "name": (1, Field.LABEL_OPTIONAL, "bytes"),
        "version": (2, Field.LABEL_OPTIONAL, "bytes"),
    },
    "ScopeLogs": {
        "scope": (1, Field.LABEL_OPTIONAL, "bytes"),
        "log_records": (2, Field.LABEL_REPEATED, "LogRecord"),
    },
    "LogRecord": {
        "time_unix_nano": (1, Field.LABEL_OPTIONAL, "fixed64"),
        "body": (5, Field.LABEL_OPTIONAL, "bytes"),
        "attributes": (6, Field.LABEL_REPEATED, "bytes"),
        "trace_id": (9, Field.LABEL_OPTIONAL, "bytes"),
        "span_id": (10, Field.LABEL_OPTIONAL, "bytes"),
        "observed_time_unix_nano": (11, Field.LABEL_OPTIONAL, "fixed64"),
        "event_name": (12, Field.LABEL_OPTIONAL, "bytes"),
    },
}
_TYPES = {"bytes": Field.TYPE_BYTES, "int32": Field.TYPE_INT32, "fixed64": Field.TYPE_FIXED64}


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name="tallyspan/wire.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _SCHEMA.items():
        message = file.message_type.add(name=message_name)
        for name, (number, label, kind) in fields.items():
            field = message.field.add(name=name, number=number, label=label)
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type = Field.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{kind}"
    pool = DescriptorPool()
    pool.Add(file)
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _SCHEMA
    }


_CLASSES = _classes()
Export: Any = _CLASSES["Export"]
Resource: Any = _CLASSES["Resource"]
Scope: Any = _CLASSES["Scope"]
ScopeSpans: Any = _CLASSES["ScopeSpans"]
ScopeLogs: Any = _CLASSES["ScopeLogs"]
Times: Any = _CLASSES["Times"]
Merged: Any = _CLASSES["Merged"]
