"""Why a call is on one side only, or has other tokens or another cost there."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from tallyspan_collector.librechat.join import Recorded
from tallyspan_collector.librechat.pairs import Pair
from tallyspan_collector.librechat.transactions import IMAGES, INCOMPLETE
from tallyspan_collector.librechat.turns import ASSISTANTS, Turn

DEFAULT_RATE = Decimal(6)
"""What LibreChat charges for a million tokens of a model that its table does not have, in USD."""
ABORT = "AbortError"


class Reason(StrEnum):
    """What explains a difference."""

    # Both sides have the call.
    EQUAL = "equal"
    CACHE_IGNORED = "cache_ignored"
    CACHE_TWICE = "cache_twice"
    DEFAULT = "default_rate"
    INCOMPLETE = "incomplete"
    UNPRICED = "unpriced"
    PRICE = "price"
    USAGE_OFF = "usage_off"
    ESTIMATED = "estimated_usage"
    PHANTOM = "phantom"
    # Only LibreChat has it.
    IMPORTED = "imported"
    ASSISTANTS = "assistants"
    IMAGES = "images"
    SAMPLED_OUT = "sampled_out"
    NO_SPAN = "no_span"
    # Only we have it.
    MEMORY = "memory"
    ABORTED = "aborted"
    FAILED = "failed"
    TRANSACTIONS_OFF = "transactions_off"
    USER_DELETED = "user_deleted"
    # Nothing of the above: look into it.
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known of LibreChat's ledger as a whole.

    `has_documents`: of the day. `users`: those it has; None: they were not read.
    """

    has_documents: bool
    users: frozenset[str] | None = None


def of_both(pair: Pair, call: Recorded) -> Reason:
    """Return why a call that both sides have is not the same on both."""
    row = call.row
    theirs = (pair.prompt.tokens, pair.answer.tokens)
    if call.tokens != theirs:
        return _of_tokens(pair, call)
    cost = row["cost_usd"]
    if cost is not None and Decimal(pair.value_picousd or 0).scaleb(-12) == cost:
        return Reason.EQUAL
    if INCOMPLETE in {pair.prompt.context, pair.answer.context}:
        return Reason.INCOMPLETE
    if {pair.prompt.rate, pair.answer.rate} == {DEFAULT_RATE}:
        return Reason.DEFAULT
    if pair.prompt.cache_read_tokens is None and _cached(call):
        return Reason.CACHE_IGNORED
    return Reason.UNPRICED if cost is None else Reason.PRICE


def _of_tokens(pair: Pair, call: Recorded) -> Reason:
    row = call.row
    if pair.kind == IMAGES:
        return Reason.IMAGES
    if None in call.tokens:
        return Reason.PHANTOM if row["status"] == "error" else Reason.USAGE_OFF
    if row["usage_source"] == "estimated":
        return Reason.ESTIMATED
    if INCOMPLETE in {pair.prompt.context, pair.answer.context}:
        return Reason.INCOMPLETE
    if pair.answer.tokens == row["output_tokens"]:
        if pair.prompt.tokens == row["input_tokens"] - _cached(call):
            return Reason.CACHE_IGNORED
        if pair.prompt.tokens - pair.prompt.cached_tokens == row["input_tokens"]:
            return Reason.CACHE_TWICE
    return Reason.UNEXPLAINED


def of_theirs(pair: Pair, turn: Turn) -> Reason:
    """Return why a call is in LibreChat's ledger and not in ours."""
    if pair.kind == IMAGES:
        return Reason.IMAGES
    if turn.endpoint in ASSISTANTS:
        return Reason.ASSISTANTS
    if turn.is_phantom:
        return Reason.PHANTOM
    return Reason.SAMPLED_OUT if turn.is_sampled_out else Reason.NO_SPAN


def of_ours(call: Recorded, ledger: Ledger) -> Reason:
    """Return why a call is in our ledger and not in LibreChat's."""
    row = call.row
    if call.kind == "memory":
        return Reason.MEMORY
    if row["error_type"] == ABORT:
        return Reason.ABORTED
    if row["status"] == "error":
        return Reason.FAILED
    if not ledger.has_documents:
        return Reason.TRANSACTIONS_OFF
    if ledger.users is not None and str(row["user_id"]) not in ledger.users:
        return Reason.USER_DELETED
    return Reason.USAGE_OFF if None in call.tokens else Reason.UNEXPLAINED


def _cached(call: Recorded) -> int:
    row: Mapping[str, int | None] = call.row
    return (row["cache_read_tokens"] or 0) + (row["cache_write_tokens"] or 0)
