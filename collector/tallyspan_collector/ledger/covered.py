"""Which calls a commitment of the price file pays for: they are used, and not billed one by one."""

from collections.abc import Mapping, Sequence

from tallyspan.conditions import COMMITMENT
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.match import Kind
from tallyspan_collector.read.call import Call


def covered(calls: Sequence[Call], book: PriceBook) -> Sequence[Call]:
    """Return the calls; those that provisioned throughput pays for are notional and name it.

    What a sender says of it counts for nothing: the price file decides. A call that its sender
    reports as on a subscription stays that.
    """
    if not book.file.commitments and not any(COMMITMENT.name in call.conditions for call in calls):
        return calls
    return [_covered(call, book) for call in calls]


def _covered(call: Call, book: PriceBook) -> Call:
    conditions = without_commitment(call.conditions)
    name = ""
    if not call.is_notional:
        kind = Kind.of(
            call.provider_name, call.endpoint_id, call.model_name, call.service_tier, conditions
        )
        name = book.commitment(kind, call.start_time_ns)
    if name:
        conditions = {**conditions, COMMITMENT.name: name}
    if conditions == call.conditions:
        return call
    return call._replace(conditions=conditions, is_notional=call.is_notional or bool(name))


def without_commitment(conditions: Mapping[str, str]) -> dict[str, str]:
    """Return the conditions without the commitment that pays."""
    return {name: value for name, value in conditions.items() if name != COMMITMENT.name}
