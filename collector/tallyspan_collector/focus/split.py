"""Calls that share a price, by class of usage: input, cache reads, output, searches, ..."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from tallyspan.meters import BY_NAME
from tallyspan_clickhouse.moments import microseconds
from tallyspan_collector.focus.exact import EXACT, PICO, decimal_of, total
from tallyspan_collector.focus.groups import Calls, PriceKey
from tallyspan_collector.pricing.arithmetic import factors_of, leaves, usd_of
from tallyspan_collector.pricing.book import MAX_KINDS, PriceBook
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.price import INPUT, OUTPUT, REQUESTS, Band, Price
from tallyspan_collector.pricing.timeline import Compiled

NOT_ONE_PRICE = "its price depends on the place of a token in the context"
BOUNDED = "a call is billed for at least or at most so much of a meter"
NO_END = "a price of one is a number without an end"
ANOTHER_PRICE = "it was booked at other prices than those of today"
NO_PRICE = "today's prices have none for it"
OF_PROVIDER = "the provider states a cost for the whole call"
_NOTHING = Decimal(0)


class Part(NamedTuple):
    """The amount of one class, and USD for one of it: as contracted and by the list.

    `above`: the price is that of calls with more input tokens; -1: of all calls.
    """

    meter: str
    above: int
    quantity: Decimal
    usd: Decimal
    list_usd: Decimal

    @property
    def cost(self) -> Decimal:
        """Return USD of the amount as contracted."""
        return EXACT.multiply(self.quantity, self.usd)


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of calls; without any, `reason` says why they are not split.

    `rounding`: USD that the calls cost more than their parts, because each is rounded.
    """

    parts: tuple[Part, ...] = ()
    reason: str = ""
    rounding: Decimal = Decimal(0)


class _Classes(NamedTuple):
    """Meter -> USD for one at the price and at the list price; None: a number without an end.

    `above`: where the narrower of both bands begins.
    """

    usd: Mapping[str, tuple[Decimal | None, Decimal | None]]
    above: int


@dataclass(slots=True)
class _Prices:
    """The prices of one kind of calls from `from_ns` until before `to_ns`; `lists` in their order.

    `classes` are known by the list price that is used, and by the bands of both.
    """

    from_ns: int
    to_ns: int
    price: Compiled | Unpriced
    lists: tuple[Price, ...]
    classes: dict[tuple[int, int, int], _Classes] = field(default_factory=dict)

    def bands(self, input_tokens: int) -> tuple[int, ...]:
        """Return which band of each price calls of so many input tokens are in."""
        prices = (self.price, *self.lists)
        return tuple(each.band(input_tokens).above for each in prices if isinstance(each, Price))


