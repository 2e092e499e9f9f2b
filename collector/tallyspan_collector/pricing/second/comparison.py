"""What a price book says against what a second source says, class by class, exactly.

Every class of tokens is asked for alone: a call whose whole prompt (or answer) is of that class, in
every context that the source knows. So a difference is that of one price, not a mixture.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from tallyspan.meters import BY_PRICE_KEY, TOKEN_METERS, Meter
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced, Unpriced
from tallyspan_collector.pricing.price import PICO, rounded
from tallyspan_collector.pricing.second.source import Bands, Place, SecondPrice, SecondSource
from tallyspan_collector.pricing.timeline import NS, WEEK_SECONDS, second_of_week

TOLERANCE = Fraction(5, 1000)
"""A difference up to it is one of rounding: a price list is printed with few digits."""
TOKENS = 10_000
_HOUR_SECONDS = 3600


class Verdict(StrEnum):
    """How two prices of one class compare."""

    AGREE = "agree"
    ROUNDED = "rounded"
    DIFFER = "differ"
    UNPRICED = "unpriced"


class Question(NamedTuple):
    """A call that shows the price of one meter: it uses `amount` of it."""

    meter: Meter
    usage: Usage
    meters: Mapping[str, int]
    amount: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One class of one place, in calls of `context` input tokens.

    Prices are USD for one; `theirs` has each that the source names.

    `percent`: how far ours is above (or below) theirs. `price_id`: which of our prices it is;
    `reason`: why we have none.
    """

    place: Place
    meter: str
    context: int
    verdict: Verdict
    ours: Fraction | None
    theirs: tuple[Fraction, ...]
    keys: tuple[str, ...]
    price_id: str = ""
    price_source: str = ""
    reason: str = ""

    @property
    def percent(self) -> Fraction:
        """Return the difference to the nearest of their prices, in percent of that."""
        if self.ours is None:
            return Fraction(0)
        return _percent(self.ours, self.nearest)

    @property
    def nearest(self) -> Fraction:
        """Return the one of their prices that is nearest to ours."""
        ours = self.ours or Fraction(0)
        return min(self.theirs, key=lambda usd: abs(usd - ours))


def compare(book: PriceBook, source: SecondSource, at: datetime) -> list[Finding]:
    """Return how each class of each place of the source compares with the book at the moment."""
    places: dict[Place, list[SecondPrice]] = defaultdict(list)
    for price in source.prices:
        places[price.place].append(price)
    return [
        finding
        for place, prices in places.items()
        for finding in _at_place(book, place, prices, int(at.timestamp()) * NS)
    ]


def _at_place(
    book: PriceBook, place: Place, prices: list[SecondPrice], at_ns: int
) -> Iterator[Finding]:
    at_ns = _moment(place, at_ns)
    keys = tuple(sorted({key for price in prices for key in price.keys}))
    for name in dict.fromkeys(name for price in prices for name in price.prices):
        bands = [price.prices[name] for price in prices if name in price.prices]
        for question in questions(BY_PRICE_KEY[name], bands):
            theirs = tuple(sorted({_holding(each, question) for each in bands}))
            if not any(theirs):
                continue  # free there, or without a price: it says nothing
            cost = _cost(book, place, question, at_ns)
            if question.meters and isinstance(cost, Priced) and not question.meter.is_tokens:
                cost = _less(cost, _cost(book, place, question._replace(meters={}), at_ns))
            yield _finding(place, question, cost, theirs, keys)


def questions(meter: Meter, bands: Iterable[Bands]) -> Iterator[Question]:
    """Yield the calls that show the meter's prices: below, between and above the contexts."""
    if not meter.is_tokens:
        yield Question(meter, Usage(0, 0), {meter.name: 1}, 1)
        return
    starts = sorted({above for each in bands for above, _ in each} | {-1})
    for place, above in enumerate(starts):
        end = starts[place + 1] if place + 1 < len(starts) else above + 4 * TOKENS
        length = min(max(above, 0) + TOKENS, (max(above, 0) + end) // 2)
        yield _of_tokens(meter, length)
        if end - TOKENS // 10 > length and place + 1 < len(starts):  # just below the next context
            yield _of_tokens(meter, end - TOKENS // 10)


def _of_tokens(meter: Meter, length: int) -> Question:
    is_input = meter.direction == "input"
    amount = length if is_input else TOKENS
    counts = {"input_tokens": length, "output_tokens": 0 if is_input else amount}
    for each in TOKEN_METERS:
        if each == meter or meter.is_part_of(each):
            counts[each.name] = amount
    usage = Usage(**{name: n for name, n in counts.items() if name in TOKEN_FIELDS})
    meters = {name: n for name, n in counts.items() if name not in TOKEN_FIELDS}
    return Question(meter, usage, meters, amount)


def _moment(place: Place, at_ns: int) -> int:
    """Return the moment, or the next one at the place's hour of the week."""
    if place.hour is None:
        return at_ns
    ahead = (place.hour * _HOUR_SECONDS - second_of_week(at_ns)) % WEEK_SECONDS
    return at_ns + (ahead + _HOUR_SECONDS // 2) * NS


def _cost(book: PriceBook, place: Place, question: Question, at_ns: int) -> Priced | Unpriced:
    return book.price(
        provider=place.provider,
        endpoint_id="",
        model=place.model,
        at_ns=at_ns,
        usage=question.usage,
        service_tier=place.tier,
        conditions=dict(place.conditions),
        meters=question.meters,
    )


def _less(cost: Priced, empty: Priced | Unpriced) -> Priced:
    """Return the cost without that of an empty call: a fee for each call is no search."""
    fee = empty.cost_picousd if isinstance(empty, Priced) else 0
    return cost._replace(cost_picousd=cost.cost_picousd - fee)


def _finding(
    place: Place,
    question: Question,
    cost: Priced | Unpriced,
    theirs: tuple[Fraction, ...],
    keys: tuple[str, ...],
) -> Finding:
    about = Finding(
        place, question.meter.price_key, question.usage.input_tokens or 0, Verdict.UNPRICED, None,
        theirs, keys,
    )  # fmt: skip
    if isinstance(cost, Unpriced):
        return replace(about, reason=cost.reason.value)
    about = replace(about, price_id=cost.price_id, price_source=cost.price_source)
    pico = _of_meter(cost, question)
    if not pico and not question.meter.is_tokens:
        return replace(about, reason="no fee")
    ours = Fraction(pico, question.amount * PICO)
    if any(rounded(usd * question.amount * PICO, 1) == pico for usd in theirs):
        return replace(about, verdict=Verdict.AGREE, ours=ours)
    near = min(abs(_percent(ours, usd)) for usd in theirs)
    verdict = Verdict.ROUNDED if near <= TOLERANCE * 100 else Verdict.DIFFER
    return replace(about, verdict=verdict, ours=ours)


def _of_meter(cost: Priced, question: Question) -> int:
    """Return what the meter alone costs, in pico-dollars."""
    match question.meter.direction if question.meter.is_tokens else "":
        case "input":
            return cost.input_cost_picousd
        case "output":
            return cost.output_cost_picousd
        case _:
            return cost.cost_picousd


def _percent(ours: Fraction, theirs: Fraction) -> Fraction:
    if not theirs:
        return Fraction(0) if not ours else Fraction(100)
    return (ours - theirs) / theirs * 100


def _holding(bands: Bands, question: Question) -> Fraction:
    tokens = question.usage.input_tokens or 0
    return next(usd for above, usd in reversed(bands) if tokens > above)
