"""Coding agents: a log record is a call (Claude Code, Codex CLI, Gemini CLI, Qwen Code).

Spans of Claude Code and Codex report the same calls, for those who export traces alone; Gemini
CLI's have no usage. Metrics repeat it all and are not read. Sources: Claude Code, "Monitoring
usage"; openai/codex codex-rs/otel; google-gemini/gemini-cli packages/core/src/telemetry. All were
run.
"""

from dataclasses import replace

from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Attributes, Basis, Dialect
from tallyspan_collector.read.call import Draft, Flag
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


def _claude(draft: Draft, attributes: Attributes) -> None:
    draft["provider_name"] = draft["provider_name"] or "anthropic"
    if draft["service_tier"] == "normal":
        draft["service_tier"] = ""
    _settle(draft, attributes)


def _codex(draft: Draft, attributes: Attributes) -> None:
    draft["provider_name"] = "openai"
    _settle(draft, attributes)


def _gemini(draft: Draft, attributes: Attributes) -> None:
    if draft["agent_name"] == "main":
        draft["agent_name"] = ""
    is_vertex = str(attributes.get("auth_type", "")).lower() == "vertex-ai"
    draft["provider_name"] = "gcp.vertex_ai" if is_vertex else "gcp.gemini"
    _settle(draft, attributes)


def _settle(draft: Draft, attributes: Attributes) -> None:
    """Note who pays; the provider is the agent's own, it had not to be concluded."""
    draft["is_notional"] = _is_subscription(attributes)
    flags: tuple[str, ...] = draft["quality_flags"]
    draft["quality_flags"] = tuple(each for each in flags if each != Flag.PROVIDER_INFERRED)


def _is_subscription(attributes: Attributes) -> bool:
    """Whether a plan pays: signed in with an account and not a key, as far as the agent tells."""
    for key in ("auth_mode", "auth_type", "auth.mode", "auth_method"):
        mode = str(attributes.get(key, "")).lower()
        if mode:
            return mode not in _PAID_BY_KEY
    return bool(attributes.get("subscription.type") or attributes.get("user.subscription_type"))


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
    usage=("*_tokens",),
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
    usage=("*_token_count",),
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
    usage=("*_token_count",),
    reasoning_outside=frozenset({""}),
    refine=_gemini,
    trust=4,
)


def _qwen(draft: Draft, attributes: Attributes) -> None:
    """Note who pays: it says how it is signed in, and not at which provider with a key."""
    draft["is_notional"] = str(attributes.get("auth_type", "")).lower() == "qwen-oauth"


QWEN = replace(
    GEMINI,
    name="qwen_code",
    calls={"qwen-code.api_response": "chat"},
    texts={**GEMINI.texts, "agent_name": ("subagent_name",)},
    reasoning_outside=frozenset(),
    refine=_qwen,
)
"""Made of Gemini CLI; it asks any provider, and passes on what an API like OpenAI's counts."""

EVENTS = {
    "api_request": CLAUDE_CODE,
    "claude_code.api_request": CLAUDE_CODE,
    "codex.sse_event": CODEX,
    "gemini_cli.api_response": GEMINI,
    "qwen-code.api_response": QWEN,
}
"""event.name (or the body) of the records that may be calls."""

_TIMED = frozenset({CLAUDE_CODE.name, GEMINI.name, QWEN.name})
"""Whose duration_ms is the call's; Codex means the time it waited for that event of the stream."""

_OWNER_KEYS = (
    "tallyspan.department", "department", "team.id", "cost_center", "user.email", "user.id",
    "enduser.id", "subscription.type",
)  # fmt: skip


def agent_of(name: str, attributes: Attributes) -> Dialect | None:
    """Return how to read a log record, by its `event.name` or the record's own name."""
    event = attributes.get("event.name")
    return EVENTS.get(event if isinstance(event, str) else "") or EVENTS.get(name)


def is_call_record(name: str, attributes: Attributes) -> bool:
    """Whether a log record is a call; agents log much more than that."""
    dialect = agent_of(name, attributes)
    if dialect is None:
        return False
    kinds = [str(attributes[key]) for key in dialect.operation if key in attributes]
    if kinds and kinds[0] not in dialect.calls:
        return False
    # Codex logs the end of a stream twice: as an event like any other, and with the counts
    return dialect is not CODEX or any(names[0] in attributes for names in CODEX.tokens.values())


def as_span(record: Span, dialect: Dialect) -> Span:
    """Return the record from the call's start to its end, with its resource's attributes of owners.

    A record is written when the call is over. OTEL_RESOURCE_ATTRIBUTES is where people put their
    department.
    """
    resource = record.resource
    owner = {key: resource[key] for key in _OWNER_KEYS if key in resource}
    attributes = {**owner, **record.attributes} if owner else record.attributes
    lasted = values.tokens(attributes.get("duration_ms")) if dialect.name in _TIMED else None
    start = record.end_time_ns - min(max(lasted or 0, 0) * 1_000_000, record.end_time_ns)
    return replace(record, attributes=attributes, start_time_ns=start)


def _codex_span(draft: Draft, attributes: Attributes) -> None:
    # `thread.id` also names its thread of execution, by a number
    if draft["conversation_id"].isdigit():
        draft["conversation_id"] = ""
    _codex(draft, attributes)


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
    usage=("codex.usage.*",),
    refine=_codex_span,
    trust=10,
)
"""A span of an answer has its usage, the turn around it the model; run with 0.169.0."""

OTHER_SPANS = extend(
    name="coding_agent_spans",
    scopes=("com.anthropic.claude_code*", "gemini-cli*"),
    services=("claude-code", "gemini-cli"),
    span_names={"*": "task"},
    operation=("tallyspan.no_operation",),
)
"""What else they trace, and Gemini CLI's calls, whose usage is in their logs alone."""

IN_LOGS_AND_SPANS = {
    CLAUDE_CODE.name: "claude_code", CLAUDE_CODE_CALLS.name: "claude_code",
    CODEX.name: "codex", CODEX_SPANS.name: "codex",
}  # fmt: skip
"""Dialect -> the agent whose calls it reports: logs and spans, in traces of their own."""
