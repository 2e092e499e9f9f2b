"""A price compiled to integers: it turns counts into pico-dollars without a `Decimal`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from math import lcm
from typing import NamedTuple, Protocol

from tallyspan.meters import BY_DIMENSIONS, BY_NAME, TOKEN_METERS, Meter
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.pricing.cost import (
    INCONSISTENT_USAGE,
    UNKNOWN_USAGE,
    UNPRICED_UNIT,
    Priced,
    Unpriced,
)

PICO = 10**12
PLAIN_METERS = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
    }
)
INPUT, OUTPUT, REQUESTS = "input_tokens", "output_tokens", "requests"
UNPRICED_METER = "unpriced_meter"
"""The flag of a call with an amount on top of its tokens that nobody has a price for."""
_CACHE = {"cache_read", "cache_write"}
_NOTHING: Mapping[str, int] = {}
Meters = Mapping[str, int | float]
"""What was used in the meters that are no field of `Usage`: meter -> how much."""
Form = Mapping[str, Fraction]
"""A sum of meters, each with its factor."""
Factors = tuple[tuple[str, int | Fraction], ...]
"""A sum of meters, each with its factor; those of tokens are whole."""


def requests_of(meters: Meters) -> Fraction:
    """Return how many requests a call is the sum of (a batch's): the average has the context."""
    return Fraction(repr(meters.get(REQUESTS) or 1))


@dataclass(frozen=True, slots=True)
class Part:
    """The price of one of a meter. `bands` are (above how many input tokens, USD for one).

    `is_implied`: nobody names the price, it follows from those of wider meters.
    """

    meter: Meter
    bands: tuple[tuple[int, Fraction], ...]
    is_implied: bool = False

    def scaled(self, factor: Fraction) -> "Part":
        """Return the part at another level: 9/10 for ten percent off."""
        return replace(self, bands=tuple((above, usd * factor) for above, usd in self.bands))

    def at(self, above: int) -> Fraction:
        """Return USD for one in a call with more than `above` input tokens."""
        return next(usd for start, usd in reversed(self.bands) if start <= above)


class PriceParts(NamedTuple):
    """A price before it is compiled."""

    price_id: str
    source: str
    parts: Sequence[Part]
    minimum: Mapping[str, int] = _NOTHING
    maximum: Mapping[str, int] = _NOTHING


class Band(NamedTuple):
    """Integer factors of the calls with more than `above` input tokens (-1: of all).

    The five named ones are factors of the plain meters. `input_factors`, `output_factors` and
    `other_factors` are those of every meter, for input, for output and for what is neither.
    """

    above: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    input_factors: Factors
    output_factors: Factors
    other_factors: Factors


class Need(NamedTuple):
    """`meter` may be unknown only while not all of `others` are above zero."""

    meter: str
    others: tuple[str, ...]


class AnyPrice(Protocol):
    """Whatever turns counts into a cost."""

    def cost(self, usage: Usage, meters: Meters | None = None) -> Priced | Unpriced:
        """Return the cost of the call, or why it has none with this price."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one call costs. Factors are pico-dollars times `scale`.

    `is_plain`: tokens are priced by plain meters alone. `limits` are sums that must not be
    negative: a part cannot exceed its whole. `meters` are those with a price beside the fields of
    `Usage`, `priced_meters` all with a price. `minimum` and `maximum` bound how much of a meter is
    billed, once there is any. `flags`: what is doubtful about the price; `other`: the price if the
    doubt is decided the other way.
    """

    price_id: str
    source: str
    bands: tuple[Band, ...]
    scale: int
    is_plain: bool
    has_input: bool
    has_output: bool
    limits: tuple[Factors, ...]
    needs: tuple[Need, ...]
    meters: frozenset[str]
    priced_meters: frozenset[str]
    minimum: Mapping[str, int]
    maximum: Mapping[str, int]
    flags: tuple[str, ...] = ()
    other: "AnyPrice | None" = None

    def cost(self, usage: Usage, meters: Meters | None = None) -> Priced | Unpriced:
        """Return the cost of the call, or why it has none with this price."""
        prompt_tokens = usage.input_tokens
        if prompt_tokens is None:  # without output: embeddings, or an answer that was blocked
            return self._exact(usage, meters) if meters else UNKNOWN_USAGE
        answer_tokens = usage.output_tokens or 0
        read = usage.cache_read_tokens or 0
        write = usage.cache_write_tokens or 0
        hour = usage.cache_write_1h_tokens or 0
        if (
            read + write > prompt_tokens
            or hour > write
            or (usage.input_audio_tokens or 0) > prompt_tokens
            or (usage.input_image_tokens or 0) > prompt_tokens
            or (usage.cache_read_audio_tokens or 0) > read
            or (usage.output_audio_tokens or 0) > answer_tokens
            or (usage.output_image_tokens or 0) > answer_tokens
            or (usage.output_tokens is None and usage.reasoning_tokens)
        ):
            return INCONSISTENT_USAGE
        if meters or not self.is_plain:
            return self._exact(usage, meters)
        if (prompt_tokens and not self.has_input) or (answer_tokens and not self.has_output):
            return UNPRICED_UNIT
        # By name and not by `input_factors`: nearly every call comes here.
        band = self.bands[0] if len(self.bands) == 1 else self.band(prompt_tokens)
        prompt = prompt_tokens * band.input
        answer = answer_tokens * band.output
        whole = prompt + answer
        if read or write:
            # Factors of the cache are what it costs more than input: minus that is what it saves.
            more = read * band.cache_read
            if write:
                more += write * band.cache_write + hour * band.cache_write_1h
            if self.scale == 1:
                name, source = self.price_id, self.source
                return Priced(whole + more, prompt + more, answer, name, source, (), None, -more)
            cost = self._rounded(whole + more, prompt + more, answer)
            saved = rounded(whole, self.scale) - cost.cost_picousd
            return cost._replace(cache_saved_picousd=saved)
        if self.scale == 1:
            return Priced(whole, prompt, answer, self.price_id, self.source)
        return self._rounded(whole, prompt, answer)

    def band(self, input_tokens: int | Fraction) -> Band:
        """Return the band of a call with so many input tokens."""
        match = self.bands[0]
        for band in self.bands:
            if input_tokens > band.above:
                match = band
        return match

    def _exact(self, usage: Usage, meters: Meters | None) -> Priced | Unpriced:
        amounts: dict[str, int | Fraction | None] = {
            name: getattr(usage, name) for name in TOKEN_FIELDS
        }
        for name, value in (meters or _NOTHING).items():
            if name in self.meters and value:
                billed = max(Fraction(repr(value)), Fraction(self.minimum.get(name, 0)))
                amounts[name] = min(billed, Fraction(self.maximum.get(name, billed)))
        counts: dict[str, int | Fraction] = {name: value or 0 for name, value in amounts.items()}
        counts[REQUESTS] = requests = requests_of(meters or _NOTHING)
        if any(
            amounts.get(need.meter) is None and _all(counts, need.others) for need in self.needs
        ) or any(_sum(form, counts) < 0 for form in self.limits):
            return INCONSISTENT_USAGE
        if not any(counts.get(name) for name in self.meters):
            if usage.input_tokens is None:
                return UNKNOWN_USAGE
            if (usage.input_tokens and not self.has_input) or (
                usage.output_tokens and not self.has_output
            ):
                return UNPRICED_UNIT
        band = self.band(counts[INPUT] / requests)
        prompt, answer = _sum(band.input_factors, counts), _sum(band.output_factors, counts)
        cost = self._rounded(prompt + answer + _sum(band.other_factors, counts), prompt, answer)
        if usage.cache_read_tokens or usage.cache_write_tokens:
            cost = with_cache_saved(self, cost, usage, meters)
        if any(
            amount and name not in self.meters and (meter := BY_NAME.get(name)) and meter.is_extra
            for name, amount in (meters or _NOTHING).items()
        ):
            return cost._replace(flags=(UNPRICED_METER,))
        return cost

    def _rounded(
        self, cost: int | Fraction, prompt: int | Fraction, answer: int | Fraction
    ) -> Priced:
        scale = self.scale
        return Priced(
            rounded(cost, scale),
            rounded(prompt, scale),
            rounded(answer, scale),
            self.price_id,
            self.source,
        )


def without_cache(usage: Usage, meters: Meters | None) -> tuple[Usage, Meters]:
    """Return the counts of the call if all that the cache read and wrote had been plain input."""
    plain = replace(usage, **{name: 0 for name in TOKEN_FIELDS if is_of_cache(name)})
    others = (meters or _NOTHING).items()
    return plain, {name: amount for name, amount in others if not is_of_cache(name)}


def with_cache_saved(price: AnyPrice, cost: Priced, usage: Usage, meters: Meters | None) -> Priced:
    """Return the cost of a call that used the cache, with what that saved at this price."""
    without = price.cost(*without_cache(usage, meters))
    if isinstance(without, Unpriced):
        return cost
    return cost._replace(cache_saved_picousd=without.cost_picousd - cost.cost_picousd)


def is_of_cache(name: str) -> bool:
    """Return whether a meter counts what a cache reads or writes."""
    meter = BY_NAME.get(name)
    return meter is not None and dict(meter.dimensions).get("token_type") in _CACHE


def rounded(amount: int | Fraction, scale: int) -> int:
    """Return amount / scale, half to even."""
    if isinstance(amount, Fraction):
        return round(amount / scale)
    whole, rest = divmod(amount, scale)
    twice = 2 * rest
    return whole + (twice > scale or (twice == scale and whole & 1))


def compile_price(price: PriceParts) -> Price:
    """Return the parts as one price; without any part the model is free."""
    parts = [*price.parts, *_implied(price.parts)]
    meters = [part.meter for part in parts]
    leaves = {meter.name: _leaf(meter, meters) for meter in meters}
    starts = sorted({start for part in parts for start, _ in part.bands} | {-1})
    forms = [_forms(parts, leaves, start) for start in starts]
    # Of tokens alone: a fee of a third of a cent must not make every call's sum a fraction.
    scale = lcm(
        *(
            factor.denominator
            for bands in forms
            for form in bands
            for name, factor in form.items()
            if BY_NAME[name].is_tokens
        )
    )
    bands = tuple(
        _band(start, [_whole(form, scale) for form in each])
        for start, each in zip(starts, forms, strict=True)
    )
    used = {name for bands_ in forms for form in bands_ for name in form}
    names = {meter.name for meter in meters}
    counted = (used | names) - {*TOKEN_FIELDS, REQUESTS}
    return Price(
        price_id=price.price_id,
        source=price.source,
        bands=bands,
        scale=scale,
        is_plain=used <= PLAIN_METERS | counted,  # calls with `meters` are rare
        has_input=INPUT in names or not parts,
        has_output=OUTPUT in names or not parts,
        limits=tuple(_limits(leaves.values())),
        needs=tuple(_needs([part.meter for part in parts if not part.is_implied])),
        meters=frozenset(counted),
        priced_meters=frozenset(names if parts else {INPUT, OUTPUT}),
        minimum=price.minimum,
        maximum=price.maximum,
    )


def _implied(parts: Sequence[Part]) -> Iterable[Part]:
    """Return the price of what two meters with a price have in common, where it has none.

    Cached audio and cached images cost what cached tokens cost: else they would be taken off the
    input twice.
    """
    priced = {part.meter.name: part for part in parts}
    for part in parts:
        if part.meter.free is not None and part.meter.free.name not in priced:
            yield Part(part.meter.free, ((-1, Fraction(0)),), is_implied=True)
    for one, other in combinations(parts, 2):
        join = BY_DIMENSIONS.get(one.meter.dimensions | other.meter.dimensions)
        if join is not None and join.name not in priced and join.is_part_of(one.meter):
            kinds = dict(one.meter.dimensions)
            of_cache = one if kinds.get("token_type") in _CACHE else other
            priced[join.name] = Part(join, of_cache.bands, is_implied=True)
            yield priced[join.name]


def _leaf(meter: Meter, priced: Sequence[Meter]) -> Form:
    """Return the count of the meter without what its priced parts count."""
    form = {meter.name: Fraction(1)}
    for part in priced:
        if part.is_part_of(meter):
            for name, factor in _leaf(part, priced).items():
                form[name] = form.get(name, Fraction(0)) - factor
    return {name: factor for name, factor in form.items() if factor}


def _forms(
    parts: Sequence[Part], leaves: Mapping[str, Form], above: int
) -> list[dict[str, Fraction]]:
    sums: dict[str, dict[str, Fraction]] = {"input": {}, "output": {}, "": {}}
    for part in parts:
        into = sums[part.meter.direction]
        for name, factor in leaves[part.meter.name].items():
            into[name] = into.get(name, Fraction(0)) + factor * part.at(above) * PICO
    return [{name: value for name, value in form.items() if value} for form in sums.values()]


def _whole(form: Form, scale: int) -> dict[str, int | Fraction]:
    scaled = {name: factor * scale for name, factor in form.items()}
    return {name: int(f) if f.denominator == 1 else f for name, f in scaled.items()}


def _band(above: int, forms: Sequence[Mapping[str, int | Fraction]]) -> Band:
    prompt, answer, other = forms
    return Band(
        above,
        int(prompt.get("input_tokens", 0)),
        int(answer.get("output_tokens", 0)),
        int(prompt.get("cache_read_tokens", 0)),
        int(prompt.get("cache_write_tokens", 0)),
        int(prompt.get("cache_write_1h_tokens", 0)),
        tuple(prompt.items()),
        tuple(answer.items()),
        tuple(other.items()),
    )


def _limits(leaves: Iterable[Form]) -> Iterable[Factors]:
    for form in leaves:
        if any(factor < 0 for factor in form.values()):
            scale = lcm(*(factor.denominator for factor in form.values()))
            yield tuple(_whole(form, scale).items())


def _needs(priced: Sequence[Meter]) -> Iterable[Need]:
    for meter in priced:
        for other in TOKEN_METERS:
            if other.is_part_of(meter):
                yield Need(meter.name, (other.name,))
        for left, right in combinations(TOKEN_METERS, 2):
            is_join = left.dimensions | right.dimensions == meter.dimensions
            if is_join and meter.is_part_of(left) and meter.is_part_of(right):
                yield Need(meter.name, (left.name, right.name))


def _sum(
    form: Iterable[tuple[str, int | Fraction]], counts: Mapping[str, int | Fraction]
) -> int | Fraction:
    return sum((factor * counts.get(name, 0) for name, factor in form), 0)


def _all(counts: Mapping[str, int | Fraction], names: Iterable[str]) -> bool:
    return all(counts.get(name) for name in names)
