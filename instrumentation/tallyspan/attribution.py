"""Who a call is for: set by the application, carried by the OpenTelemetry context."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from opentelemetry import baggage, context

from tallyspan import semconv

_KEY = context.create_key("tallyspan-attribution")
_NOBODY: Mapping[str, str] = {}

# Sent on to the application's other services as W3C baggage; tags stay in the process.
BAGGAGE_KEYS = (
    semconv.USER_ID,
    semconv.DEPARTMENT,
    semconv.AGENT_ID,
    semconv.AGENT_NAME,
    semconv.CONVERSATION_ID,
)
# Characters of a value that are kept: ids, not documents.
MAX_VALUE_CHARS = 256


@contextmanager
def attribution(
    *,
    user_id: str | None = None,
    department: str | None = None,
    agent_id: str | None = None,
    agent_name: str | None = None,
    conversation_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Attribute every LLM call made inside the block; what is None is inherited from outside.

    Values are cut at 256 characters. Carried to tasks and threads that take over the
    OpenTelemetry context, and to other services through W3C baggage; never to an LLM provider.
    """
    wanted = {
        semconv.USER_ID: user_id,
        semconv.DEPARTMENT: department,
        semconv.AGENT_ID: agent_id,
        semconv.AGENT_NAME: agent_name,
        semconv.CONVERSATION_ID: conversation_id,
        **{semconv.TAG_PREFIX + key: value for key, value in (tags or {}).items()},
    }
    new = {key: str(value)[:MAX_VALUE_CHARS] for key, value in wanted.items() if value is not None}
    scope = context.get_current()
    scope = context.set_value(_KEY, {**_in_process(scope), **new}, scope)
    for key in BAGGAGE_KEYS:
        if key in new:
            scope = baggage.set_baggage(key, new[key], scope)
    token = context.attach(scope)
    try:
        yield
    finally:
        context.detach(token)


def attributes_in_force(scope: context.Context) -> dict[str, str]:
    """Return the attribution in force as span attributes; this process's goes before baggage."""
    attributes: dict[str, str] = {}
    carried = baggage.get_all(scope)
    if carried:
        for key in BAGGAGE_KEYS:
            value = carried.get(key)
            if isinstance(value, str):
                attributes[key] = value[:MAX_VALUE_CHARS]
    attributes.update(_in_process(scope))
    return attributes


def without_baggage(scope: context.Context) -> context.Context:
    """Return the context without our baggage: a provider must not learn who the user is."""
    for key in baggage.get_all(scope):
        if key in BAGGAGE_KEYS:
            scope = baggage.remove_baggage(key, scope)
    return scope


def _in_process(scope: context.Context) -> Mapping[str, str]:
    return cast("Mapping[str, str]", scope.get(_KEY, _NOBODY))
