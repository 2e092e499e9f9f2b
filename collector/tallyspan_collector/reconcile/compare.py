"""Recorded against billed, line by line: a line is a day, a model and, if asked for, a project."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from tallyspan_collector.bills.billed import Billed, Charge, added, model_key, model_label
from tallyspan_collector.pricing.tier import tier_name
from tallyspan_collector.reconcile.recorded import MARGIN, Recorded

CENT = Decimal("0.01")
"""Costs may differ by less than that, whatever the threshold: bills are rounded."""


class Reason(StrEnum):
    """Why recorded and billed are probably not the same."""

    MISSING_CALLS = "missing_calls"
    EXTRA_CALLS = "extra_calls"
    SERVICE_TIER = "service_tier"
    PRICE = "price"
    UNPRICED = "unpriced"
    ESTIMATED_USAGE = "estimated_usage"
    UNKNOWN_USAGE = "unknown_usage"
    TIME_ZONE = "time_zone"
    BILLED_APART = "billed_apart"
    LATE_BILL = "late_bill"
    UNKNOWN_OWNER = "unknown_owner"
    CREDIT = "credit"
    TAX = "tax"
    PURCHASE = "purchase"


TO_DO = {
    Reason.MISSING_CALLS: "find the service, by project and key where the bill tells them;"
    " tallyspan import books the rest",
    Reason.EXTRA_CALLS: "narrow to the account of the bill: --endpoint, --ledger-provider",
    Reason.SERVICE_TIER: "compare a call's tier with the bill: tallyspan explain",
    Reason.PRICE: "write the contract's price into the price file, then tallyspan reprice",
    Reason.UNPRICED: "tallyspan prices missing names them",
    Reason.ESTIMATED_USAGE: "let the service ask for usage with its streams",
    Reason.UNKNOWN_USAGE: "let the service ask for usage with its streams",
    Reason.TIME_ZONE: "of a file: name the zone of its days, --zone; an API's days are UTC: look at"
    " the clocks of the senders",
    Reason.BILLED_APART: "nothing, where the day adds up",
    Reason.LATE_BILL: "compare again in two days",
    Reason.UNKNOWN_OWNER: "say what the ledger calls it: --name ID=NAME; where it has that name,"
    " find the service",
    Reason.CREDIT: "nothing: it is of the bill, and of no call",
    Reason.TAX: "nothing: prices are before tax",
    Reason.PURCHASE: "write reserved capacity and seats into the price file, under commitments",
}
"""What brings both together."""


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison. Drifts are parts of what was billed; None: there is nothing to divide by.

    `billed_*` None: the bill does not say. `tiers` are recorded and billed tokens by tier.
    `largest` says of which project and key of the bill the largest part of the line is.
    """

    day: date
    model: str
    project: str = ""
    recorded_calls: int = 0
    recorded_tokens: int = 0
    recorded_cost_usd: Decimal = Decimal(0)
    billed_requests: int | None = None
    billed_tokens: int | None = None
    billed_cost_usd: Decimal | None = None
    unpriced_calls: int = 0
    estimated_calls: int = 0
    estimated_tokens: int = 0
    unknown_calls: int = 0
    is_apart: bool = False
    tiers: tuple[tuple[str, int, int], ...] = ()
    charge: Charge = Charge.USAGE
    largest: str = ""
    reason: Reason | None = None
    detail: str = ""
    is_within: bool = True

    @property
    def is_use(self) -> bool:
        """Whether it is of use, and no credit, tax or purchase of the bill itself."""
        return self.charge is Charge.USAGE

    @property
    def token_drift(self) -> float | None:
        """Recorded tokens less billed, as a part of billed; None for what is no use."""
        return _drift(self.recorded_tokens, self.billed_tokens) if self.is_use else None

    @property
    def cost_drift(self) -> float | None:
        """Recorded cost less billed, as a part of billed; None for what is no use."""
        return _drift(self.recorded_cost_usd, self.billed_cost_usd) if self.is_use else None


