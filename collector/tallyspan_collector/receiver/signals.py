"""OTLP's signals: the names, the check and the answer of each. Source: opentelemetry-proto."""

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tallyspan_collector.ingest.door import admit, admit_logs, admit_metrics
from tallyspan_collector.ingest.spool import LOGS, TRACES
from tallyspan_collector.read.envelope import Search
from tallyspan_collector.read.glance import Admitted


@dataclass(frozen=True, slots=True)
class Signal:
    """One kind of request.

    `name` is the end of its HTTP path and its kind in the spool, `rejected_field` the name of the
    count of rejected items in its answer. Bodies up to `max_loop_bytes` are checked at once, which
    takes a few milliseconds; larger ones in a thread, for other senders not to wait.
    """

    name: str
    grpc_method: str
    request: type[Message]
    response: type[Message]
    rejected_field: str
    admit: Callable[[bytes, Search], Admitted]
    max_loop_bytes: int

    def answer(self, rejected: int = 0, reason: str = "") -> Message:
        """Return the response; with `rejected` items it is OTLP's partial success."""
        response = self.response()
        if rejected:
            partial = response.partial_success  # type: ignore[attr-defined]  # each response has one
            setattr(partial, self.rejected_field, rejected)
            partial.error_message = reason
        return response


_SERVICE = "/opentelemetry.proto.collector"
SIGNALS = (
    Signal(
        TRACES,
        f"{_SERVICE}.trace.v1.TraceService/Export",
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
        "rejected_spans",
        admit,
        1 << 20,
    ),
    Signal(
        LOGS,
        f"{_SERVICE}.logs.v1.LogsService/Export",
        ExportLogsServiceRequest,
        ExportLogsServiceResponse,
        "rejected_log_records",
        admit_logs,
        64 << 10,  # each record of it may be read
    ),
    # an agent that sends logs sends metrics to the same place: refused, it would complain for ever
    Signal(
        "metrics",
        f"{_SERVICE}.metrics.v1.MetricsService/Export",
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
        "rejected_data_points",
        admit_metrics,
        1 << 20,
    ),
)
