"""Reads every emitter's spans and log records: what is a call, what it used, who it is for.

A file per emitter: where each field stands in its spans, and its token rule.
"""

from collections.abc import Mapping

from tallyspan_collector.dialects.coding_agents import EVENTS, agent_of, as_span, is_call_record
from tallyspan_collector.dialects.interpreter import interpret
from tallyspan_collector.dialects.plan import Plan, plan
from tallyspan_collector.dialects.read_from import read_from
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.dialects.registry import SERVICES, recognise
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.read.received import Receipt

__all__ = ["NEEDLES", "RECORD_NEEDLES", "Kind", "Reader", "Reading", "is_call_record"]

NEEDLES = (
    b"gen_ai.", b"llm.", b"openinference.", b"langfuse.", b"traceloop.", b"ai.model.",
    b"ai.operationId", b"langsmith.", b"genkit:", b"gcp.vertex.agent", b"codex.turn.",
    b"tallyspan.requests.",
)  # fmt: skip
"""A scope without any of these bytes holds no LLM call and is not parsed."""
RECORD_NEEDLES = tuple(event.encode() for event in EVENTS)
"""The same for scopes of log records: a record that is a call has one of these names."""
MAX_SHAPES = 5_000
"""Shapes that are remembered; then all are forgotten."""
_NOTHING = Reading(Kind.NOTHING, "", "no attribute of a known emitter")


class Reader:
    """Reads spans, and remembers how spans of one shape (scope and set of keys) are read."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, str, tuple[str, ...]], Plan | None] = {}

    def read(self, span: Span, receipt: Receipt | None = None) -> Reading:
        """Return what the span is, as it was received; never raises, whatever its attributes hold.

        Without a receipt its clock is not checked, and it has no source.
        """
        plan_of_shape = self._of_shape(span)
        return _NOTHING if plan_of_shape is None else interpret(span, plan_of_shape, receipt)

    def read_from(self, span: Span) -> Mapping[str, str]:
        """Return which attribute of a span, or place in one, each fact of its call stands in."""
        plan_of_shape = self._of_shape(span)
        if plan_of_shape is None:
            return {}
        # a variant that another dialect, or none, would take tells nothing
        dialect = plan_of_shape.dialect
        return read_from(
            span,
            plan_of_shape,
            lambda variant: interpret(variant, plan(dialect, frozenset(variant.attributes))).call,
        )

    def log_read_from(self, record: Span) -> Mapping[str, str]:
        """Return the same of a log record."""
        dialect = agent_of(record.name, record.attributes)
        if dialect is None or not is_call_record(record.name, record.attributes):
            return {}
        record = as_span(record, dialect)
        return read_from(
            record,
            plan(dialect, frozenset(record.attributes)),
            lambda variant: interpret(variant, plan(dialect, frozenset(variant.attributes))).call,
        )

    def read_log(self, record: Span, receipt: Receipt | None = None) -> Reading:
        """Return what a log record is: a coding agent's call, or nothing. Never raises.

        `record` is a span without duration whose name is the record's body or event name.
        """
        dialect = agent_of(record.name, record.attributes)
        if dialect is None or not is_call_record(record.name, record.attributes):
            return _NOTHING
        record = as_span(record, dialect)
        shape = ("", dialect.name, tuple(record.attributes))
        plan_of_shape = self._plans.get(shape)
        if plan_of_shape is None:
            plan_of_shape = self._plans[shape] = plan(dialect, frozenset(record.attributes))
        return interpret(record, plan_of_shape, receipt)

    def _of_shape(self, span: Span) -> Plan | None:
        service = span.resource.get("service.name")
        own_service = service if isinstance(service, str) and service in SERVICES else ""
        shape = (span.scope_name, own_service, tuple(span.attributes))
        try:
            return self._plans[shape]
        except KeyError:
            return self._plan(shape)

    def _plan(self, shape: tuple[str, str, tuple[str, ...]]) -> Plan | None:
        scope, service, keys = shape
        dialect = recognise(scope, service, keys)
        if len(self._plans) >= MAX_SHAPES:
            self._plans.clear()
        new = self._plans[shape] = None if dialect is None else plan(dialect, frozenset(keys))
        return new
