"""pydantic-ai and Logfire. Agent spans repeat the usage of their calls in versions before 2.

Source: pydantic/pydantic-ai, models/instrumented.py.
"""

from tallyspan_collector.dialects.otel_genai import extend

DIALECT = extend(
    name="pydantic_ai",
    scopes=("pydantic-ai", "logfire*"),
    keys=("logfire.json_schema",),
    span_names={"agent run": "invoke_agent", "invoke_agent*": "invoke_agent", "running*": "tool"},
    texts={
        "agent_name": ("gen_ai.agent.name", "agent_name"),
        # the attribute `model_name` is the agent's, set where no call is
    },
    claimed_cost=("operation.cost",),
    trust=3,
)
