"""What a bill has and the ledger has not, by day, model, owner and department, in pico-dollars.

By day, model (or line without a model) and owner it is what is billed less what is recorded: so
recorded and true-up are together what is billed, whatever both name differently.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import NamedTuple

from tallyspan_collector.bills.billed import Billed, model_key, model_label
from tallyspan_collector.booked.shares import apportion
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.reconcile.rule import SHARE
from tallyspan_collector.true_up.recorded import Recorded
from tallyspan_collector.true_up.scope import Scope

_PICO = Decimal("0.000000000001")
_OF_DEPARTMENT = "department"


class Charge(NamedTuple):
    """A line of a bill; below 0: a credit. `item` names it where it has no model."""

    day: date
    model: str
    item: str
    owner: str
    picousd: int


class Line(NamedTuple):
    """Recorded against billed of a day, model (or item) and owner, in pico-dollars."""

    day: date
    model: str
    item: str
    owner: str
    recorded: int
    billed: int

    @property
    def true_up(self) -> int:
        """Return what is booked so that both are the same."""
        return self.billed - self.recorded


class Payer(NamedTuple):
    """Whose a part of a true-up is, and who says so: `rule`, `share` or nobody."""

    tenant: str
    department: str
    department_source: str


class Due(NamedTuple):
    """A part of the true-up of a line."""

    line: Line
    payer: Payer
    provider: str
    picousd: int


def charges(lines: Iterable[Billed]) -> list[Charge]:
    """Return what lines of a bill cost, to the pico-dollar.

    Raises `ConfigError` for a bill that states no costs at all.
    """
    there = [line for line in lines if not line.is_empty]
    costs = [line for line in there if line.cost_usd is not None]
    if there and not costs:
        raise ConfigError(
            "the bill states no costs: the ledger can be made equal to one with dollars only"
        )
    return [
        Charge(
            line.day,
            model_label(line.model) if line.model else "",
            "" if line.model else line.item,
            line.project,
            int((line.cost_usd or Decimal(0)).quantize(_PICO, ROUND_HALF_EVEN).scaleb(12)),
        )
        for line in costs
    ]


def lines(scope: Scope, billed: Sequence[Charge], recorded: Sequence[Recorded]) -> list[Line]:
    """Return both sides of every day, model (or item) and owner, in that order.

    A day whose bill names no model at all is compared as a whole, if anything is recorded of it.
    """
    items: dict[date, set[str]] = defaultdict(set)
    for charge in billed:
        items[charge.day].add(charge.item)
    with_models = {charge.day for charge in billed if charge.model}
    days = {each.day for each in recorded} - with_models
    whole = {
        day: names.pop() if len(names) == 1 else "" for day, names in items.items() if day in days
    }
    sums: dict[_Key, list[int]] = defaultdict(lambda: [0, 0])
    names: dict[_Key, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for charge in billed:
        item = whole.get(charge.day, charge.item)
        key = _Key(charge.day, model_key(charge.model) if charge.model else (), item, charge.owner)
        sums[key][1] += charge.picousd
        names[key][charge.model] += 0
    for each in recorded:
        model = "" if each.day in whole else each.model
        key = _Key(
            each.day,
            model_key(model) if model else (),
            whole.get(each.day, ""),
            each.owner if scope.recorded_as else "",
        )
        sums[key][0] += each.picousd
        names[key][model] += each.picousd
    return [
        Line(key.day, _name(names[key]), key.item, key.owner, recorded_sum, billed_sum)
        for key, (recorded_sum, billed_sum) in sorted(sums.items())
    ]


def due(scope: Scope, lines_of_bill: Sequence[Line], recorded: Sequence[Recorded]) -> list[Due]:
    """Return whose the true-up of each line is; the parts of a line add up to it."""
    uses = _Uses(recorded, is_split=bool(scope.recorded_as))
    result = []
    for line in lines_of_bill:
        if not line.true_up:
            continue
        provider = uses.provider(line) or (scope.providers[0] if len(scope.providers) == 1 else "")
        if department := _by_rule(scope, line):
            parts = {Payer(uses.tenant(line, department), department, "rule"): line.true_up}
        else:
            weights = uses.weights(line) if scope.rest == SHARE else {}
            parts = apportion(line.true_up, weights or {Payer("", "", ""): Fraction(1)})
        result += [Due(line, payer, provider, part) for payer, part in parts.items() if part]
    return result


class _Key(NamedTuple):
    day: date
    model: tuple[str, ...]
    item: str
    owner: str


def _name(names: Mapping[str, int]) -> str:
    """Return what a line is called: as the ledger calls most of it, else as the bill does."""
    return max(names, key=lambda name: (names[name], name)) if names else ""


def _by_rule(scope: Scope, line: Line) -> str:
    department = scope.departments.get(line.owner, "") if line.owner else ""
    if not department and scope.recorded_as == _OF_DEPARTMENT:
        department = line.owner
    return department


class _Uses:
    """What departments used, for shares: of the same model, else of the owner, else of the day."""

    def __init__(self, recorded: Sequence[Recorded], *, is_split: bool) -> None:
        self._is_split = is_split
        self._weights: dict[tuple[object, ...], dict[Payer, Fraction]] = defaultdict(dict)
        self._providers: dict[tuple[object, ...], dict[str, int]] = defaultdict(
            lambda: defaultdict(int)
        )
        for each in recorded:
            payer = Payer(each.tenant, each.department, "share")
            for place in self._places(each.day, each.model, each.owner):
                weights = self._weights[place]
                weights[payer] = weights.get(payer, Fraction(0)) + each.picousd
                self._providers[place][each.provider] += each.picousd

    def weights(self, line: Line) -> dict[Payer, Fraction]:
        """Return what each payer used of the nearest place that anything is recorded of."""
        for place in self._places(line.day, line.model, line.owner):
            positive = {each: cost for each, cost in self._weights[place].items() if cost > 0}
            if positive:
                return positive
        return {}

    def tenant(self, line: Line, department: str) -> str:
        """Return the one organisation that has the department on that day, or any; else empty."""
        payers = self._weights[line.day,]
        of_department = {each.tenant for each in payers if each.department == department}
        tenants = of_department or {each.tenant for each in payers}
        return tenants.pop() if len(tenants) == 1 else ""

    def provider(self, line: Line) -> str:
        """Return the provider that most of the nearest place is of; empty: nothing is recorded."""
        for place in self._places(line.day, line.model, line.owner):
            costs = self._providers[place]
            if costs:
                return max(costs, key=lambda name: (costs[name], name))
        return ""

    def _places(self, day: date, model: str, owner: str) -> tuple[tuple[object, ...], ...]:
        """Return the nearest place first; without `is_split` the ledger knows of no owners."""
        key = model_key(model) if model else ()
        owner = owner if self._is_split else ""
        return (day, owner, key), (day, owner), (day,)
