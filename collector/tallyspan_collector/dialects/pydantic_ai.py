"""pydantic-ai and Logfire. Agent spans repeat the usage of their calls in versions before 2.

Source: pydantic/pydantic-ai, models/instrumented.py; pydantic/logfire, _internal/integrations.
"""

from dataclasses import replace

from tallyspan_collector.dialects.otel_genai import extend

_RAW = "gen_ai.usage.raw#"
_IN_RAW = {
    "cache_write_1h_tokens": ("cache_creation.ephemeral_1h_input_tokens",),
    "reasoning_tokens": ("completion_tokens_details.reasoning_tokens",
                         "output_tokens_details.reasoning_tokens",
                         "output_tokens_details.thinking_tokens"),
    "input_audio_tokens": ("prompt_tokens_details.audio_tokens",),
    "output_audio_tokens": ("completion_tokens_details.audio_tokens",),
}  # fmt: skip
_AGAIN = "the count has an attribute of its own, or is the rest of counts that have"
_AGAIN_IN_RAW = (
    "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens",
    "*cached_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
    "cache_creation.ephemeral_5m_input_tokens",
)  # fmt: skip

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
    tokens={
        **DIALECT.tokens,
        **{
            name: (*DIALECT.tokens.get(name, ()), *(f"{_RAW}{place}" for place in places))
            for name, places in _IN_RAW.items()
        },
    },
    harmless={**DIALECT.harmless, **{f"{_RAW}{place}": _AGAIN for place in _AGAIN_IN_RAW}},
)
"""Logfire's own instrumentation of SDKs. What failed has a level.

The answer's usage as it is stands in one attribute; counts that have none of their own are read
there. Source: pydantic/logfire, llm_providers/usage.py (5.4.0).
"""

LOGFIRE_STREAM = replace(
    LOGFIRE,
    name="logfire_stream",
    needs=("gen_ai.request.model",),
    operation=(),
    span_names={"*": "task"},
)
"""The request of a stream ends before its answer: a second span, beside it, tells of the call."""
