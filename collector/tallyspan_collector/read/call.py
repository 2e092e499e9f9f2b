"""Call: one billed LLM call as the spans said it, before it has a price."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any

from tallyspan.usage import TOKEN_FIELDS, Usage, counts_of


class Flag(StrEnum):
    """What is not beyond doubt about a call; several may hold."""

    INFERRED = "inferred"
    """No rule says it is a call: it has a model and usage."""
    PROVIDER_INFERRED = "provider_inferred"
    """The provider was concluded from the model's name."""
    BAD_COUNT = "bad_count"
    """A token count that cannot be one (negative, fractional, text) was left out."""
    INPUT_BASIS_ASSUMED = "input_basis_assumed"
    """Whether the input includes the cache could not be decided; it was taken to."""
    INPUT_BASIS_CORRECTED = "input_basis_corrected"
    """The counts contradict what is known of the emitter; the counts were believed."""
    TOTAL_MISMATCH = "total_mismatch"
    """Input and output do not add up to the total the emitter states."""
    TOTAL_REPAIRED = "total_repaired"
    """A count the emitter is known to state wrongly was concluded from its total."""
    CONTRADICTORY = "contradictory"
    """A part is larger than its whole; more cache than input is not priced."""
    REPORTS_DISAGREE = "reports_disagree"
    """Several emitters reported the call with different counts."""
    REMOTE_AGENT = "remote_agent"
    """A remote agent's total, charged because no call of it was reported."""
    CLOCK_OFF = "clock_off"
    """Its time is more than 400 days past; or cannot be, and the time of receipt was taken."""


@dataclass(slots=True)
class Call:
    """What is known of a call. Times: UTC nanoseconds since 1970; empty text: nobody said.

    `units` are what is billed beside tokens (web_search, seconds, ...). `part` names the kind of a
    model call inside another's answer; `same_call_id` (`<trace id>-<span id>`) another span of this
    very call. `usage_source` is provider, estimated, unknown, or deferred: a background answer that
    another span will say the usage of. `error_type` is an HTTP status or an exception's name;
    `http_status` 0 when unknown.
    `reported_cost_picousd` is what the provider says it billed, `claimed_cost_picousd` what the
    emitter worked out. `is_notional`: paid by a subscription, not by the call. `is_cache_hit`: a
    gateway answered from its own cache, the provider was not asked. `key_department`: what the
    ingest key says of calls that name no department.
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
    dialect: str = ""
    quality_flags: tuple[str, ...] = ()
    claimed_cost_picousd: int | None = None
    is_notional: bool = False
    is_cache_hit: bool = False
    key_department: str = ""

    @property
    def model_name(self) -> str:
        """The model that reports and prices go by."""
        return self.response_model or self.request_model


FIELDS = tuple(each.name for each in fields(Call))
values_of = attrgetter(*FIELDS)
"""Returns what a call says, in the order of `FIELDS`."""

Columns = dict[str, Sequence[Any]]
"""Field of `Call` -> the values of several; in place of `usage` the counts in it."""


def columns_of(calls: Sequence[Call]) -> Columns:
    """Return what calls say, field by field, in their order."""
    said: Columns = dict(zip(FIELDS, zip(*map(values_of, calls), strict=True), strict=True))
    counts = zip(*map(counts_of, said.pop("usage")), strict=True)
    return said | dict(zip(TOKEN_FIELDS, counts, strict=True))
