"""The lines of all price files that are for one kind of calls, and the price that they make."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan.conditions import REGION, Unknown
from tallyspan_collector.pricing import sellers, shipped
from tallyspan_collector.pricing.adjustments import Doubt, Factor, Fee
from tallyspan_collector.pricing.bundled import PriceData, most_billed
from tallyspan_collector.pricing.cost import (
    NO_EXCHANGE_RATE,
    UNKNOWN_CONDITION,
    UNKNOWN_MODEL,
    UNKNOWN_TIER,
    Unpriced,
)
from tallyspan_collector.pricing.marginal import MarginalPrice
from tallyspan_collector.pricing.match import SERVICE_TIER, STANDARD, Conditions, Kind, Line
from tallyspan_collector.pricing.price import Part, PriceParts, compile_price
from tallyspan_collector.pricing.rates import USD, Change, PriceFile, Rate
from tallyspan_collector.pricing.steps import Selection
from tallyspan_collector.pricing.timeline import Compiled

TIER_ASSUMED, CONDITION_ASSUMED = "tier_assumed", "condition_assumed"
"""Flags: a price of the administrator's that names no tier; the standard price of a condition."""
PRICE_DISPUTED = "price_disputed"
"""Flag: a second source has another price, and nobody has found out why."""


class _Base(NamedTuple):
    """A whole price, and the line it stands in; None: it is the package's.

    `named`: the conditions that it is for already.
    """

    parts: PriceParts
    rate: Rate | None
    named: frozenset[str]


