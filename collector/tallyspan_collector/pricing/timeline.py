"""Which price holds at a moment, where prices change at instants and at hours of the week."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time

from tallyspan_clickhouse.moments import of_nanoseconds
from tallyspan_collector.pricing.cost import UNKNOWN_MODEL, Unpriced
from tallyspan_collector.pricing.marginal import MarginalPrice
from tallyspan_collector.pricing.price import Price

NS = 10**9
DAY_NS = 86_400 * NS
DAY_SECONDS, DAYS = 86_400, 7
WEEK_SECONDS = DAYS * DAY_SECONDS
_MONDAY_SECONDS = 3 * DAY_SECONDS
"""From Monday to the day 1970 began with."""


Compiled = Price | MarginalPrice
"""A price that can be applied to a call."""


class Timeline:
    """The prices of one kind of call, each compiled when a call first needs it.

    `instants` (nanoseconds since 1970) and `seconds` (of the week, from Monday, UTC) are where the
    price may change; `make` returns the price that holds at a moment.
    """

    __slots__ = ("_last", "_make", "_prices", "instants", "seconds")

    def __init__(
        self,
        make: Callable[[int], Compiled | Unpriced],
        instants: Iterable[int] = (),
        seconds: Iterable[int] = (),
    ) -> None:
        self._make = make
        self.instants = sorted(set(instants))
        self.seconds = sorted({0, *seconds}) if seconds else []
        self._prices: dict[tuple[int, int], Compiled | Unpriced] = {}
        # From, to and price of the latest answer, since the next call is nearly always between the
        # same two. One tuple, replaced as a whole: several threads price at once.
        self._last: tuple[int, int, Compiled | Unpriced] = (0, 0, UNKNOWN_MODEL)

    def at(self, at_ns: int) -> Compiled | Unpriced:
        """Return the price at the moment, or why there is none."""
        from_ns, to_ns, price = self._last
        return price if from_ns <= at_ns < to_ns else self.stretch(at_ns)[2]

    def stretch(self, at_ns: int) -> tuple[int, int, Compiled | Unpriced]:
        """Return from when and until when (excluded) the price of a moment holds, and the price."""
        place = bisect_right(self.instants, at_ns)
        from_ns = self.instants[place - 1] if place else -(1 << 80)
        to_ns = self.instants[place] if place < len(self.instants) else 1 << 80
        part = -1
        if self.seconds:
            second = second_of_week(at_ns)
            week_ns = (at_ns // NS - second) * NS
            part = bisect_right(self.seconds, second) - 1
            ends = [*self.seconds, WEEK_SECONDS]
            from_ns = max(from_ns, week_ns + ends[part] * NS)
            to_ns = min(to_ns, week_ns + ends[part + 1] * NS)
        match = self._prices.get((place, part))
        if match is None:
            match = self._prices[place, part] = self._make(at_ns)
        self._last = (from_ns, to_ns, match)
        return self._last


def second_of_week(at_ns: int) -> int:
    """Return the second of the week (UTC, from Monday) of a moment."""
    return (at_ns // NS + _MONDAY_SECONDS) % WEEK_SECONDS


def every_day(seconds: Iterable[int]) -> list[int]:
    """Return seconds of the week for seconds of the day."""
    return [day * DAY_SECONDS + second for second in seconds for day in range(DAYS)]


def instant(day: date) -> int:
    """Return the start of a day (UTC) in nanoseconds since 1970."""
    return int(datetime.combine(day, time(), UTC).timestamp()) * NS


def moment(at_ns: int) -> datetime:
    """Return the moment as UTC time; below the microsecond it is cut off."""
    return of_nanoseconds(at_ns)


def second_of_day(at: time) -> int:
    """Return the second of the day (UTC) a time means; without a zone it is UTC."""
    if at.tzinfo is not None:
        at = datetime.combine(date(2000, 1, 2), at).astimezone(UTC).timetz()
    return at.hour * 3600 + at.minute * 60 + at.second