def compare(
    recorded: Sequence[Recorded],
    billed: Sequence[Billed],
    first: date,
    last: date,
    zone: ZoneInfo,
) -> list[Line]:
    """Return the lines of the days, by day and model, without reasons.

    A model that a bill with tokens (or costs) does not name has 0 of them.
    """
    labels: dict[tuple[str, ...], str] = {}
    ours: dict[_Key, list[Recorded]] = defaultdict(list)
    theirs: dict[_Key, list[Billed]] = defaultdict(list)
    for each in recorded:
        day = each.at.astimezone(zone).date()
        if first <= day <= last:
            ours[day, labelled(labels, each.model), each.project].append(each)
    for line in billed:
        if not line.is_empty:
            name = labelled(labels, line.model) if line.model else line.item
            theirs[line.day, name, line.project].append(line)
    has_tokens = any(line.tokens is not None for line in billed)
    has_costs = any(line.cost_usd is not None for line in billed)
    return [
        _line(key, ours.get(key, ()), theirs.get(key, ()), has_tokens, has_costs)
        for key in sorted(ours.keys() | theirs.keys())
    ]


def labelled(labels: dict[tuple[str, ...], str], model: str) -> str:
    """Return one name for what bill and ledger call a model: the first that was met."""
    return labels.setdefault(model_key(model), model_label(model))


def is_within(line: Line, threshold: float) -> bool:
    """Whether recorded and billed are as near to each other as asked for."""
    recorded, billed = line.recorded_cost_usd, line.billed_cost_usd
    if billed is not None and max(abs(recorded), abs(billed)) < CENT and not line.unpriced_calls:
        return True
    is_near = billed is None or abs(recorded - billed) < CENT
    return (is_near or _is_small(line.cost_drift, threshold)) and (
        line.billed_tokens is None or _is_small(line.token_drift, threshold)
    )


def _is_small(drift: float | None, threshold: float) -> bool:
    return drift is not None and abs(drift) <= threshold


def total(lines: Sequence[Line]) -> Line:
    """Return the sum of the lines, which is of use; what none of them says stays None."""
    requests = [n for line in lines if (n := line.billed_requests) is not None]
    tokens = [n for line in lines if (n := line.billed_tokens) is not None]
    costs = [usd for line in lines if (usd := line.billed_cost_usd) is not None]
    return Line(
        day=lines[0].day if lines else date.min,
        model="",
        recorded_calls=sum(line.recorded_calls for line in lines),
        recorded_tokens=sum(line.recorded_tokens for line in lines),
        recorded_cost_usd=sum((line.recorded_cost_usd for line in lines), Decimal(0)),
        billed_requests=sum(requests) if requests else None,
        billed_tokens=sum(tokens) if tokens else None,
        billed_cost_usd=sum(costs, Decimal(0)) if costs else None,
    )


def shift_of_days(
    recorded: Sequence[Recorded], lines: Sequence[Line], zone: ZoneInfo, threshold: float
) -> timedelta | None:
    """Return how much later than `zone` has it the bill's days begin, if that explains the drift.

    None: the days fit as they are, or no shift makes them fit.
    """
    billed: dict[date, Decimal] = defaultdict(Decimal)
    by_tokens = any(line.billed_tokens for line in lines)
    for line in lines:
        amount = line.billed_tokens if by_tokens else line.billed_cost_usd
        billed[line.day] += Decimal(amount or 0)
    slots: dict[datetime, Decimal] = defaultdict(Decimal)
    for each in recorded:
        slots[each.at] += Decimal(each.tokens) if by_tokens else each.cost_usd
    whole = sum(billed.values(), Decimal(0))
    if len(billed) < 2 or not whole:  # noqa: PLR2004  one day shifted is one day with other calls
        return None
    half_hours = MARGIN // timedelta(minutes=30)
    errors = {
        shift: _error(slots, billed, zone, shift)
        for number in range(-half_hours, half_hours + 1)
        for shift in (timedelta(minutes=30 * number),)
    }
    as_is, best = (
        errors[timedelta()],
        min(errors, key=lambda s: (errors[s], s.seconds % 3600, abs(s))),
    )
    allowed = whole * Decimal(str(threshold))
    if as_is <= allowed or errors[best] > allowed or errors[best] * 5 > as_is:
        return None
    return best