class KindLines:
    """The lines of all files that are for one kind of calls, and the price they make."""

    def __init__(
        self,
        kind: Kind,
        file: PriceFile,
        own_files: shipped.Files,
        data: PriceData,
        disputed: PriceFile,
    ) -> None:
        self._settings = file.settings.for_kinds([kind])
        kind = file.with_settings(kind)
        priced_kind = sellers.priced_as(file.priced_as(kind))
        own = own_files(priced_kind.provider)
        self._alias = file.alias(kind) or own.alias(priced_kind)
        self._kind = kind
        self._priced_kind = own.priced_as(priced_kind)
        self._file, self._own, self._data, self._disputed = file, own, data, disputed
        # a line is for the calls' own name, or for the one that they are priced under
        both = (kind, self._priced_kind)
        self._rates = [*file.rates.for_kinds(both), *own.rates.for_kinds(both)]
        self._fees = [*file.fees.for_kinds(both), *own.fees.for_kinds(both)]
        self._factors = [*file.factors.for_kinds(both), *own.factors.for_kinds(both)]
        self._doubts = [*file.doubts.for_kinds(both), *own.doubts.for_kinds(both)]
        self._disputes = disputed.rates.for_kinds([self._priced_kind])
        self._decisions: list[Line] = [*file.rates.for_kinds(both), *file.factors.for_kinds(both)]
        self._discounts = file.discounts.for_kinds([kind])
        self._uplifts = file.uplifts.for_kinds([kind])
        self._package = data.model_prices(
            self._priced_kind.provider, self._priced_kind.model, kind.tier
        )
        lines: list[Line] = [
            *self._rates, *self._fees, *self._factors, *self._doubts, *self._discounts,
            *self._uplifts, *self._disputes,
        ]  # fmt: skip
        matches = [line.match for line in lines]
        self.instants = [ns for match in matches for ns in (match.from_ns, match.to_ns)]
        self.seconds = [second for match in matches for second in match.seconds]
        currencies = {rate.currency for rate in self._rates}
        self.instants += [
            each.from_ns
            for name, dated in (file.currencies or {}).items()
            if name in currencies
            for each in dated
        ]
        if self._package is not None:
            self.instants += self._package.instants
            self.seconds += self._package.seconds

    def price(self, at_ns: int) -> Compiled | Unpriced:
        """Return the price that holds at the moment, with its flags, or why there is none."""
        price = self._compiled(at_ns)
        if isinstance(price, Unpriced):
            return price
        flags = self._flags(at_ns)
        if not flags:
            return price
        doubt = next(iter(self._open_doubts(at_ns)), None)
        other = self._disputed_price(at_ns) if doubt is None else self._instead(doubt, at_ns)
        return replace(price, flags=tuple(flags), other=other)

    def _open_doubts(self, at_ns: int) -> list[Doubt]:
        """Return the doubts that no line of the administrator's decides."""
        decided = {
            name
            for line in self._decisions
            if line.match.holds(at_ns)
            for name in line.match.conditions_named
        }
        return [
            each
            for each in self._doubts
            if each.match.holds(at_ns) and not each.match.conditions_named & decided
        ]

    def _instead(self, doubt: Doubt, at_ns: int) -> Compiled | None:
        conditions = dict(self._kind.conditions) | dict(doubt.instead)
        kind = replace(self._kind, conditions=tuple(sorted(conditions.items())))
        lines = KindLines(kind, self._file, lambda _: self._own, self._data, self._disputed)
        other = lines._compiled(at_ns)
        return None if isinstance(other, Unpriced) else other

    def _dispute(self, base: _Base, at_ns: int) -> Rate | None:
        """Return the second source's price, if it is of this one; the administrator's is final."""
        if base.rate is not None and base.rate.source != shipped.SOURCE:
            return None
        return next(
            (
                rate
                for rate in self._disputes
                if rate.match.holds(at_ns) and self._is_of_tier(rate, at_ns)
            ),
            None,
        )

    def _disputed_price(self, at_ns: int) -> Compiled | None:
        """Return the price with the second source's classes in the place of ours."""
        base = self._base(at_ns)
        rate = None if isinstance(base, Unpriced) else self._dispute(base, at_ns)
        if isinstance(base, Unpriced) or rate is None:
            return None
        parts = {part.meter.name: part for part in (*base.parts.parts, *rate.parts)}
        theirs = base.parts._replace(parts=list(parts.values()))
        named = base.named | rate.match.conditions_named
        other = self._with_changes(_Base(theirs, base.rate, named), at_ns)
        return None if isinstance(other, Unpriced) else other

    def _compiled(self, at_ns: int) -> Compiled | Unpriced:
        base = self._base(at_ns)
        return base if isinstance(base, Unpriced) else self._with_changes(base, at_ns)

    def _with_changes(self, base: _Base, at_ns: int) -> Compiled | Unpriced:
        changes = self._changes(base, at_ns)
        factors = self._factors_on(base, changes, at_ns)
        if self._unknown(Unknown.UNPRICED, base, changes, factors, at_ns):
            return UNKNOWN_CONDITION
        level, note = _level(changes)
        times, multiplied = _times(factors)
        parts, added, _ = _with_fees(base, self._fees_on(base, at_ns))
        price = base.parts._replace(
            price_id=base.parts.price_id + added + multiplied + note,
            parts=[part.scaled(level * times if part.meter.is_tokens else level) for part in parts],
        )
        is_marginal = base.rate is not None and base.rate.is_marginal
        return MarginalPrice.of(price) if is_marginal else compile_price(price)

    def selection(self, at_ns: int) -> Selection:
        """Return the lines that make the price at the moment."""
        chosen = Selection(self._kind, self._priced_kind, self._alias, self._settings)
        base, price = self._base(at_ns), self.price(at_ns)
        reason = price.reason.value if isinstance(price, Unpriced) else ""
        if isinstance(base, Unpriced):
            return chosen._replace(reason=reason)
        changes = self._changes(base, at_ns)
        factors = self._factors_on(base, changes, at_ns)
        _, _, fees = _with_fees(base, self._fees_on(base, at_ns))
        currency = base.rate.currency if base.rate is not None else USD
        return chosen._replace(
            price_id=base.parts.price_id,
            source=base.parts.source,
            rate=base.rate,
            usd=self._file.usd(currency, at_ns) or Fraction(1),
            fees=fees,
            factors=factors,
            changes=changes,
            doubts=self._open_doubts(at_ns),
            flags=self._flags(at_ns),
            reason=reason,
            unknown=self._unknown(Unknown.UNPRICED, base, changes, factors, at_ns),
        )

    def _fees_on(self, base: _Base, at_ns: int) -> list[Fee]:
        return [each for each in self._fees if each.match.holds(at_ns) and base.parts.parts]

    def _base(self, at_ns: int) -> _Base | Unpriced:
        for rate in self._rates:
            if rate.match.holds(at_ns) and (rate.is_any_tier or self._is_of_tier(rate, at_ns)):
                usd = self._file.usd(rate.currency, at_ns)
                if usd is None:
                    return NO_EXCHANGE_RATE
                scale = usd * (1 if rate.level is None else rate.level)
                parts = [part.scaled(scale) for part in rate.parts]
                price = PriceParts(
                    rate.price_id, rate.source, parts, maximum=most_billed(self._priced_kind.model)
                )
                return _Base(price, rate, rate.match.conditions_named)
        if self._package is None:
            is_of_another_tier = any(rate.match.holds(at_ns) for rate in self._rates)
            return UNKNOWN_TIER if is_of_another_tier else UNKNOWN_MODEL
        match = self._package.at(at_ns, self._has_tier_factor(at_ns))
        if isinstance(match, Unpriced):
            return match
        of_package, is_of_tier = match
        return _Base(of_package, None, frozenset({SERVICE_TIER} if is_of_tier else ()))

    def _is_of_tier(self, rate: Rate, at_ns: int) -> bool:
        """Whether the price is one of the calls' tier, or of which a factor makes that."""
        is_standard = self._kind.tier_name == STANDARD
        return bool(rate.match.tier) or is_standard or self._has_tier_factor(at_ns)

    def _has_tier_factor(self, at_ns: int) -> bool:
        return any(each.match.tier and each.match.holds(at_ns) for each in self._factors)

    def _changes(self, base: _Base, at_ns: int) -> list[Change]:
        """Return the administrator's discount and uplift; an entry's own discount replaces that."""
        has_own = base.rate is not None and base.rate.level is not None
        chosen = (None if has_own else _first(self._discounts, at_ns), _first(self._uplifts, at_ns))
        return [each for each in chosen if each is not None]

    def _factors_on(self, base: _Base, changes: Sequence[Change], at_ns: int) -> list[Factor]:
        """Return the factors on the base price: the most specific one of each set of conditions.

        None is about a condition that the price itself, or a change of the administrator's, is
        about.
        """
        taken = set(base.named)
        taken |= {name for each in changes for name, _ in each.match.conditions}
        chosen: dict[frozenset[str], Factor] = {}
        for factor in self._factors:
            named = factor.match.conditions_named
            if factor.match.holds(at_ns) and not named & taken:
                chosen.setdefault(named, factor)
        return list(chosen.values())

    def _unknown(
        self,
        policy: Unknown,
        base: _Base,
        changes: Sequence[Change],
        factors: Sequence[Factor],
        at_ns: int,
    ) -> Conditions:
        """Return the calls' conditions of that policy whose value no price knows."""
        if not self._kind.conditions:
            return ()
        lines: list[Line] = [*changes, *factors]
        lines += [each for each in self._fees if each.match.holds(at_ns)]
        lines += [each for each in self._doubts if each.match.holds(at_ns)]
        priced = base.named.union(*(line.match.conditions_named for line in lines))
        if base.rate is not None and base.rate.source != shipped.SOURCE:
            priced |= {REGION.name}  # an administrator's price holds wherever they do not exclude
        return tuple(
            (name, value)
            for name, value in self._kind.conditions
            if CONDITIONS[name].unknown_of(value) is policy and name not in priced
        )

    def _flags(self, at_ns: int) -> list[str]:
        """Return what is doubtful about the price."""
        flags = [each.flag for each in self._open_doubts(at_ns)]
        base = self._base(at_ns)
        if isinstance(base, Unpriced):
            return flags
        changes = self._changes(base, at_ns)
        factors = self._factors_on(base, changes, at_ns)
        if self._unknown(Unknown.FLAGGED, base, changes, factors, at_ns):
            flags.append(CONDITION_ASSUMED)
        if base.rate is not None and not self._is_of_tier(base.rate, at_ns):
            flags.append(TIER_ASSUMED)
        if self._dispute(base, at_ns) is not None:
            flags.append(PRICE_DISPUTED)
        return list(dict.fromkeys(flags))


