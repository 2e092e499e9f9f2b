"""Reads every emitter's spans and log records: what is a call, what it used, who it is for.

A file per emitter: where each field stands in its spans, and its token rule.
"""

from tallyspan_collector.dialects.coding_agents import agent_of, as_span, is_call_record
from tallyspan_collector.dialects.interpreter import interpret
from tallyspan_collector.dialects.plan import Plan, plan
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.dialects.registry import SERVICES, recognise
from tallyspan_collector.read.otlp import Span

__all__ = ["NEEDLES", "Kind", "Reader", "Reading", "is_call_record"]

NEEDLES = (
    b"gen_ai.", b"llm.", b"openinference.", b"langfuse.", b"traceloop.", b"ai.model.",
    b"ai.operationId", b"langsmith.", b"genkit:", b"gcp.vertex.agent", b"codex.turn.",
)  # fmt: skip
"""A scope without any of these bytes holds no LLM call and is not parsed."""
SHAPES_LIMIT = 5_000
_NOTHING = Reading(Kind.NOTHING, "", "no attribute of a known emitter")


class Reader:
    """Reads spans, remembering how spans of a shape (scope and set of keys) are read."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, str, tuple[str, ...]], Plan | None] = {}

    def read(self, span: Span) -> Reading:
        """Return what the span is; never raises, whatever its attributes hold."""
        service = span.resource.get("service.name")
        known = service if isinstance(service, str) and service in SERVICES else ""
        shape = (span.scope_name, known, tuple(span.attributes))
        try:
            found = self._plans[shape]
        except KeyError:
            found = self._plan(shape)
        return _NOTHING if found is None else interpret(span, found)

    def read_log(self, record: Span) -> Reading:
        """Return what a log record is: a coding agent's call, or nothing.

        `record` is a span without duration whose name is the record's body or event name.
        """
        dialect = agent_of(record.name, record.attributes)
        if dialect is None or not is_call_record(record.name, record.attributes):
            return _NOTHING
        record = as_span(record, dialect)
        shape = ("", dialect.name, tuple(record.attributes))
        found = self._plans.get(shape)
        if found is None:
            found = self._plans[shape] = plan(dialect, frozenset(record.attributes))
        return interpret(record, found)

    def _plan(self, shape: tuple[str, str, tuple[str, ...]]) -> Plan | None:
        scope, service, keys = shape
        dialect = recognise(scope, service, keys)
        if len(self._plans) >= SHAPES_LIMIT:
            self._plans.clear()
        made = self._plans[shape] = None if dialect is None else plan(dialect, frozenset(keys))
        return made
