"""What departments are charged inside the organisation: the section `rate_card` of the file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from tallyspan_collector.bills.entry_values import WrongValueError, entries
from tallyspan_collector.config import Section
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.months.lines import month_of

KEYS = ("name", "department", "model", "percent", "fee_usd", "valid_from", "valid_to")
PLACES = Decimal("0.000000000001")
"""Amounts of the ledger have 12 decimals; a margin is rounded to them, half to even."""
_MAX_PERCENT, _MAX_FEE = 10_000, 10**9


@dataclass(frozen=True, slots=True)
class Rate:
    """An entry: a margin in percent of the cost of departments and models, or a monthly fee.

    `department` and `model` are names or globs; months are by their first day, both included.
    """

    name: str
    department: str
    model: str = "*"
    percent: Decimal | None = None
    fee_usd: Decimal | None = None
    valid_from: date = date.min
    valid_to: date = date.max

    def matches(self, month: date, department: str, model: str) -> bool:
        """Return whether the entry is for this, in this month."""
        return (
            self.valid_from <= month <= self.valid_to
            and fnmatchcase(department, self.department)
            and fnmatchcase(model, self.model)
        )


class ChargeItem(NamedTuple):
    """A row of a charge: `cost`, a `margin` with what it is of, or a `fee`; amounts in USD."""

    kind: str
    label: str
    cost_usd: Decimal
    base_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """What is charged: its items, which are exact and add up to it.

    `margin_by_rate` is the margin by number of the rate of a second currency, unrounded.
    """

    items: Sequence[ChargeItem]
    margin_by_rate: Mapping[int, Decimal]
    fee_usd: Decimal = Decimal(0)

    @property
    def charged_usd(self) -> Decimal:
        """Return cost, margins and fee, in USD."""
        return sum((each.cost_usd for each in self.items), Decimal(0))


class Cost(NamedTuple):
    """Cost of a department's calls of a model, at a rate of a second currency (by number)."""

    department: str
    model: str
    rate: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class RateCard:
    """The entries in the order of the file: the first that matches holds."""

    rates: tuple[Rate, ...] = ()

    def charge(self, month: date, costs: Iterable[Cost], department: str | None) -> Charge:
        """Return what is charged for the costs, beside them; their margin is rounded once an entry.

        `department`: whose fee is charged too; None: nobody's, as for a cost centre.
        """
        with localcontext(prec=80):
            return self._charge(month, costs, department)

    def _charge(self, month: date, costs: Iterable[Cost], department: str | None) -> Charge:
        cost = Decimal(0)
        bases: dict[Rate, Decimal] = {}
        by_rate: dict[int, Decimal] = {}
        for each in costs:
            cost += each.cost_usd
            rate = self._first(month, each.department, each.model, is_fee=False)
            if rate is not None and rate.percent is not None:
                bases[rate] = bases.get(rate, Decimal(0)) + each.cost_usd
                margin = each.cost_usd * rate.percent / 100
                by_rate[each.rate] = by_rate.get(each.rate, Decimal(0)) + margin
        items = [ChargeItem("cost", "Cost", cost)]
        for rate in self.rates:
            if rate in bases and rate.percent is not None:
                margin = (bases[rate] * rate.percent / 100).quantize(PLACES, ROUND_HALF_EVEN)
                label = f"{rate.name}: {rate.percent:+f}%"
                items.append(ChargeItem("margin", label, margin, bases[rate]))
        fee = None if department is None else self._first(month, department, "", is_fee=True)
        fee_usd = fee.fee_usd if fee is not None and fee.fee_usd is not None else Decimal(0)
        if fee is not None:
            items.append(ChargeItem("fee", fee.name, fee_usd))
        return Charge(items, by_rate, fee_usd)

    def _first(self, month: date, department: str, model: str, *, is_fee: bool) -> Rate | None:
        for rate in self.rates:
            is_kind = (rate.fee_usd is not None) == is_fee
            if is_kind and rate.matches(month, department, rate.model if is_fee else model):
                return rate
        return None


def of_section(section: Section | None) -> RateCard | None:
    """Return the rate card of a file, None without one. Raises `ConfigError` by line and key."""
    if section is None:
        return None
    return RateCard(entries(section, "entry", lambda _: KEYS, _create))


def _create(values: Mapping[str, Any]) -> Rate:
    if "department" not in values:
        raise WrongValueError("", "an entry needs a department: a name, or a glob such as '*'")
    kinds = [key for key in ("percent", "fee_usd") if key in values]
    if len(kinds) != 1:
        raise WrongValueError("", "an entry needs either percent or fee_usd")
    if kinds == ["fee_usd"] and "model" in values:
        raise WrongValueError("model", "a fee is of a department, whatever its models")
    department, model = str(values["department"]), str(values.get("model", "*"))
    valid_from = _month(values, "valid_from", date.min)
    valid_to = _month(values, "valid_to", date.max)
    if valid_from > valid_to:
        raise WrongValueError("valid_to", "is before valid_from")
    what = "monthly fee" if kinds == ["fee_usd"] else "" if model == "*" else model
    since = "" if valid_from == date.min else f" since {valid_from:%Y-%m}"
    return Rate(
        name=str(values.get("name") or f"{department} {what}".strip() + since),
        department=department,
        model=model,
        percent=_number(values, "percent", -100, _MAX_PERCENT),
        fee_usd=_number(values, "fee_usd", 0, _MAX_FEE),
        valid_from=valid_from,
        valid_to=valid_to,
    )


def _number(values: Mapping[str, Any], key: str, lowest: int, highest: int) -> Decimal | None:
    if key not in values:
        return None
    value = values[key]
    if not isinstance(value, Decimal):
        raise WrongValueError(key, f"must be a number, not {value!r}")
    if not lowest <= value <= highest or value != value.quantize(PLACES):
        raise WrongValueError(key, f"must be {lowest} to {highest}, with 12 decimals at most")
    return value


def _month(values: Mapping[str, Any], key: str, otherwise: date) -> date:
    if key not in values:
        return otherwise
    try:
        return month_of(str(values[key]))
    except ConfigError as error:
        raise WrongValueError(key, str(error)) from None
