"""The price book: the administrator's file first, our own files, the bundled data behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from tallyspan.conditions import ALLOWANCE
from tallyspan.usage import Usage
from tallyspan_collector.pricing import rates, shipped
from tallyspan_collector.pricing.adjustments import Allowance
from tallyspan_collector.pricing.bundled import PriceData, installed
from tallyspan_collector.pricing.commitments import covering
from tallyspan_collector.pricing.cost import Priced, Unpriced
from tallyspan_collector.pricing.kind_lines import KindLines
from tallyspan_collector.pricing.match import NO_VALUE, Conditions, Kind, Ranked
from tallyspan_collector.pricing.price import Meters
from tallyspan_collector.pricing.rates import PriceFile
from tallyspan_collector.pricing.steps import Step, steps
from tallyspan_collector.pricing.timeline import Compiled, Timeline
from tallyspan_collector.read.call import Call

MAX_KINDS = 50_000
"""Kinds of calls remembered: senders choose the names of models, which must not fill the memory."""


class PriceBook:
    """What a call costs, by price files and price data. Several threads may use it at once."""

    def __init__(
        self,
        file: PriceFile | None = None,
        data: PriceData | None = None,
        own: shipped.Files = shipped.file_of,
        disputed: PriceFile | None = None,
    ) -> None:
        self._timelines: dict[tuple[str, str, str, str, Conditions], Timeline] = {}
        self._own = own
        self._disputed = shipped.disputed() if disputed is None else disputed
        self.use(file or PriceFile(), data or installed())

    def use(self, file: PriceFile, data: PriceData) -> None:
        """Price with these from now on; calls that are being priced keep the old ones."""
        self.file = file
        self.data = data
        self._timelines = {}  # last, so that what `_learn` adds is of the new file

    @classmethod
    def load(cls, path: Path | None = None, data: PriceData | None = None) -> Self:
        """Return the book with the file's entries over the bundled data. Raises `ConfigError`."""
        return cls(rates.load(path) if path else None, data)

    def at_list(self) -> "tuple[PriceBook, PriceBook]":
        """Return the books of list prices, the first one first that has a price.

        They are without the administrator's own prices, and without their discounts and uplifts
        alone, for models that nobody else prices.
        """
        own, disputed = self._own, self._disputed
        file = self.file.without_discounts()
        providers = replace(file, rates=Ranked(), fees=Ranked(), factors=Ranked())
        return (
            PriceBook(providers, self.data, own, disputed),
            PriceBook(file, self.data, own, disputed),
        )

    def quote(
        self,
        provider: str,
        endpoint_id: str,
        model: str,
        service_tier: str = "",
        at_ns: int = 0,
        conditions: Mapping[str, str] | None = None,
    ) -> Compiled | Unpriced:
        """Return the price at a moment, or why there is none; never a default rate."""
        under = tuple(conditions.items()) if conditions else ()
        key = (provider, endpoint_id, model, service_tier, under)
        timeline = self._timelines.get(key)
        return (timeline or self._learn(key)).at(at_ns)

    def stretch(
        self, key: tuple[str, str, str, str, Conditions], at_ns: int
    ) -> tuple[int, int, Compiled | Unpriced]:
        """Return from when and until when (excluded) a price holds, and the price.

        `key` is provider, endpoint, model, service tier and conditions; times in nanoseconds.
        """
        return (self._timelines.get(key) or self._learn(key)).stretch(at_ns)

    def price(
        self,
        *,
        provider: str,
        endpoint_id: str,
        model: str,
        at_ns: int,
        usage: Usage,
        service_tier: str = "",
        conditions: Mapping[str, str] | None = None,
        meters: Meters | None = None,
    ) -> Priced | Unpriced:
        """Return the cost at the call's own time, or why there is none; never a default rate."""
        price = self.quote(provider, endpoint_id, model, service_tier, at_ns, conditions)
        return price if isinstance(price, Unpriced) else _cost(price, usage, meters)

    def price_calls(self, calls: Sequence[Call]) -> list[Priced | Unpriced]:
        """Return what each call costs, or why not, in the order of the calls."""
        # As `price`, without its calls: they are a third of the time of a call's pricing.
        timelines, learn = self._timelines, self._learn
        costs: list[Priced | Unpriced] = []
        for call in calls:
            key = (
                call.provider_name,
                call.endpoint_id,
                call.response_model or call.request_model,
                call.service_tier,
                tuple(call.conditions.items()) if call.conditions else (),
            )
            price = (timelines.get(key) or learn(key)).at(call.start_time_ns)
            if isinstance(price, Unpriced):
                costs.append(price)
            elif price.flags:
                costs.append(_cost(price, call.usage, call.meters))
            else:
                costs.append(price.cost(call.usage, call.meters))
        return costs

    def steps(
        self, kind: Kind, at_ns: int, meters: Mapping[str, float] | None = None
    ) -> list[Step]:
        """Return how the price of such calls at a moment is made, or why there is none.

        `meters` is what a call used: fees of others are left out, and its allowance is named.
        """
        kind = replace(kind, conditions=tuple(sorted(kind.conditions)))
        lines = KindLines(kind, self.file, self._own, self.data, self._disputed)
        allowance = None
        if meters and kind.value(ALLOWANCE.name) != NO_VALUE:
            allowance = self._allowance(kind, at_ns, meters)
        return steps(lines.selection(at_ns), meters, allowance)

    def allowance(self, call: Call) -> Allowance | None:
        """Return what is free of the call's meters: the most specific line that is for it."""
        kind = Kind.of(
            call.provider_name,
            call.endpoint_id,
            call.model_name,
            call.service_tier,
            call.conditions,
        )
        return self._allowance(kind, call.start_time_ns, call.meters)

    def _allowance(self, kind: Kind, at_ns: int, meters: Mapping[str, float]) -> Allowance | None:
        files = (self.file, self._own(kind.provider))
        lines = (each for file in files for each in file.allowances.for_kinds([kind]))
        return next(
            (each for each in lines if meters.get(each.meter.name) and each.match.holds(at_ns)),
            None,
        )

    def commitment(self, kind: Kind, at_ns: int) -> str:
        """Return the name of the commitment that pays for such calls; empty: each is billed."""
        committed = self.file.commitments
        return covering(committed, self.file.with_settings(kind), at_ns) if committed else ""

    def _learn(self, key: tuple[str, str, str, str, Conditions]) -> Timeline:
        timelines = self._timelines
        if len(timelines) >= MAX_KINDS:
            timelines.clear()
        provider, endpoint, model, tier, conditions = key
        kind = Kind(provider, endpoint, model, tier, tuple(sorted(conditions)))
        lines = KindLines(kind, self.file, self._own, self.data, self._disputed)
        timeline = timelines[key] = Timeline(lines.price, lines.instants, lines.seconds)
        return timeline


def _cost(price: Compiled, usage: Usage, meters: Meters | None) -> Priced | Unpriced:
    """Return the cost with the price's flags, and with its other cost."""
    cost = price.cost(usage, meters)
    if price.flags and isinstance(cost, Priced):
        other = None if price.other is None else price.other.cost(usage, meters)
        return cost._replace(
            flags=(*price.flags, *cost.flags),
            other_cost_picousd=other.cost_picousd if isinstance(other, Priced) else None,
        )
    return cost
