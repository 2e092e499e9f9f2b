"""A price compiled to integers: it turns counts into pico-dollars without a `Decimal`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from math import lcm
from typing import NamedTuple

from tallyspan.usage import Usage
from tallyspan_collector.pricing.cost import (
    INCONSISTENT_USAGE,
    UNKNOWN_USAGE,
    UNPRICED_UNIT,
    Priced,
    Unpriced,
)
from tallyspan_collector.pricing.unit import INPUT, OUTPUT, REQUESTS, TOKEN_VARIABLES, Unit

PICO = 10**12
PLAIN_VARIABLES = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
    }
)
_NOTHING: Mapping[str, int] = {}
Units = Mapping[str, int | float]
"""What is billed beside tokens: unit -> how many."""
Form = Mapping[str, Fraction]
"""A sum of variables, each with its factor."""
Factors = tuple[tuple[str, int], ...]
"""A sum of variables, each with its whole factor."""


@dataclass(frozen=True, slots=True)
class Part:
    """The price of one unit. `bands` are (above how many input tokens, USD for one unit)."""

    unit: Unit
    bands: tuple[tuple[int, Fraction], ...]

    def scaled(self, factor: Fraction) -> "Part":
        """Return the part at another level: 9/10 for ten percent off."""
        return replace(self, bands=tuple((above, usd * factor) for above, usd in self.bands))

    def at(self, above: int) -> Fraction:
        """Return USD for one in a call with more than `above` input tokens."""
        return next(usd for start, usd in reversed(self.bands) if start <= above)


class Band(NamedTuple):
    """Integer factors of the calls with more than `above` input tokens (-1: of all).

    The five named ones are factors of the plain variables. `input_factors`, `output_factors` and
    `other_factors` are those of every variable, for input, for output and for what is neither.
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
    """`variable` may be unknown only while not all of `others` are above zero."""

    variable: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Price:
    """What one call costs. Factors are pico-dollars times `scale`.

    `is_plain`: tokens are priced by plain variables alone. `limits` are sums that must not be
    negative: a part cannot exceed its whole. `minimum` and `maximum` bound how many of a unit are
    billed, once there are any.
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
    units: frozenset[str]
    minimum: Mapping[str, int]
    maximum: Mapping[str, int]

    def cost(self, usage: Usage, units: Units | None = None) -> Priced | Unpriced:
        """Return the cost of the call, or why it has none with this price."""
        prompt_tokens = usage.input_tokens
        if prompt_tokens is None:  # without output: embeddings, or an answer that was blocked
            return self._exact(usage, units) if units else UNKNOWN_USAGE
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
        if units or not self.is_plain:
            return self._exact(usage, units)
        if (prompt_tokens and not self.has_input) or (answer_tokens and not self.has_output):
            return UNPRICED_UNIT
        # By name and not by `input_factors`: nearly every call comes here.
        band = self.bands[0] if len(self.bands) == 1 else self.band(prompt_tokens)
        prompt = prompt_tokens * band.input
        if read:
            prompt += read * band.cache_read
        if write:
            prompt += write * band.cache_write + hour * band.cache_write_1h
        answer = answer_tokens * band.output
        if self.scale == 1:
            return Priced(prompt + answer, prompt, answer, self.price_id, self.source)
        return self._rounded(prompt + answer, prompt, answer)

    def band(self, input_tokens: int | Fraction) -> Band:
        """Return the band of a call with so many input tokens."""
        match = self.bands[0]
        for band in self.bands:
            if input_tokens > band.above:
                match = band
        return match

    def _exact(self, usage: Usage, units: Units | None) -> Priced | Unpriced:
        tokens = {name: getattr(usage, name) for name in TOKEN_VARIABLES}
        counts: dict[str, int | Fraction] = {name: value or 0 for name, value in tokens.items()}
        for name, value in (units or _NOTHING).items():
            if name in self.units and value:
                billed = max(Fraction(repr(value)), Fraction(self.minimum.get(name, 0)))
                counts[name] = min(billed, Fraction(self.maximum.get(name, billed)))
        counts[REQUESTS] = 1
        if any(
            tokens.get(need.variable) is None and _all(counts, need.others) for need in self.needs
        ) or any(_sum(form, counts) < 0 for form in self.limits):
            return INCONSISTENT_USAGE
        if not any(counts.get(name) for name in self.units):
            if usage.input_tokens is None:
                return UNKNOWN_USAGE
            if (usage.input_tokens and not self.has_input) or (
                usage.output_tokens and not self.has_output
            ):
                return UNPRICED_UNIT
        band = self.band(counts["input_tokens"])
        prompt, answer = _sum(band.input_factors, counts), _sum(band.output_factors, counts)
        return self._rounded(prompt + answer + _sum(band.other_factors, counts), prompt, answer)

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


def rounded(amount: int | Fraction, scale: int) -> int:
    """Return amount / scale, half to even."""
    if isinstance(amount, Fraction):
        return round(amount / scale)
    whole, rest = divmod(amount, scale)
    twice = 2 * rest
    return whole + (twice > scale or (twice == scale and whole & 1))


def compile_price(
    price_id: str,
    source: str,
    parts: Sequence[Part],
    minimum: Mapping[str, int] = _NOTHING,
    maximum: Mapping[str, int] = _NOTHING,
) -> Price:
    """Return the parts as one price; without any part the model is free."""
    units = [part.unit for part in parts]
    leaves = {unit.name: _leaf(unit, units) for unit in units}
    starts = sorted({start for part in parts for start, _ in part.bands} | {-1})
    forms = [_forms(parts, leaves, start) for start in starts]
    scale = lcm(
        *(factor.denominator for bands in forms for form in bands for factor in form.values())
    )
    bands = tuple(
        _band(start, [_whole(form, scale) for form in each])
        for start, each in zip(starts, forms, strict=True)
    )
    used = {name for bands_ in forms for form in bands_ for name in form}
    counted = used - TOKEN_VARIABLES.keys() - {REQUESTS}
    names = {unit.name for unit in units}
    return Price(
        price_id=price_id,
        source=source,
        bands=bands,
        scale=scale,
        is_plain=used <= PLAIN_VARIABLES | counted,  # calls with `units` are rare
        has_input=INPUT.name in names or not parts,
        has_output=OUTPUT.name in names or not parts,
        limits=tuple(_limits(leaves.values())),
        needs=tuple(_needs(units)),
        units=frozenset(counted),
        minimum=minimum,
        maximum=maximum,
    )


def _leaf(unit: Unit, priced: Sequence[Unit]) -> Form:
    """Return the count of the unit without what its priced parts count."""
    form = dict(unit.count)
    for part in priced:
        if part.is_part_of(unit):
            for name, factor in _leaf(part, priced).items():
                form[name] = form.get(name, Fraction(0)) - factor
    return {name: factor for name, factor in form.items() if factor}


def _forms(
    parts: Sequence[Part], leaves: Mapping[str, Form], above: int
) -> list[dict[str, Fraction]]:
    sums: dict[str, dict[str, Fraction]] = {"input": {}, "output": {}, "": {}}
    for part in parts:
        into = sums[part.unit.direction]
        for name, factor in leaves[part.unit.name].items():
            into[name] = into.get(name, Fraction(0)) + factor * part.at(above) * PICO
    return [{name: value for name, value in form.items() if value} for form in sums.values()]


def _whole(form: Form, scale: int) -> dict[str, int]:
    return {name: int(factor * scale) for name, factor in form.items()}


def _band(above: int, forms: Sequence[Mapping[str, int]]) -> Band:
    prompt, answer, other = forms
    return Band(
        above,
        prompt.get("input_tokens", 0),
        answer.get("output_tokens", 0),
        prompt.get("cache_read_tokens", 0),
        prompt.get("cache_write_tokens", 0),
        prompt.get("cache_write_1h_tokens", 0),
        tuple(prompt.items()),
        tuple(answer.items()),
        tuple(other.items()),
    )


def _limits(leaves: Iterable[Form]) -> Iterable[Factors]:
    for form in leaves:
        if any(factor < 0 for factor in form.values()):
            scale = lcm(*(factor.denominator for factor in form.values()))
            yield tuple(_whole(form, scale).items())


def _needs(priced: Sequence[Unit]) -> Iterable[Need]:
    counted = TOKEN_VARIABLES.items()
    for unit in priced:
        variable = next(iter(unit.count), "")
        for other, part in counted:
            if part.is_part_of(unit):
                yield Need(variable, (other,))
        for (left, a), (right, b) in combinations(counted, 2):
            is_join = a.dimensions | b.dimensions == unit.dimensions
            if is_join and unit.is_part_of(a) and unit.is_part_of(b):
                yield Need(variable, (left, right))


def _sum(form: Iterable[tuple[str, int]], counts: Mapping[str, int | Fraction]) -> int | Fraction:
    return sum((factor * counts.get(name, 0) for name, factor in form), 0)


def _all(counts: Mapping[str, int | Fraction], names: Iterable[str]) -> bool:
    return all(counts[name] for name in names)
