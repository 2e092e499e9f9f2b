"""Call: one billed LLM call as the spans said it, before it has a price."""

from dataclasses import dataclass, field

from tallyspan.usage import Usage

CALL_OPERATIONS = frozenset(
    {"chat", "generate_content", "text_completion", "embeddings", "rerank", "moderation"}
)


@dataclass(slots=True)
class Call:
    """What is known of a call. Times: UTC nanoseconds since 1970; empty text: nobody said.

    `units` are what is billed beside tokens (web_search, seconds, ...). `part` names the kind of a
    model call inside another's answer; `same_call_id` (`<trace id>-<span id>`) another span of this
    very call. `usage_source` is provider, estimated, unknown, or deferred: a background answer that
    another span will say the usage of. `error_type` is an HTTP status or an exception's name;
    `http_status` 0 when unknown.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    start_time_ns: int
    end_time_ns: int
    provider_name: str
    operation_name: str
    request_model: str
    response_model: str = ""
    endpoint_id: str = ""
    server_address: str = ""
    service_name: str = ""
    service_tier: str = ""
    user_id: str = ""
    department: str = ""
    agent_id: str = ""
    agent_name: str = ""
    conversation_id: str = ""
    tenant: str = ""
    source: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    is_stream: bool = False
    units: dict[str, float] = field(default_factory=dict)
    part: str = ""
    same_call_id: str = ""
    is_error: bool = False
    error_type: str = ""
    http_status: int = 0
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    usage_source: str = "unknown"
    reported_cost_picousd: int | None = None
    time_to_first_chunk_us: int | None = None
    response_id: str = ""
    scope_name: str = ""

    @property
    def model_name(self) -> str:
        """The model that reports and prices go by."""
        return self.response_model or self.request_model
