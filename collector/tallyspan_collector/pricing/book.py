"""The price book: entries of `models_pricing.yaml` first, the bundled data behind them."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Self

from tallyspan.usage import Usage
from tallyspan_collector.pricing import rates, sellers
from tallyspan_collector.pricing.bundled import PriceData, installed
from tallyspan_collector.pricing.cost import NO_EXCHANGE_RATE, UNKNOWN_MODEL, Priced, Unpriced
from tallyspan_collector.pricing.marginal import MarginalPrice
from tallyspan_collector.pricing.match import Kind
from tallyspan_collector.pricing.price import compile_price
from tallyspan_collector.pricing.rates import Change, PriceFile, Rate
from tallyspan_collector.pricing.region import region_of
from tallyspan_collector.pricing.timeline import Compiled, Timeline
from tallyspan_collector.read.call import Call

MAX_KINDS = 50_000
"""Kinds of calls remembered: senders choose the names of models, which must not fill the memory."""


class PriceBook:
    """What a call costs, by price file and price data. Several threads may use it at once."""

    def __init__(self, file: PriceFile | None = None, data: PriceData | None = None) -> None:
        self._timelines: dict[tuple[str, str, str, str, str], Timeline] = {}
        self.use(file or PriceFile(), data or installed())

    def use(self, file: PriceFile, data: PriceData) -> None:
        """Price with these from now on; calls that are being priced keep the old ones."""
        self.file = file
        self.data = data
        self._has_regions = any(match.region for match in file.matches)
        self._timelines = {}  # last, so that what `_learn` adds is of the new file

    @classmethod
    def load(cls, path: Path | None = None, data: PriceData | None = None) -> Self:
        """Return the book with the file's entries over the bundled data. Raises `ConfigError`."""
        return cls(rates.load(path) if path else None, data)

    def quote(
        self,
        provider: str,
        endpoint_id: str,
        model: str,
        service_tier: str = "",
        at_ns: int = 0,
        region: str = "",
    ) -> Compiled | Unpriced:
        """Return the price at a moment, or why there is none; never a default rate."""
        key = (provider, endpoint_id, model, service_tier, region)
        timeline = self._timelines.get(key)
        return (timeline or self._learn(key)).at(at_ns)

    def price(
        self,
        *,
        provider: str,
        endpoint_id: str,
        model: str,
        at_ns: int,
        usage: Usage,
        service_tier: str = "",
        region: str = "",
        units: Mapping[str, int | float] | None = None,
    ) -> Priced | Unpriced:
        """Return the cost at the call's own time, or why there is none; never a default rate."""
        price = self.quote(provider, endpoint_id, model, service_tier, at_ns, region)
        return price if isinstance(price, Unpriced) else price.cost(usage, units)

    def price_calls(self, calls: Sequence[Call]) -> list[Priced | Unpriced]:
        """Return what each call costs, or why not, in the order of the calls."""
        return [self._price_call(call) for call in calls]

    def _price_call(self, call: Call) -> Priced | Unpriced:
        region = region_of(call.server_address) if self._has_regions else ""
        model = call.response_model or call.request_model
        price = self.quote(
            call.provider_name,
            call.endpoint_id,
            model,
            call.service_tier,
            call.start_time_ns,
            region,
        )
        return price if isinstance(price, Unpriced) else price.cost(call.usage, call.units)

    def _learn(self, key: tuple[str, str, str, str, str]) -> Timeline:
        timelines = self._timelines
        if len(timelines) >= MAX_KINDS:
            timelines.clear()
        timeline = timelines[key] = self._timeline(Kind(*key))
        return timeline

    def _timeline(self, kind: Kind) -> Timeline:
        file, data = self.file, self.data
        priced_kind = sellers.priced_as(file.priced_as(kind))
        place = (priced_kind.provider, priced_kind.model, priced_kind.tier)
        own = [r for r in file.rates if r.match.is_for(kind) or r.match.is_for(priced_kind)]
        discounts = [d for d in file.discounts if d.match.is_for(kind)]
        uplifts = [u for u in file.uplifts if u.match.is_for(kind)]
        behind: dict[str, Timeline | None] = {}

        def make(at_ns: int) -> Compiled | Unpriced:
            discount = _holding(discounts, at_ns)
            uplift = _holding(uplifts, at_ns)
            for rate in own:
                if rate.match.holds(at_ns):
                    return self._own(rate, discount if rate.level is None else None, uplift, at_ns)
            level, note = _level(discount, uplift)
            if note not in behind:
                behind[note] = data.timeline(*place, level, note)
            timeline = behind[note]
            return timeline.at(at_ns) if timeline else UNKNOWN_MODEL

        plain = data.timeline(*place)
        matches = [r.match for r in own] + [change.match for change in (*discounts, *uplifts)]
        if not matches:
            return plain or Timeline(lambda _: UNKNOWN_MODEL)
        instants = [ns for match in matches for ns in (match.from_ns, match.to_ns)]
        currencies = {rate.currency for rate in own}
        instants += [
            each.from_ns
            for name, dated in (file.currencies or {}).items()
            if name in currencies
            for each in dated
        ]
        seconds = [second for match in matches for second in match.hours or ()]
        if plain:
            instants, seconds = [*instants, *plain.instants], [*seconds, *plain.seconds]
        return Timeline(make, instants, seconds)

    def _own(
        self, rate: Rate, discount: Change | None, uplift: Change | None, at_ns: int
    ) -> Compiled | Unpriced:
        usd = self.file.usd(rate.currency, at_ns)
        if usd is None:
            return NO_EXCHANGE_RATE
        level, note = _level(discount, uplift)
        factor = usd * level * (1 if rate.level is None else rate.level)
        parts = [part.scaled(factor) for part in rate.parts]
        if rate.is_marginal:
            return MarginalPrice.of(rate.price_id + note, self.file.name, parts)
        return compile_price(rate.price_id + note, self.file.name, parts)


def _holding(changes: Sequence[Change], at_ns: int) -> Change | None:
    return next((change for change in changes if change.match.holds(at_ns)), None)


def _level(*changes: Change | None) -> tuple[Fraction, str]:
    level, note = Fraction(1), ""
    for change in changes:
        if change is not None:
            level, note = level * change.level, note + change.note
    return level, note
