"""Commitments that the collector books by itself: each day when it is over.

It books what is not booked yet, completes a run that was broken off, and moves shares as calls come
late. What a changed price file makes of days that are booked already is left to a person, as with
prices of calls: two collectors with different files would otherwise book against each other for
ever.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_collector.booked.commitments import KIND, Spread, booked_days, first_bookable, usd
from tallyspan_collector.booked.cover import Cover
from tallyspan_collector.booked.run import BRIEF_PATIENCE_SECONDS, Kind, run
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.commitments import Commits, days_between
from tallyspan_collector.pricing.rates import PriceFile

Result = TypeVar("Result")
_LATEST_RUN = f"""
SELECT min(toDate32(calls_from)), max(toDate32(calls_to)), countIf(state = 'finished') AS finished
FROM price_changes WHERE kind = '{KIND}' AND run_id = (
    SELECT argMax(run_id, started_at) FROM price_changes WHERE kind = '{KIND}')
HAVING finished = 0 AND count() > 0
"""  # noqa: S608  own names
LATE_DAYS = 7
"""Shares of days that are booked are looked at again for so long, because of late calls."""
MAX_DAYS = 45
"""As far back days are booked that are not yet: an outage, or a commitment written down late."""


@dataclass(frozen=True, slots=True)
class Days:
    """Days to be booked, and those that are booked otherwise than the price file has them."""

    due: list[date] = field(default_factory=list)
    differing: list[date] = field(default_factory=list)


def book_finished(client: Client, book: PriceBook, now: datetime | None = None) -> tuple[int, int]:
    """Book the days that are over; return how many entries, and how many days differ from the file.

    Raises StoreError if other changes are being booked at the moment, and what the store raises.
    """
    if not book.file.commitments:
        return 0, 0
    yesterday = (now or datetime.now(UTC)).date() - timedelta(days=1)
    first = max(yesterday - timedelta(days=MAX_DAYS - 1), first_bookable(client, yesterday))
    days = _days(client, book.file, first, yesterday)
    differing = len(days.differing)
    if not days.due:
        return 0, differing
    cover = Cover(book, days.due, now)
    if any(cover.entries(call) for call in cover.calls(client)):
        _apply(client, Cover(book, days.due, now), "a commitment pays for calls of a finished day")
    spread = Spread(book.file, days.due)
    if any(True for _ in spread.calls(client)):  # without the lock: often there is nothing to do
        return _apply(client, Spread(book.file, days.due), "a day is over").entries, differing
    return 0, differing


def _apply(client: Client, kind: Kind[Result], reason: str) -> Result:
    return run(
        client,
        kind,
        is_applied=True,
        changed_by="tallyspan",
        reason=reason,
        patience_seconds=BRIEF_PATIENCE_SECONDS,
    )


def _days(client: Client, file: PriceFile, first: date, yesterday: date) -> Days:
    booked: dict[date, dict[str, Decimal]] = defaultdict(dict)
    for (day, name), cost in booked_days(client, first, yesterday).items():
        booked[day][name] = cost
    days = Days()
    broken_off = {
        day
        for first_day, end, _ in tuples_of(client, _LATEST_RUN)
        for day in days_between(first_day, end - timedelta(days=1))
    }
    for day in days_between(first, yesterday):
        costs = costs_of(file, day)
        minimums = {each.name for each in file.commitments if each.kind is Commits.MINIMUM}
        is_other = any(
            booked[day][name] != costs.get(name) for name in booked[day].keys() - minimums
        )
        if is_other and day not in broken_off:
            days.differing.append(day)
        elif is_other or costs.keys() - booked[day].keys() or (yesterday - day).days < LATE_DAYS:
            days.due.append(day)
    return days


def costs_of(file: PriceFile, day: date) -> Mapping[str, Decimal]:
    """Return the cost of each commitment of a day in USD, without minimums; none is 0."""
    costs: dict[str, Decimal] = defaultdict(Decimal)
    for each in file.commitments:
        if amount := each.cost_picousd(day, file):
            costs[each.name] += usd(amount)
    return costs
