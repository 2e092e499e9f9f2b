"""Call: one billed LLM call as its spans describe it, before it has a price."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from operator import itemgetter
from typing import Any, NamedTuple

from tallyspan.usage import TOKEN_FIELDS, Usage, counts_of


class Flag(StrEnum):
    """A doubt about a call; a call may have several."""

    # No rule names the span a call; it has a model and usage.
    INFERRED = "inferred"
    # The provider was concluded from the model's name.
    PROVIDER_INFERRED = "provider_inferred"
    # A token count that cannot be one (negative, fractional, text) was left out.
    BAD_COUNT = "bad_count"
    # Whether the input includes the cache could not be decided; it was taken as including it.
    INPUT_BASIS_ASSUMED = "input_basis_assumed"
    # Cache or audio are beside the input, or in it, against the emitter's rule: the counts show it.
    INPUT_BASIS_CORRECTED = "input_basis_corrected"
    # Reasoning is beside the output, or in it, against the emitter's rule: the counts show it.
    OUTPUT_BASIS_CORRECTED = "output_basis_corrected"
    # Counts that come on top by the emitter's rule are in input or output already.
    PARTS_REPEATED = "parts_repeated"
    # Only the total has the reasoning; what is missing was added to the output.
    THOUGHTS_FROM_TOTAL = "thoughts_from_total"
    # Only the total has what tools put into the prompt; what is missing was added to the input.
    TOOL_PROMPT_FROM_TOTAL = "tool_prompt_from_total"
    # A count that the emitter clamps at zero, or doubles, was worked out from its total.
    TOTAL_REPAIRED = "total_repaired"
    # Nothing, or more than one thing, explains the total that the emitter reports: not priced.
    TOTAL_MISMATCH = "total_mismatch"
    # A part is larger than its whole; more cache than input is not priced.
    CONTRADICTORY = "contradictory"
    # Several emitters, or several keys, reported the call with different counts.
    REPORTS_DISAGREE = "reports_disagree"
    # A remote agent's total, charged because no call of that agent was reported.
    REMOTE_AGENT = "remote_agent"
    # The call is more than 400 days old, or its time is impossible and the time of receipt is used.
    CLOCK_OFF = "clock_off"
    # The usage has a key that no rule reads: what it is billed by may be missing in the cost.
    UNREAD_USAGE = "unread_usage"
    # The sum of a batch, or what is left of it: priced as so many calls of the average length.
    BATCH_SUM = "batch_sum"


ABORTED = "AbortError"
"""The type of the error of a call that its application gave up; the provider bills it."""
MAX_UNREAD = 16
"""Places of unread usage that are kept of a call."""
_NO_TABLE: Mapping[str, Any] = {}


class Call(NamedTuple):
    """One call. Times: UTC nanoseconds since 1970; empty text: the spans do not say.

    It is made once (`read/received.py`) and never changed; a merge of several reports is a new one.
    A named tuple, because a frozen dataclass sets its fields one by one, and that is slow for 42.

    `meters` is what was used in meters that are no field of `Usage` (web_search, seconds, ...),
    `conditions` what the price depends on beside model and tier (geo, region, ...). `part` names
    the kind of a model call inside another's answer, or what of a batch the call is (batch_item,
    batch_total: the sum of a batch of which no result was read, batch_rest: what its results leave
    of that sum); `same_call_id` (`<trace id>-<span id>`) is
    another span of this very call. `usage_source` is provider, estimated, unknown, or deferred: a
    background answer whose usage another span will report. `error_type` is an HTTP status or an
    exception's name; `http_status` is 0 when unknown.
    `reported_cost_picousd` is what the provider reports as billed, `claimed_cost_picousd` what the
    emitter worked out. `is_notional`: paid by a subscription, not by the call. `is_cache_hit`: a
    gateway answered from its own cache, the provider was not asked. `key_department` is the ingest
    key's department, for calls that name none. `unread` are the places in the usage that no rule
    reads, sorted, at most MAX_UNREAD.
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
    tags: Mapping[str, str] = _NO_TABLE
    is_stream: bool = False
    meters: Mapping[str, float] = _NO_TABLE
    conditions: Mapping[str, str] = _NO_TABLE
    part: str = ""
    same_call_id: str = ""
    is_error: bool = False
    error_type: str = ""
    http_status: int = 0
    finish_reason: str = ""
    usage: Usage = Usage()
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
    unread: tuple[str, ...] = ()

    @property
    def model_name(self) -> str:
        """The model that reports and prices go by."""
        return self.response_model or self.request_model


FIELDS = Call._fields
BLANK: dict[str, Any] = Call("", "", "", 0, 0, "", "", "")._asdict()
"""Field of `Call` -> its value in a call of which nothing is known."""
_in_order = itemgetter(*FIELDS)

Draft = dict[str, Any]
"""Field of `Call` -> its value, while a span is being read."""
Columns = dict[str, Sequence[Any]]
"""Field of `Call` -> the values of several calls; in place of `usage` the counts in it."""


def call_of(draft: Draft) -> Call:
    """Return the call with these values of all its fields.

    Raises `KeyError` for a field that has none, `TypeError` for a name that is no field.
    """
    call = Call._make(_in_order(draft))
    if len(draft) != len(FIELDS):
        raise TypeError(f"no fields of Call: {sorted(draft.keys() - set(FIELDS))}")
    return call


def columns_of(calls: Sequence[Call]) -> Columns:
    """Return the values of calls, field by field, in the order of the calls."""
    columns: Columns = dict(zip(FIELDS, zip(*calls, strict=True), strict=True))
    counts = zip(*map(counts_of, columns.pop("usage")), strict=True)
    return columns | dict(zip(TOKEN_FIELDS, counts, strict=True))
