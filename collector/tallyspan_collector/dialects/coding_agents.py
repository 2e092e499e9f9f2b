"""Coding agents: a log record is a call (Claude Code, Codex CLI, Gemini CLI).

Spans of Claude Code and Codex tell of the same calls, for those who export traces alone; Gemini
CLI's have no usage. Metrics repeat it all and are left alone. Sources: Claude Code, "Monitoring
usage"; openai/codex codex-rs/otel; google-gemini/gemini-cli packages/core/src/telemetry.
"""

from dataclasses import replace

from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Attributes, Basis, Dialect
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span

_WHO = {
    "user_id": ("user.email", "user.account_uuid", "user.account_id", "user.id",
                "installation.id"),
    "department": ("tallyspan.department", "department", "team.id", "cost_center"),
    "conversation_id": ("session.id", "conversation.id", "gen_ai.conversation.id"),
    "request_model": ("model",),
}  # fmt: skip
_PAID_BY_KEY = frozenset({"apikey", "api_key", "api-key", "gemini-api-key", "vertex-ai",
                          "cloud-shell-key"})  # fmt: skip


def _claude(call: Call, said: Attributes) -> None:
    call.provider_name = call.provider_name or "anthropic"
    call.service_tier = "" if call.service_tier == "normal" else call.service_tier
    _settle(call, said)


def _codex(call: Call, said: Attributes) -> None:
    call.provider_name = "openai"
    _settle(call, said)


def _gemini(call: Call, said: Attributes) -> None:
    call.agent_name = "" if call.agent_name == "main" else call.agent_name
    vertex = str(said.get("auth_type", "")).lower() == "vertex-ai"
    call.provider_name = "gcp.vertex_ai" if vertex else "gcp.gemini"
    _settle(call, said)


def _settle(call: Call, said: Attributes) -> None:
    """Note who pays; the provider is the agent's own, nothing had to be concluded."""
    call.is_notional = _is_subscription(said)
    call.quality_flags = ()


def _is_subscription(said: Attributes) -> bool:
    """Whether a plan pays: signed in with an account rather than a key, where the agent says so."""
    for key in ("auth_mode", "auth_type", "auth.mode", "auth_method"):
        mode = str(said.get(key, "")).lower()
        if mode:
            return mode not in _PAID_BY_KEY
    return bool(said.get("subscription.type") or said.get("user.subscription_type"))


CLAUDE_CODE = extend(
    name="claude_code",
    operation=("event.name",),
    calls={"api_request": "chat", "claude_code.api_request": "chat"},
    texts={**_WHO, "response_id": ("request_id",), "agent_name": ("agent.name",),
           "agent_id": ("agent_id",), "service_tier": ("speed",)},
    tokens={
        "input_tokens": ("input_tokens",),
        "output_tokens": ("output_tokens",),
        "cache_read_tokens": ("cache_read_tokens",),
        "cache_write_tokens": ("cache_creation_tokens",),
    },
    claimed_cost=("cost_usd",),
    basis={"": Basis.EXCLUSIVE},
    refine=_claude,
    trust=4,
)  # fmt: skip

CODEX = extend(
    name="codex_cli",
    operation=("event.kind",),
    calls={"response.completed": "chat"},
    texts={**_WHO, "agent_name": ("originator",), "service_tier": ("service_tier",)},
    tokens={
        "input_tokens": ("input_token_count",),
        "output_tokens": ("output_token_count",),
        "cache_read_tokens": ("cached_token_count",),
        "cache_write_tokens": ("cache_write_token_count",),
        "reasoning_tokens": ("reasoning_token_count",),
    },
    total=("tool_token_count",),
    refine=_codex,
    trust=4,
)  # fmt: skip

GEMINI = extend(
    name="gemini_cli",
    operation=("event.name",),
    calls={"gemini_cli.api_response": "generate_content"},
    texts={**_WHO, "agent_name": ("role",)},
    tokens={
        "input_tokens": ("input_token_count",),
        "output_tokens": ("output_token_count",),
        "cache_read_tokens": ("cached_content_token_count",),
        "reasoning_tokens": ("thoughts_token_count",),
    },
    total=("total_token_count",),
    added={"input_tokens": ("tool_token_count",)},  # what tools put into the prompt
    is_reasoning_outside=True,
    refine=_gemini,
    trust=4,
)

