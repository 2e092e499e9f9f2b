"""What a booked call would cost as something else, from its own meters; or why nobody can tell."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan.meters import BY_NAME as METERS
from tallyspan.tokenizer import own_encoding_name
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_clickhouse.moments import microseconds
from tallyspan_collector.booked.ledger import Row
from tallyspan_collector.pricing.alternative import Alternative
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import MAX_COST_PICOUSD, UNKNOWN_MODEL, Unpriced
from tallyspan_collector.pricing.match import names
from tallyspan_collector.pricing.price import UNPRICED_METER, without_cache
from tallyspan_collector.pricing.timeline import Compiled

REASONS: Mapping[str, str] = {
    "reported": "the provider states the cost, so no price says how it comes about",
    "not_billed": "the provider refused the request",
    "notional": "a subscription or a commitment pays for it",
    "unpriced": "it has no cost to compare with",
    "unknown_usage": "nobody knows its tokens",
    "allowance": "some of it was free; nobody knows what would be",
    "several_providers": "several sell the model, but not this call's: name one, as in groq/MODEL",
    "unpriced_meter": "only one of the two prices has one for this meter",
}
"""Reasons beside those of calls without a price, and flags of a doubtful one."""
_BY_RULE = frozenset({"cache_read", "cache_write", "reasoning", "tool"})
"""Types of tokens that cost what the rest of the prompt or answer costs, if nothing else holds."""
_WITH_OR_WITHOUT = frozenset(
    name
    for name, meter in METERS.items()
    if dict(meter.dimensions).get("token_type") not in _BY_RULE
    and ("allowance", "free") not in meter.dimensions
)
"""Meters that a price either has or does not know."""


class Compared(NamedTuple):
    """What the call would cost. `is_same_tokenizer`: its tokens are what the model counts, too."""

    cost_picousd: int
    price_id: str
    is_same_tokenizer: bool


class Kind(NamedTuple):
    """What a price is looked up by, but for the time."""

    provider: str
    endpoint: str
    model: str
    tier: str
    conditions: Mapping[str, str]


def compare(book: PriceBook, call: Row, alternative: Alternative) -> Compared | str:
    """Return what the call would cost at its own time, or the reason why that is not known."""
    if reason := _own_reason(call):
        return reason
    at_ns = microseconds(call["start_time"]) * 1000
    own = Kind(*(call[name] for name in _KIND))
    other = _kind(book, own, alternative, at_ns)
    if other is None:
        return "several_providers"
    if reason := _not_of_another(own, other, call):
        return reason
    price = _quote(book, other, at_ns)
    if isinstance(price, Unpriced):
        return price.reason.value
    usage, meters = Usage(**{name: call[name] for name in TOKEN_FIELDS}), call["meters"]
    if other != own and (name := _one_sided(_quote(book, own, at_ns), price, usage, meters)):
        return f"{UNPRICED_METER}: {name}"
    if doubts := set(price.flags) - set(call["price_flags"]):
        return min(doubts)
    if alternative.is_without_cache:
        usage, meters = without_cache(usage, meters)
    cost = price.cost(usage, meters)
    if isinstance(cost, Unpriced):
        return cost.reason.value
    if cost.cost_picousd >= MAX_COST_PICOUSD:
        return "inconsistent_usage"
    is_same = is_same_tokenizer(own.model, other.model)
    return Compared(cost.cost_picousd, cost.price_id, is_same)


_KIND = ("provider_name", "endpoint_id", "model_name", "service_tier", "conditions")
COLUMNS = frozenset(
    {*_KIND, *TOKEN_FIELDS, "meters", "cost_usd", "cost_status", "is_notional", "unpriced_reason",
     "price_flags", "start_time"}
)  # fmt: skip
"""What `compare` reads of a call."""


@lru_cache(maxsize=4096)
def is_same_tokenizer(one: str, other: str) -> bool:
    """Whether both models are known to cut text into the same tokens."""
    if _is_same_model(one, other):
        return True
    name = own_encoding_name(one)
    return name is not None and name == own_encoding_name(other)


def _is_same_model(one: str, other: str) -> bool:
    """Whether it is one model, or a snapshot of it."""
    return not {*names(one)}.isdisjoint(names(other))


def _own_reason(call: Row) -> str:
    """Return why there is nothing to compare with; empty: there is a cost of a price."""
    if call["is_notional"]:
        return "notional"
    if call["cost_status"] == "unpriced":
        return "unknown_usage" if call["unpriced_reason"] == "unknown_usage" else "unpriced"
    return "" if call["cost_status"] == "priced" else str(call["cost_status"])


def _kind(book: PriceBook, own: Kind, alternative: Alternative, at_ns: int) -> Kind | None:
    """Return what the call would have been; None: several providers sell the model."""
    if alternative.tier:
        return own._replace(tier=alternative.tier)
    if not alternative.model:
        return own
    here = own._replace(model=alternative.model)
    if alternative.provider in {"", own.provider}:
        is_here = _quote(book, here, at_ns) is not UNKNOWN_MODEL
        if is_here or alternative.provider or not alternative.sellers:
            return here
        if len(alternative.sellers) > 1:
            return None
    provider = alternative.provider or alternative.sellers[0]
    # Another provider's endpoint, region and deployment would be another's as well.
    return Kind(provider, "", alternative.model, own.tier, {})


def _not_of_another(own: Kind, other: Kind, call: Row) -> str:
    """Return what is of this very call, so that with another model nobody knows it."""
    if own.provider == other.provider and _is_same_model(own.model, other.model):
        return ""
    if any(amount and _is_free(name) for name, amount in call["meters"].items()):
        return "allowance"
    for name, value in own.conditions.items():
        condition = CONDITIONS.get(name)
        if condition and condition.is_of_answer and value not in condition.standard:
            return name
    return ""


def _is_free(name: str) -> bool:
    meter = METERS.get(name)
    return meter is not None and ("allowance", "free") in meter.dimensions


def _one_sided(
    own: Compiled | Unpriced, other: Compiled, usage: Usage, meters: Mapping[str, float]
) -> str:
    """Return a meter of the call that only one of the prices has a price for; empty: none."""
    here = _WITH_OR_WITHOUT if isinstance(own, Unpriced) else own.priced_meters
    for name in sorted((here ^ other.priced_meters) & _WITH_OR_WITHOUT):
        amount = meters.get(name) or getattr(usage, name, None)
        if amount and (name in here or METERS[name].is_extra):
            return name
    return ""


def _quote(book: PriceBook, kind: Kind, at_ns: int) -> Compiled | Unpriced:
    return book.quote(
        kind.provider, kind.endpoint, kind.model, kind.tier, at_ns, kind.conditions or None
    )
