"""pydantic-ai and Logfire. Agent spans repeat the usage of their calls in versions before 2.

Source: pydantic/pydantic-ai, models/instrumented.py; pydantic/logfire, _internal/integrations.
"""

from dataclasses import replace

from tallyspan_collector.dialects.otel_genai import extend

DIALECT = extend(
    name="pydantic_ai",
    scopes=("pydantic-ai",),
    keys=("logfire.json_schema",),
    span_names={"agent run": "invoke_agent", "invoke_agent*": "invoke_agent", "running*": "tool"},
    texts={
        "agent_name": ("gen_ai.agent.name", "agent_name"),
        # the attribute `model_name` is the agent's, set where no call is
    },
    claimed_cost=("operation.cost",),
    trust=3,
)

LOGFIRE = replace(
    DIALECT,
    name="logfire",
    scopes=("logfire*",),
    keys=(),
    needs=("gen_ai.usage.*", "operation.cost", "logfire.level_num"),
)
"""Logfire's own instrumentation of SDKs. What failed has a level."""

LOGFIRE_STREAM = replace(
    LOGFIRE,
    name="logfire_stream",
    needs=("gen_ai.request.model",),
    operation=(),
    span_names={"*": "task"},
)
"""The request of a stream ends before its answer: a second span, beside it, tells of the call."""
