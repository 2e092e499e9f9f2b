"""What providers give away: so many searches a month, counted over all collectors.

A call's part of an allowance is kept with the call, as a meter that costs nothing
(`web_search_free`), so that its price can be worked out again. How much is used is what the ledger
has, read every few seconds, and what was granted here since.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan.conditions import ALLOWANCE
from tallyspan_clickhouse.moments import microseconds, of_nanoseconds, sql_moment
from tallyspan_collector.pricing.adjustments import Allowance
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.read.call import Call

SETTLE_SECONDS = 30
"""A call that was granted something is in the ledger after that, as a rule."""
MAX_PERIODS = 1_000
_USED = f"""
SELECT sum(meters[{{meter:String}}]) FROM calls
WHERE tenant = {{tenant:String}} AND provider_name = {{provider:String}}
    AND conditions['{ALLOWANCE.name}'] = {{group:String}} AND start_time >= {sql_moment("start")}
    AND start_time < {sql_moment("end")}
"""  # noqa: S608  own names, values are bound


class Period(NamedTuple):
    """Whose allowance, of what, and when: times in UTC, the end excluded."""

    tenant: str
    provider: str
    group: str
    meter: str
    start: datetime
    end: datetime


Granted = dict[Period, float]
"""How much of each period's allowance was given."""


class Allowances:
    """Gives what is free. One thread may give while another reads the ledger."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._in_ledger: Granted = {}
        self._grants: dict[Period, list[tuple[float, float]]] = {}

    def grant(self, calls: Sequence[Call]) -> tuple[Sequence[Call], Granted]:
        """Return the calls, those with something free with its meter, and how much they get.

        They have it once they are booked: then `take` it.
        """
        granted: Granted = {}
        if not any(call.meters for call in calls):
            return calls, granted
        return [self._with_free(call, granted) if call.meters else call for call in calls], granted

    def _with_free(self, call: Call, granted: Granted) -> Call:
        allowance = self._book.allowance(call)
        if allowance is None or allowance.meter.free is None:
            return call
        period = period_of(call, allowance)
        left = allowance.free - self._used(period) - granted.get(period, 0)
        free = min(call.meters[allowance.meter.name], allowance.at_most, max(left, 0))
        if free <= 0:
            return call
        granted[period] = granted.get(period, 0) + free
        return call._replace(
            meters={**call.meters, allowance.meter.free.name: free},
            conditions={**call.conditions, ALLOWANCE.name: period.group},
        )

    def take(self, granted: Mapping[Period, float]) -> None:
        """Count what calls were given that are booked now."""
        for period, free in granted.items():
            if period not in self._grants and len(self._grants) >= MAX_PERIODS:
                del self._grants[next(iter(self._grants))]
            self._grants.setdefault(period, []).append((time.monotonic(), free))

    def _used(self, period: Period) -> float:
        grants = self._grants.get(period, ())
        return self._in_ledger.get(period, 0) + sum(amount for _, amount in grants)

    def read(self, client: Client) -> None:
        """Read from the ledger what is used of the periods that calls were in lately."""
        for period in list(self._grants):
            since = time.monotonic() - SETTLE_SECONDS
            ((used,),) = client.query(
                _USED,
                parameters={
                    "tenant": period.tenant,
                    "provider": period.provider,
                    "group": period.group,
                    "meter": period.meter,
                    "start": microseconds(period.start),
                    "end": microseconds(period.end),
                },
            ).result_rows
            later = [each for each in self._grants[period] if each[0] >= since]
            self._in_ledger[period] = max(float(used) - sum(amount for _, amount in later), 0)
            self._grants[period] = later


def period_of(call: Call, allowance: Allowance) -> Period:
    """Return the period of the allowance that the call is in, by its own start."""
    at = of_nanoseconds(call.start_time_ns)
    start = datetime(at.year, at.month, at.day if allowance.every == "day" else 1, tzinfo=UTC)
    if allowance.every == "day":
        end = datetime.fromtimestamp(start.timestamp() + 86_400, UTC)
    else:
        end = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    free = allowance.meter.free
    name = "" if free is None else free.name
    owner = {"endpoint": call.endpoint_id, "service": call.service_name, "source": call.source}
    group = f"{allowance.group}/{owner[allowance.per]}" if allowance.per else allowance.group
    return Period(call.tenant, call.provider_name, group, name, start, end)