EVENTS = {
    "api_request": CLAUDE_CODE,
    "claude_code.api_request": CLAUDE_CODE,
    "codex.sse_event": CODEX,
    "gemini_cli.api_response": GEMINI,
}
"""event.name (or the body) of the records that may be calls."""

_TIMED = frozenset({CLAUDE_CODE.name, GEMINI.name})
"""Whose duration_ms is the call's; Codex means the time it waited for that event of the stream."""

_RESOURCE_SAYS = (
    "tallyspan.department", "department", "team.id", "cost_center", "user.email", "user.id",
    "enduser.id", "subscription.type",
)  # fmt: skip


def agent_of(name: str, said: Attributes) -> Dialect | None:
    """Return how to read a log record, by its `event.name` or what its record is called."""
    event = said.get("event.name")
    return EVENTS.get(event if isinstance(event, str) else "") or EVENTS.get(name)


def is_call_record(name: str, said: Attributes) -> bool:
    """Whether a log record is a call; agents log much more than that."""
    dialect = agent_of(name, said)
    if dialect is None:
        return False
    kinds = [str(said[key]) for key in dialect.operation if key in said]
    if kinds and kinds[0] not in dialect.calls:
        return False
    # Codex logs the end of a stream twice: as an event like any other, and with the counts
    return dialect is not CODEX or any(names[0] in said for names in CODEX.tokens.values())


def as_span(record: Span, dialect: Dialect) -> Span:
    """Return the record from the call's start to its end, with what its resource says of who pays.

    A record is written when the call is over. OTEL_RESOURCE_ATTRIBUTES is where people put their
    department.
    """
    resource = record.resource
    more = {key: resource[key] for key in _RESOURCE_SAYS if key in resource}
    said = {**more, **record.attributes} if more else record.attributes
    lasted = values.tokens(said.get("duration_ms")) if dialect.name in _TIMED else None
    start = record.end_time_ns - min(max(lasted or 0, 0) * 1_000_000, record.end_time_ns)
    return replace(record, attributes=said, start_time_ns=start)


def _codex_span(call: Call, said: Attributes) -> None:
    # its thread of execution has the name of its thread of conversation
    call.conversation_id = "" if call.conversation_id.isdigit() else call.conversation_id
    _codex(call, said)


CLAUDE_CODE_CALLS = replace(
    CLAUDE_CODE,
    name="claude_code_spans",
    scopes=("com.anthropic.claude_code*",),
    needs=("input_tokens", "output_tokens"),
    operation=("span.type",),
    calls={"llm_request": "chat"},
    wrappers=frozenset({"interaction", "tool", "hook"}),
    texts={**CLAUDE_CODE.texts, "response_id": ("request_id", "gen_ai.response.id")},
    trust=10,
)
"""A request that had an answer; run with 2.1.197, beta tracing."""

CODEX_SPANS = extend(
    name="codex_cli_spans",
    scopes=("codex*",),
    services=("codex_cli_rs", "codex_exec", "codex-cli"),
    operation=("tallyspan.no_operation",),
    span_names={"handle_responses": "chat", "session_task.turn": "task"},
    texts={"request_model": ("model",), "conversation_id": ("conversation.id", "thread.id")},
    tokens={"reasoning_tokens": ("codex.usage.reasoning_output_tokens",)},
    total=("codex.usage.total_tokens",),
    refine=_codex_span,
    trust=10,
)
"""An answer says its usage, and the turn around it which model; run with 0.169.0."""

OTHER_SPANS = extend(
    name="coding_agent_spans",
    scopes=("com.anthropic.claude_code*", "gemini-cli*"),
    services=("claude-code", "gemini-cli"),
    span_names={"*": "task"},
    operation=("tallyspan.no_operation",),
)
"""What else they trace, and Gemini CLI's calls, which their logs alone say the usage of."""

IN_LOGS_AND_SPANS = {
    CLAUDE_CODE.name: "claude_code", CLAUDE_CODE_CALLS.name: "claude_code",
    CODEX.name: "codex", CODEX_SPANS.name: "codex",
}  # fmt: skip
"""Dialect -> the agent whose calls it tells of: logs and spans, in traces of their own."""
