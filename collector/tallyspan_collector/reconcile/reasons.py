"""The likely reason of a drift, from what recorded and bill say beside the amounts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from tallyspan_collector.bills.billed import Charge
from tallyspan_collector.reconcile.compare import Line, Reason, is_within, shift_of_days, total
from tallyspan_collector.reconcile.recorded import Recorded
from tallyspan_collector.units.counts import counted

STEADY_DAYS = 3
"""Days on which cost is off by the same part: a price, and not calls that are missing."""
_STEADY = 0.01
_HALF, _DOUBLE = 0.5, 2.0
Finding = tuple[Reason, str]
_OF_THE_BILL = {
    Charge.CREDIT: (Reason.CREDIT, "taken off the bill, and of no call"),
    Charge.TAX: (Reason.TAX, "on top of the bill, and of no call"),
    Charge.PURCHASE: (Reason.PURCHASE, "bought, and of no call: fees, seats, reserved capacity"),
}
"""Of lines that are no use: they are neither recorded nor missing, and in no drift."""


@dataclass(frozen=True, slots=True)
class Period:
    """What reasons are concluded from beside the line itself; `threshold` is a part of billed.

    `owners` are the projects or keys that the ledger has calls of.
    """

    threshold: float
    today: date
    shift: timedelta | None = None
    steady: Mapping[tuple[str, str], float] | None = None
    owners: frozenset[str] = frozenset()


def explained(
    lines: Sequence[Line],
    recorded: Sequence[Recorded],
    zone: ZoneInfo,
    threshold: float,
    now: datetime,
) -> list[Line]:
    """Return the lines with a likely reason where they are not within the threshold."""
    use = [line for line in lines if line.is_use]
    period = Period(
        threshold,
        now.astimezone(zone).date(),
        shift_of_days(recorded, use, zone, threshold),
        _steady(use),
        frozenset(each.project for each in recorded),
    )
    balanced = _balanced(use, threshold)
    result = []
    for line in lines:
        if line.charge in _OF_THE_BILL:
            reason_of_bill, detail = _OF_THE_BILL[line.charge]
            result.append(replace(line, is_within=True, reason=reason_of_bill, detail=detail))
            continue
        within = is_within(line, threshold)
        finding: Finding | None = None
        if not within:
            finding = _reason(line, period)
            if (line.day, line.project) in balanced and finding[0] in {
                Reason.BILLED_APART,
                Reason.PRICE,
            }:
                # Searches and the like: the bill has a line for them, the ledger has them in the
                # calls that used them. The day adds up.
                within, finding = True, (Reason.BILLED_APART, "the day as a whole is within")
        reason, detail = finding or (None, "")
        result.append(replace(line, is_within=within, reason=reason, detail=detail))
    return result


def _balanced(lines: Sequence[Line], threshold: float) -> set[tuple[date, str]]:
    """Return days and projects with lines beside models whose costs agree as a whole."""
    groups: dict[tuple[date, str], list[Line]] = defaultdict(list)
    for line in lines:
        groups[line.day, line.project].append(line)
    return {
        key
        for key, group in groups.items()
        if any(line.is_apart for line in group)
        and is_within(replace(total(group), billed_tokens=None), threshold)
    }


def _steady(lines: Sequence[Line]) -> dict[tuple[str, str], float]:
    """Return billed cost as a part of recorded, of models where it is the same on all days."""
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in lines:
        if line.billed_cost_usd and line.recorded_cost_usd:
            ratio = float(line.billed_cost_usd / line.recorded_cost_usd)
            ratios[line.model, line.project].append(ratio)
    return {
        key: sum(values) / len(values)
        for key, values in ratios.items()
        if len(values) >= STEADY_DAYS and max(values) - min(values) <= _STEADY * max(values)
    }


def _reason(line: Line, period: Period) -> Finding:
    if line.is_apart:
        return Reason.BILLED_APART, "the bill names no model for it; the ledger has it in the calls"
    if line.project and line.project not in period.owners:
        return Reason.UNKNOWN_OWNER, f"the ledger has no call of {line.project}"
    if period.shift is not None:
        return Reason.TIME_ZONE, f"days that begin {_hours(period.shift)} fit the bill"
    if not line.recorded_calls:
        return _missing(line, "nothing of this model was recorded on that day")
    if not line.billed_tokens and not line.billed_cost_usd and line.billed_requests is None:
        return _surplus(line, period, "nothing of this model is on the bill of that day")
    if line.billed_tokens is None:
        return _by_cost_alone(line, period)
    if abs(line.recorded_tokens - line.billed_tokens) > period.threshold * line.billed_tokens:
        return _by_tokens(line, line.billed_tokens, period)
    return _by_price(line, period)


def _by_tokens(line: Line, billed: int, period: Period) -> Finding:
    requests = line.billed_requests
    off = line.recorded_tokens - billed
    lacking = None if requests is None else requests - line.recorded_calls
    has_all = lacking is not None and abs(lacking) <= period.threshold * (requests or 0)
    if off < 0 and line.unknown_calls and (has_all or lacking is None):
        return Reason.UNKNOWN_USAGE, (
            f"{line.unknown_calls:,} of {line.recorded_calls:,} calls came without token counts"
        )
    if line.estimated_calls and (
        has_all or (lacking is None and abs(off) <= line.estimated_tokens)
    ):
        return Reason.ESTIMATED_USAGE, (
            f"estimates: {counted(line.estimated_calls, 'call')}, {line.estimated_tokens:,} tokens"
        )
    if off > 0:
        return _surplus(line, period, f"{off:,} tokens more than billed")
    if lacking is not None and lacking > 0:
        return _missing(line, f"{lacking:,} of {requests:,} requests were not recorded")
    return _missing(line, f"{-off:,} tokens were not recorded")


def _missing(line: Line, what: str) -> Finding:
    return Reason.MISSING_CALLS, f"{what}; {line.largest}" if line.largest else what


def _surplus(line: Line, period: Period, what: str) -> Finding:
    if line.day >= period.today - timedelta(days=1):
        return Reason.LATE_BILL, f"{what}, and the provider's figures of that day may be incomplete"
    return Reason.EXTRA_CALLS, f"{what}: another account's calls, or calls it did not bill"


def _by_price(line: Line, period: Period) -> Finding:
    if line.unpriced_calls:
        return Reason.UNPRICED, (
            f"{counted(line.unpriced_calls, 'call')} without a price: see tallyspan prices missing"
        )
    others = [
        f"{tier}: {ours:,} tokens recorded, {theirs:,} billed"
        for tier, ours, theirs in line.tiers
        if abs(ours - theirs) > period.threshold * (line.billed_tokens or 0)
    ]
    if others:
        return Reason.SERVICE_TIER, "; ".join(others)
    priority = sum(theirs for tier, _, theirs in line.tiers if tier == "priority")
    if priority and not line.billed_cost_usd:
        return Reason.SERVICE_TIER, "the bill has tokens of the priority tier and no cost of them"
    ratio = _ratio(line)
    if not line.tiers and ratio is not None:
        for factor, tier in ((_HALF, "batch or flex"), (_DOUBLE, "priority or fast")):
            if abs(ratio - factor) <= _STEADY * factor:
                return Reason.SERVICE_TIER, (
                    f"billed is {factor:g} times recorded: {tier}, which the calls did not say"
                )
    return _price(line)


def _price(line: Line) -> Finding:
    ratio = _ratio(line)
    if ratio is None:
        return Reason.PRICE, "one of the two is $0: a free allowance, or a price of 0"
    # As drift is everywhere: recorded less billed, as a part of billed.
    drift = (1 / ratio - 1) * 100
    return Reason.PRICE, (
        f"recorded is {abs(drift):.2f} % {'more' if drift > 0 else 'less'} than billed for the same"
        f" tokens: {'a discount' if drift > 0 else 'a price'} that the price file does not have"
    )


def _by_cost_alone(line: Line, period: Period) -> Finding:
    if line.unpriced_calls:
        return _by_price(line, period)
    steady = (period.steady or {}).get((line.model, line.project))
    if steady is not None:
        return _by_price(line, period)
    if line.unknown_calls:
        return Reason.UNKNOWN_USAGE, f"{counted(line.unknown_calls, 'call')} without token counts"
    if line.estimated_calls:
        return (
            Reason.ESTIMATED_USAGE,
            f"{counted(line.estimated_calls, 'call')} with estimated tokens",
        )
    off = line.recorded_cost_usd - (line.billed_cost_usd or Decimal(0))
    if off > 0:
        return _surplus(line, period, f"${off:f} more than billed")
    return _missing(line, "the bill has no tokens to tell, and the part differs by day")


def _ratio(line: Line) -> float | None:
    if not line.billed_cost_usd or not line.recorded_cost_usd:
        return None
    return float(line.billed_cost_usd / line.recorded_cost_usd)


def _hours(shift: timedelta) -> str:
    hours = abs(shift) / timedelta(hours=1)
    return f"{hours:g} hours {'later' if shift > timedelta() else 'earlier'}"
