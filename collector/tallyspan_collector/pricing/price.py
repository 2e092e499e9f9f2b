"""A price compiled to integers: counts in, pico-dollars out, without a `Decimal` on the way."""

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


@dataclass(frozen=True, slots=True)
class Part:
    """The price of one unit: `bands` are (above how many input tokens, USD for one)."""

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

    The five named ones are factors of the plain variables; `given`, `made` and `beside` are those
    of every variable, for input, for output and for what is neither.
    """

    above: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    given: tuple[tuple[str, int], ...]
    made: tuple[tuple[str, int], ...]
    beside: tuple[tuple[str, int], ...]


class Need(NamedTuple):
    """`variable` may be left unsaid only while not all of `others` are above zero."""

    variable: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Price:
    """What one call costs. Factors are pico-dollars times `scale`.

    `limits` are sums that must not be negative: a part cannot exceed its whole. `minimum` and
    `maximum` bound how many of a unit are billed, once there are any. `is_flat`: one band, whole
    factors, plain variables, so that `input`, `output` and `cache_read` say it all for most calls.
    """

    price_id: str
    source: str
    bands: tuple[Band, ...]
    scale: int
    is_plain: bool
    has_input: bool
    has_output: bool
    limits: tuple[tuple[tuple[str, int], ...], ...]
    needs: tuple[Need, ...]
    units: frozenset[str]
    minimum: Mapping[str, int]
    maximum: Mapping[str, int]
    is_flat: bool
    input: int
    output: int
    cache_read: int

    def cost(self, usage: Usage, units: Units | None = None) -> Priced | Unpriced:
        """Return the cost of the call, or why it has none with this price."""
        given = usage.input_tokens
        made = usage.output_tokens
        if given is None:  # without output: embeddings, or an answer that was blocked
            return self._exact(usage, units) if units else UNKNOWN_USAGE
        read = usage.cache_read_tokens or 0
        write = usage.cache_write_tokens or 0
        hour = usage.cache_write_1h_tokens or 0
        if (
            read + write > given
            or hour > write
            or (usage.input_audio_tokens or 0) > given
            or (usage.input_image_tokens or 0) > given
            or (usage.cache_read_audio_tokens or 0) > read
            or (usage.output_audio_tokens or 0) > (made or 0)
            or (usage.output_image_tokens or 0) > (made or 0)
            or (made is None and usage.reasoning_tokens)
        ):
            return INCONSISTENT_USAGE
        if units or not self.is_plain:
            return self._exact(usage, units)
        if (given and not self.has_input) or (made and not self.has_output):
            return UNPRICED_UNIT
        band = self.bands[0]
        if len(self.bands) > 1:
            for other in self.bands:
                if given > other.above:
                    band = other
        prompt = given * band.input
        if read:
            prompt += read * band.cache_read
        if write:
            prompt += write * band.cache_write + hour * band.cache_write_1h
        answer = made * band.output if made else 0
        if self.scale != 1:
            return Priced(
                rounded(prompt + answer, self.scale),
                rounded(prompt, self.scale),
                rounded(answer, self.scale),
                self.price_id,
                self.source,
            )
        return tuple.__new__(
            Priced, (prompt + answer, prompt, answer, self.price_id, self.source)
        )  # half the time of Priced(...)

    def _exact(self, usage: Usage, units: Units | None) -> Priced | Unpriced:
        said = {name: getattr(usage, name) for name in TOKEN_VARIABLES}
        counts: dict[str, int | Fraction] = {name: value or 0 for name, value in said.items()}
        for name, value in (units or _NOTHING).items():
            if name in self.units and value:
                billed = max(Fraction(repr(value)), Fraction(self.minimum.get(name, 0)))
                counts[name] = min(billed, Fraction(self.maximum.get(name, billed)))
        counts[REQUESTS] = 1
        if any(
            said.get(need.variable) is None and _all(counts, need.others) for need in self.needs
        ) or any(_sum(form, counts) < 0 for form in self.limits):
            return INCONSISTENT_USAGE
        if said["input_tokens"] is None and not any(counts.get(name) for name in self.units):
            return UNKNOWN_USAGE
        if not any(counts.get(name) for name in self.units) and (
            (counts["input_tokens"] and not self.has_input)
            or (counts["output_tokens"] and not self.has_output)
        ):
            return UNPRICED_UNIT
        band = self.bands[0]
        for other in self.bands:
            if counts["input_tokens"] > other.above:
                band = other
        prompt, answer = _sum(band.given, counts), _sum(band.made, counts)
        return Priced(
            rounded(prompt + answer + _sum(band.beside, counts), self.scale),
            rounded(prompt, self.scale),
            rounded(answer, self.scale),
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
    """Return the parts as one price; no parts at all: the model is free."""
    units = [part.unit for part in parts]
    leaves = {unit.name: _leaf(unit, units) for unit in units}
    starts = sorted({start for part in parts for start, _ in part.bands} | {-1})
    forms = [_forms(parts, leaves, start) for start in starts]
    scale = lcm(
        *(factor.denominator for bands in forms for form in bands for factor in form.values())
    )
    bands = tuple(
        _band(start, [_whole(form, scale) for form in made])
        for start, made in zip(starts, forms, strict=True)
    )
    used = {name for bands_ in forms for form in bands_ for name in form}
    counted = used - TOKEN_VARIABLES.keys() - {REQUESTS}
    names = {unit.name for unit in units}
    is_plain = used <= PLAIN_VARIABLES | counted  # what is counted one by one is rare
    return Price(
        price_id=price_id,
        source=source,
        bands=bands,
        scale=scale,
        is_plain=is_plain,
        has_input=INPUT.name in names or not parts,
        has_output=OUTPUT.name in names or not parts,
        limits=tuple(_limits(leaves.values())),
        needs=tuple(_needs(units)),
        units=frozenset(counted),
        minimum=minimum,
        maximum=maximum,
        is_flat=is_plain and len(bands) == scale == 1 and {"input", "output"} <= names,
        input=bands[0].input,
        output=bands[0].output,
        cache_read=bands[0].cache_read,
    )


def _leaf(unit: Unit, priced: Sequence[Unit]) -> Form:
    """Return what of the unit none of its priced parts counts."""
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
    given, made, beside = forms
    return Band(
        above,
        given.get("input_tokens", 0),
        made.get("output_tokens", 0),
        given.get("cache_read_tokens", 0),
        given.get("cache_write_tokens", 0),
        given.get("cache_write_1h_tokens", 0),
        tuple(given.items()),
        tuple(made.items()),
        tuple(beside.items()),
    )


def _limits(leaves: Iterable[Form]) -> Iterable[tuple[tuple[str, int], ...]]:
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
