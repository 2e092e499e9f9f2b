"""How a price was made, step by step, each with the line it comes from: for people to check."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any, NamedTuple

from tallyspan_collector.pricing.adjustments import (
    MILLION,
    Allowance,
    Doubt,
    Factor,
    Fee,
    Setting,
    about,
)
from tallyspan_collector.pricing.match import ALWAYS, Conditions, Kind
from tallyspan_collector.pricing.origin import Origin
from tallyspan_collector.pricing.rates import USD, Alias, Change, Rate
from tallyspan_collector.pricing.timeline import moment

_DIGITS = 12


class StepKind(StrEnum):
    """What a step does."""

    SETTING = "setting"
    PRICED_AS = "priced_as"
    PRICE = "price"
    EXCHANGE_RATE = "exchange_rate"
    FEE = "fee"
    FACTOR = "factor"
    DISCOUNT = "discount"
    UPLIFT = "uplift"
    ALLOWANCE = "allowance"
    FLAG = "flag"
    UNPRICED = "unpriced"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `amount` is its figure or name as text; `about` are the conditions it is for.

    `meter`: what a fee or an allowance is of. `since` is a day or time (UTC); empty: always.
    `origin` is None for what follows from no line of a file.
    """

    kind: StepKind
    amount: str
    about: Conditions = ()
    meter: str = ""
    since: str = ""
    origin: Origin | None = None

    def values(self) -> dict[str, Any]:
        """Return the step as JSON can carry it."""
        origin = None if self.origin is None else asdict(self.origin)
        return {
            "kind": self.kind.value,
            "text": self.text,
            "amount": self.amount,
            "meter": self.meter,
            "about": dict(self.about),
            "since": self.since,
            "origin": origin,
        }

    @property
    def text(self) -> str:
        """Return the step in words, without its origin."""
        named = ", ".join(f"{name} {value}" for name, value in self.about)
        since = f" since {self.since}" if self.since else ""
        where = f" for {named}" if named else ""
        match self.kind:
            case StepKind.SETTING:
                return f"set: {named}"
            case StepKind.PRICED_AS:
                return f"priced as {self.amount}"
            case StepKind.PRICE:
                return f"price {self.amount}{where}{since}"
            case StepKind.EXCHANGE_RATE:
                return f"exchange rate: {self.amount}"
            case StepKind.FEE:
                return f"fee: {self.meter} {self.amount}{where}{since}"
            case StepKind.FACTOR:
                return f"factor: x {self.amount}{where}{since}"
            case StepKind.DISCOUNT | StepKind.UPLIFT:
                return f"{self.kind.value}: {self.amount}{where}{since}"
            case StepKind.ALLOWANCE:
                return f"allowance: {self.meter} {self.amount}"
            case StepKind.FLAG:
                other = f"; the other cost is that with {named}" if named else ""
                return f"flag: {self.amount}{other}"
            case StepKind.UNPRICED:
                return f"no price: {self.amount}{where}"


class Selection(NamedTuple):
    """The lines that make a price of one kind of calls at a moment.

    `reason` is why there is no price, `unknown` the conditions that none knows. `flags` without a
    doubt follow from no line. `usd` is for one of the price's currency; `rate` is None where the
    price is the package's.
    """

    kind: Kind
    priced_kind: Kind
    alias: Alias | None
    settings: Sequence[Setting]
    price_id: str = ""
    source: str = ""
    rate: Rate | None = None
    usd: Fraction = Fraction(1)
    fees: Sequence[Fee] = ()
    factors: Sequence[Factor] = ()
    changes: Sequence[Change] = ()
    doubts: Sequence[Doubt] = ()
    flags: Sequence[str] = ()
    reason: str = ""
    unknown: Conditions = ()