class Splitter:
    """Splits calls by the prices of a book, and knows what they cost at list prices."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._lists = book.at_list()
        self._prices: dict[PriceKey, _Prices] = {}

    @property
    def books(self) -> tuple[PriceBook, ...]:
        """Return all books that a price is looked up in."""
        return (self._book, *self._lists)

    def merged(self, calls: Sequence[Calls]) -> Sequence[Calls]:
        """Return the calls of a place with those added up that all prices treat alike."""
        if len(calls) == 1:
            return calls
        alike: dict[tuple[object, ...], Calls] = {}
        for each in calls:
            prices = self._prices_of(each)
            bands = prices.bands(each.input_of_one)
            how = (each.key, each.cost_status, each.is_unlisted, prices.from_ns, bands)
            other = alike.get(how)
            alike[how] = each if other is None else other.plus(each)
        return list(alike.values())

    def split(self, calls: Calls, cost_usd: Decimal) -> Split:
        """Return the parts that cost `cost_usd` together, to the rounding of each call.

        The cost of a call is rounded to the pico-dollar; what that adds up to is no more than a
        pico-dollar a call.
        """
        if calls.cost_status == "reported":
            return Split(reason=OF_PROVIDER)
        prices = self._prices_of(calls)
        price = prices.price
        if isinstance(price, Unpriced):
            return Split(reason=NO_PRICE)
        if not isinstance(price, Price):
            return Split(reason=NOT_ONE_PRICE)
        if any(name in price.minimum or price.maximum.get(name, 1) != 1 for name in calls.meters):
            return Split(reason=BOUNDED)
        parts = _parts(calls, price.maximum, _classes_of(prices, price, calls))
        if parts is None:
            return Split(reason=NO_END)
        rounding = EXACT.subtract(cost_usd, total(each.cost for each in parts))
        if rounding:
            is_rounded = any(each.usd % PICO or each.quantity % 1 for each in parts)
            if not is_rounded or abs(rounding) > calls.calls * PICO:
                return Split(reason=ANOTHER_PRICE)
        return Split(tuple(parts), rounding=rounding)

    def _prices_of(self, calls: Calls) -> _Prices:
        """Return the prices of the calls, which all are of the time of the first one."""
        key, at_ns = calls.key, microseconds(calls.first) * 1000
        prices = self._prices.get(key)
        if prices is None or not prices.from_ns <= at_ns < prices.to_ns:
            if len(self._prices) >= MAX_KINDS:
                self._prices.clear()
            prices = self._prices[key] = self._look_up(key, at_ns)
        return prices

    def _look_up(self, key: PriceKey, at_ns: int) -> _Prices:
        (from_ns, to_ns, price), *lists = (book.stretch(key, at_ns) for book in self.books)
        return _Prices(
            max(from_ns, *(each[0] for each in lists)),
            min(to_ns, *(each[1] for each in lists)),
            price,
            tuple(each for _, _, each in lists if isinstance(each, Price)),
        )


def _classes_of(prices: _Prices, price: Price, calls: Calls) -> _Classes:
    """Return the classes of the calls at their price and at that of the list, if there is one."""
    listed = next((each for each in prices.lists if _prices_all(each, calls)), price)
    tokens = calls.input_of_one
    band, list_band = price.band(tokens), listed.band(tokens)
    key = (id(listed), band.above, list_band.above)
    classes = prices.classes.get(key)
    if classes is None:
        classes = prices.classes[key] = _classes(price, band, listed, list_band)
    return classes


def _prices_all(price: Price, calls: Calls) -> bool:
    """Return whether the price has one for all that the calls used."""
    return (
        (price.has_input or not calls.tokens[INPUT])
        and (price.has_output or not calls.tokens[OUTPUT])
        and all(name in price.meters or not _is_extra(name) for name in calls.meters)
    )


def _is_extra(name: str) -> bool:
    meter = BY_NAME.get(name)
    return meter is not None and meter.is_extra


def _parts(calls: Calls, maximum: Mapping[str, int], classes: _Classes) -> list[Part] | None:
    """Return the classes that the calls used; None: one has a price without an end.

    What has a `maximum` is billed once in a call.
    """
    meters = calls.meters
    amounts: dict[str, Decimal] = {}
    for name in classes.usd:
        if name in calls.tokens:
            amounts[name] = Decimal(calls.tokens[name])
        elif name == REQUESTS:
            amounts[name] = calls.requests
        else:
            used = calls.meters_once if name in maximum else meters
            amounts[name] = used.get(name, _NOTHING) if meters else _NOTHING
    left = leaves(amounts)
    parts = []
    for name, amount in left.items():
        usd, list_usd = classes.usd[name]
        if amount and (usd is None or list_usd is None):
            return None
        if amount and usd is not None and list_usd is not None:
            above = classes.above if BY_NAME[name].is_tokens else -1
            parts.append(Part(name, above, amount, usd, list_usd))
    return parts


def _classes(price: Price, band: Band, listed: Price, list_band: Band) -> _Classes:
    """Return the classes that one of the two prices tells apart."""
    names = dict.fromkeys((*factors_of(band), *factors_of(list_band)))
    usd = {
        name: (
            decimal_of(usd_of(name, band, price.scale)),
            decimal_of(usd_of(name, list_band, listed.scale)),
        )
        for name in names or (INPUT, OUTPUT)  # without any class a model is free
    }
    return _Classes(usd, max(band.above, list_band.above))