_Key = tuple[date, str, str]


def _error(
    slots: Mapping[datetime, Decimal],
    billed: Mapping[date, Decimal],
    zone: ZoneInfo,
    shift: timedelta,
) -> Decimal:
    days: dict[date, Decimal] = defaultdict(Decimal)
    for at, amount in slots.items():
        days[(at - shift).astimezone(zone).date()] += amount
    return sum((abs(days[day] - amount) for day, amount in billed.items()), Decimal(0))


def _line(
    key: _Key,
    ours: Sequence[Recorded],
    theirs: Sequence[Billed],
    has_tokens: bool,
    has_costs: bool,
) -> Line:
    day, model, project = key
    is_apart = bool(theirs) and not any(line.model for line in theirs)
    tokens, cost = added(theirs, "tokens"), added(theirs, "cost_usd")
    if not is_apart:
        tokens = 0 if tokens is None and has_tokens else tokens
        cost = Decimal(0) if cost is None and has_costs else cost
    requests = added(theirs, "requests")
    return Line(
        day=day,
        model=model,
        project=project,
        recorded_calls=sum(each.calls for each in ours),
        recorded_tokens=sum(each.tokens for each in ours),
        recorded_cost_usd=sum((each.cost_usd for each in ours), Decimal(0)),
        billed_requests=None if requests is None else int(requests),
        billed_tokens=None if tokens is None else int(tokens),
        billed_cost_usd=None if cost is None else Decimal(cost),
        unpriced_calls=sum(each.unpriced_calls for each in ours),
        estimated_calls=sum(each.estimated_calls for each in ours),
        estimated_tokens=sum(each.estimated_tokens for each in ours),
        unknown_calls=sum(each.unknown_calls for each in ours),
        is_apart=is_apart,
        tiers=_tiers(ours, theirs),
        charge=_charge(theirs, cost) if is_apart else Charge.USAGE,
        largest=_largest(theirs),
    )


def _charge(lines: Sequence[Billed], cost: "int | Decimal | None") -> Charge:
    """Return what a line without a model is for; what is below 0 is a credit, whatever it says."""
    charge = lines[0].charge
    return Charge.CREDIT if charge is Charge.USAGE and cost is not None and cost < 0 else charge


def _largest(lines: Sequence[Billed]) -> str:
    """Return the project and key that most of the lines is of, empty where the bill tells none."""
    amounts: dict[str, Decimal] = defaultdict(Decimal)
    by_tokens = any(line.tokens and line.billed_to for line in lines)
    for line in lines:
        if line.billed_to:
            amounts[line.billed_to] += Decimal((line.tokens if by_tokens else line.cost_usd) or 0)
    whole = sum(amounts.values(), Decimal(0))
    if whole <= 0:
        return ""
    name, amount = max(amounts.items(), key=lambda item: (item[1], item[0]))
    return f"{100 * amount / whole:.0f} % of the bill's is of {name}"


def _tiers(
    recorded: Sequence[Recorded], billed: Sequence[Billed]
) -> tuple[tuple[str, int, int], ...]:
    """Return tier, recorded and billed tokens; nothing if the bill does not tell tiers apart."""
    if not any(line.tier for line in billed if line.tokens is not None):
        return ()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for each in recorded:
        counts[tier_name(each.tier)][0] += each.tokens
    for line in billed:
        counts[tier_name(line.tier)][1] += line.tokens or 0
    rows = sorted(counts.items())
    return tuple((tier or "standard", ours, theirs) for tier, (ours, theirs) in rows)


def _drift(recorded: int | Decimal, billed: int | Decimal | None) -> float | None:
    if billed is None or billed < 0 or (not billed and recorded):
        return None
    return float((Decimal(recorded) - billed) / billed) if billed else 0.0