def steps(
    selection: Selection, used: Container[str] | None, allowance: Allowance | None
) -> list[Step]:
    """Return the steps, in the order they are taken.

    `used` are the meters of the call: fees of others are left out; None: all fees.
    """
    return [
        *_names(selection),
        *_price(selection),
        *(
            Step(
                StepKind.FEE,
                _fee(fee),
                about(fee.match),
                fee.meter.name,
                day(fee.match.from_ns),
                fee.origin,
            )
            for fee in selection.fees
            if used is None or fee.meter.name in used
        ),
        *(
            Step(
                StepKind.FACTOR,
                number(each.times),
                about(each.match),
                since=day(each.match.from_ns),
                origin=each.origin,
            )
            for each in selection.factors
        ),
        *(_change(each) for each in selection.changes),
        *_allowance(allowance),
        *_flags(selection),
        *_reason(selection),
    ]


def _names(selection: Selection) -> Iterator[Step]:
    seen: set[str] = set()
    for each in selection.settings:
        values = tuple(pair for pair in each.values if pair[0] not in seen)
        seen |= {name for name, _ in values}
        if values:
            yield Step(StepKind.SETTING, "", values, origin=each.origin)
    kind, other = selection.kind, selection.priced_kind
    if (kind.provider, kind.model) != (other.provider, other.model):
        origin = None if selection.alias is None else selection.alias.origin
        yield Step(StepKind.PRICED_AS, f"{other.provider}/{other.model}", origin=origin)


def _price(selection: Selection) -> Iterator[Step]:
    rate = selection.rate
    if rate is None:
        if selection.price_id:
            since = selection.price_id.partition("@")[2]
            origin = Origin(selection.source)
            yield Step(StepKind.PRICE, selection.price_id, since=since, origin=origin)
        return
    since = day(rate.match.from_ns)
    yield Step(
        StepKind.PRICE, selection.price_id, about(rate.match), since=since, origin=rate.origin
    )
    if rate.currency != USD:
        yield Step(StepKind.EXCHANGE_RATE, f"{number(selection.usd)} USD for one {rate.currency}")
    if rate.level is not None:
        percent = f"{number((1 - rate.level) * 100)} %"
        yield Step(StepKind.DISCOUNT, percent, origin=rate.origin)


def _fee(fee: Fee) -> str:
    if fee.of is not None:
        return f"{number(fee.times)} x {fee.of.price_key}"
    usd = Fraction(0) if fee.usd is None else fee.usd
    if fee.meter.is_tokens:
        return f"{number(usd * MILLION)} USD a million"
    return f"{number(usd)} USD each"


def _change(change: Change) -> Step:
    is_less = change.level < 1
    return Step(
        StepKind.DISCOUNT if is_less else StepKind.UPLIFT,
        f"{number(abs(1 - change.level) * 100)} %",
        about(change.match),
        since=day(change.match.from_ns),
        origin=change.origin,
    )


def _allowance(allowance: Allowance | None) -> Iterator[Step]:
    if allowance is not None:
        amount = f"{allowance.free} free a {allowance.every}, shared as {allowance.group}"
        yield Step(StepKind.ALLOWANCE, amount, meter=allowance.meter.name, origin=allowance.origin)


def _flags(selection: Selection) -> Iterator[Step]:
    for each in selection.doubts:
        yield Step(StepKind.FLAG, each.flag, each.instead, origin=each.origin)
    named = {each.flag for each in selection.doubts}
    for flag in selection.flags:
        if flag not in named:
            yield Step(StepKind.FLAG, flag)


def _reason(selection: Selection) -> Iterator[Step]:
    if selection.reason:
        yield Step(StepKind.UNPRICED, selection.reason, selection.unknown)


def day(at_ns: int) -> str:
    """Return a moment as a day, or with its time where it is not midnight; empty: no limit."""
    if at_ns in ALWAYS:
        return ""
    at = moment(at_ns)
    return at.strftime("%Y-%m-%d" if at_ns % (86_400 * 10**9) == 0 else "%Y-%m-%dT%H:%M:%SZ")


def number(value: Fraction) -> str:
    """Return the number without zeros at its end; beyond twelve places it is rounded."""
    text = f"{Decimal(value.numerator) / Decimal(value.denominator):.{_DIGITS}f}"
    return text.rstrip("0").rstrip(".")
