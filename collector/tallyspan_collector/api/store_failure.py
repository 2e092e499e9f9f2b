"""The sentence a reader gets when the store does not answer."""

from clickhouse_connect.driver.exceptions import Error

from tallyspan_collector.summary import MAX_SECONDS

TIMEOUT_EXCEEDED, TOO_SLOW_CODE, MEMORY_LIMIT_EXCEEDED = 159, 160, 241
TOO_SLOW = (
    f"the store did not finish within {MAX_SECONDS} seconds; ask for a shorter time range"
    " (start_date, end_date) or fewer groups"
)
TOO_MUCH = dict.fromkeys((TIMEOUT_EXCEEDED, TOO_SLOW_CODE), TOO_SLOW) | {
    MEMORY_LIMIT_EXCEEDED: "the answer takes more memory than the store has for it; ask for a"
    " shorter time range (start_date, end_date) or fewer groups"
}
UNAVAILABLE = "the store cannot be read at the moment; try again, and see /readyz for the reason"


def code_of(error: Exception) -> int | None:
    """Return ClickHouse's code of the error, None for one that has none."""
    return error.code if isinstance(error, Error) else None


def sentence_of(error: Exception) -> str:
    """Return a sentence that tells the reader what to do."""
    return TOO_MUCH.get(code_of(error) or 0, UNAVAILABLE)
