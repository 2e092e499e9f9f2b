"""The one step from what a span says of a call to the `Call`: its time, its trace, its source."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from tallyspan_collector.access.keys import Key
from tallyspan_collector.read.call import Call, Draft, Flag, call_of

NS_PER_MS = 1_000_000
_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
AHEAD_NS = 3_600 * _SECOND_NS
"""A call cannot have ended so long after it was received."""
BEHIND_NS = 400 * _DAY_NS
"""An older call is doubtful: by default the ledger keeps entries for so long."""
FIRST_CALL_NS = 1_577_836_800 * _SECOND_NS
"""2020-01-01: before it nobody billed an LLM call."""

TAG = "said_start_time"
"""The tag that keeps an impossible start time, to the second."""
_CALL_ID = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Receipt:
    """When a request was received (milliseconds since 1970), and with which ingest key.

    None: without a key, or with one that the store does not have.
    """

    received_ms: int
    key: Key | None = None


def as_received(draft: Draft, receipt: Receipt | None = None) -> Call:
    """Return the call of a draft with all fields; the draft is used up.

    The receipt decides source, tenant and the key's department, and whether the clock can be right;
    without a receipt they stay as the span has them.
    """
    if receipt is not None:
        _check_clock(draft, receipt.received_ms * NS_PER_MS)
        if receipt.key is not None:
            draft["source"] = receipt.key.source
            draft["tenant"] = receipt.key.tenant
            draft["key_department"] = receipt.key.department
    # A background answer is retrieved in a trace of its own and names the call's span. It goes into
    # that span's trace, because traces are resolved one by one.
    if draft["same_call_id"] and _CALL_ID.fullmatch(draft["same_call_id"]):
        draft["trace_id"] = draft["same_call_id"][:32]
    return call_of(draft)


def _check_clock(draft: Draft, received_ns: int) -> None:
    """Flag a call whose clock is far off; one with an impossible time gets the time of receipt.

    It keeps its duration, up to a day, and its own start time as a tag. So it stays where people
    look for it, and has a price: with a time in 1970 the ledger's retention would delete it, and
    for the year 2500 there are no prices.
    """
    start_ns, end_ns = draft["start_time_ns"], draft["end_time_ns"]
    if start_ns < FIRST_CALL_NS or end_ns > received_ns + AHEAD_NS:
        start = datetime.fromtimestamp(start_ns // _SECOND_NS, UTC)
        draft["tags"] = {**draft["tags"], TAG: start.isoformat()}
        draft["start_time_ns"] = received_ns - min(end_ns - start_ns, _DAY_NS)
        draft["end_time_ns"] = received_ns
    elif start_ns >= received_ns - BEHIND_NS:
        return
    draft["quality_flags"] = (*draft["quality_flags"], Flag.CLOCK_OFF)
