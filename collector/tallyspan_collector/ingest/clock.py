"""What a call says of its time, beside when it was received: clocks can be wrong."""

from datetime import UTC, datetime

from tallyspan_collector.read.call import Call, Flag

_NS_PER_MS = 1_000_000
_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
AHEAD_NS = 3_600 * _SECOND_NS
"""A call that ended so long after it was received did not."""
BEHIND_NS = 400 * _DAY_NS
"""A call so old is a doubtful one: entries are kept for so long, unless told otherwise."""
FIRST_CALL_NS = 1_577_836_800 * _SECOND_NS
"""2020-01-01: before it nobody billed an LLM call."""

TAG = "said_start_time"
"""What the call said, to the second."""


def check_clock(call: Call, received_ms: int) -> None:
    """Flag a call whose clock is far off; one from a time that cannot be gets the time of receipt.

    It keeps its duration, up to a day, and what it said as a tag. So it stays where it is looked
    for, and has a price: with 1970 the ledger's retention would delete it, and prices of the year
    2500 nobody knows.
    """
    received = received_ms * _NS_PER_MS
    if call.start_time_ns < FIRST_CALL_NS or call.end_time_ns > received + AHEAD_NS:
        said = datetime.fromtimestamp(call.start_time_ns // _SECOND_NS, UTC)
        call.tags = {**call.tags, TAG: said.isoformat()}
        took = min(call.end_time_ns - call.start_time_ns, _DAY_NS)
        call.start_time_ns, call.end_time_ns = received - took, received
    elif call.start_time_ns >= received - BEHIND_NS:
        return
    call.quality_flags = (*call.quality_flags, Flag.CLOCK_OFF)