def _first(changes: Sequence[Change], at_ns: int) -> Change | None:
    return next((change for change in changes if change.match.holds(at_ns)), None)


def _times(factors: Sequence[Factor]) -> tuple[Fraction, str]:
    times, note = Fraction(1), ""
    for factor in factors:
        times *= factor.times
        note += factor.note
    return times, note


def _with_fees(base: _Base, fees: Sequence[Fee]) -> tuple[list[Part], str, Sequence[Fee]]:
    """Return the parts with the fees, how those that follow from another price do, which count.

    A fee gives way to the price of a line, unless it is about a condition or a tier; not to the
    package's.
    """
    parts = base.parts.parts
    priced = {part.meter.name: part for part in parts}
    added: dict[str, Fee] = {}
    note = ""
    for fee in fees:
        name = fee.meter.name
        is_taken = name in priced and (base.rate is not None or fee.meter.is_tokens)
        if name in added or (is_taken and not fee.match.conditions_named):
            continue
        of = None if fee.of is None else next((p for p in parts if p.meter is fee.of), None)
        if fee.of is not None and of is None:
            continue
        added[name] = fee
        if is_taken:
            note += fee.note
        if of is not None:
            priced[name] = Part(fee.meter, of.scaled(fee.times).bands)
        elif fee.usd is not None:
            priced[name] = Part(fee.meter, ((-1, fee.usd),))
    return list(priced.values()), note, tuple(added.values())


def _level(changes: Sequence[Change]) -> tuple[Fraction, str]:
    level, note = Fraction(1), ""
    for change in changes:
        level, note = level * change.level, note + change.note
    return level, note
