"""Report and spans of a day side by side, by model: what was imported, what a report lacks."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_collector.bills.billed import model_key, model_label
from tallyspan_collector.booked.commitments import usd
from tallyspan_collector.imports.gaps import Recorded, Remainder
from tallyspan_collector.imports.pricing import Pricing
from tallyspan_collector.imports.report import PARTS_OF_A_UNIT, REQUESTS, Row
from tallyspan_collector.imports.reports import DayReport


@dataclass(frozen=True, slots=True)
class DayLine:
    """A model (or a line without one) of a day; the fields are columns of `import_lines`."""

    source: str
    day: date
    provider: str
    model_name: str
    reported_requests: int | None
    recorded_calls: int
    reported_tokens: int | None
    recorded_tokens: int
    imported_tokens: int
    less_tokens: int
    reported_cost_usd: Decimal | None
    recorded_cost_usd: Decimal
    imported_cost_usd: Decimal
    less_cost_usd: Decimal
    unpriced_tokens: int
    ledger_entries: int


COLUMNS = tuple(DayLine.__dataclass_fields__)


def lines_of(
    report: DayReport,
    rows: Sequence[Row],
    recorded: Sequence[Recorded],
    left: Sequence[Remainder],
    pricing: Pricing,
    ledger_entries: int,
) -> list[DayLine]:
    """Return the lines of a day, also of models that only one side has."""
    names: dict[tuple[str, ...], str] = {}
    reported: dict[tuple[str, ...], list[Remainder]] = defaultdict(list)
    for row, each in zip(rows, left, strict=True):
        key = row.key or ("", row.item)
        names.setdefault(key, model_label(row.model) if row.model else row.item)
        reported[key].append(each)
    ours: dict[tuple[str, ...], list[Recorded]] = defaultdict(list)
    for span in recorded:
        key = model_key(span.model)
        names.setdefault(key, model_label(span.model))
        ours[key].append(span)
    keys = sorted(reported.keys() | ours.keys()) or [()]  # a day of nothing is a line as well
    return [
        replace(
            _line(report, names.get(key, ""), reported.get(key, ()), ours.get(key, ()), pricing),
            ledger_entries=ledger_entries,
        )
        for key in keys
    ]


def _line(
    report: DayReport,
    name: str,
    theirs: Sequence[Remainder],
    ours: Sequence[Recorded],
    pricing: Pricing,
) -> DayLine:
    both = ("input_tokens", "output_tokens")
    reported_by_meter = {
        meter: sum(each.row.usage.get(meter, 0) for each in theirs) for meter in both
    }
    seen = {meter: sum(each.usage.get(meter, 0) for each in ours) for meter in both}
    has_tokens = any(meter in each.row.usage for each in theirs for meter in both)
    costs = [each.row.cost_picousd for each in theirs if each.row.cost_picousd is not None]
    has_requests = any(REQUESTS in each.row.usage for each in theirs)
    spent = sum(each.cost_picousd for each in ours)
    booked = [(each, pricing.of_remainder(each)) for each in theirs if not each.is_empty]
    return DayLine(
        source=report.matching.name,
        day=report.day,
        provider=theirs[0].row.provider if theirs else report.matching.of.provider,
        model_name=name,
        reported_requests=_units(sum(each.row.usage.get(REQUESTS, 0) for each in theirs))
        if has_requests
        else None,
        recorded_calls=max(_units(sum(each.usage.get(REQUESTS, 0) for each in ours)), 0),
        reported_tokens=sum(reported_by_meter.values()) if has_tokens else None,
        recorded_tokens=max(sum(seen.values()), 0),
        imported_tokens=sum(each.usage.get(meter, 0) for each, _ in booked for meter in both),
        less_tokens=sum(max(seen[meter] - reported_by_meter[meter], 0) for meter in both)
        if has_tokens or not theirs
        else 0,
        reported_cost_usd=usd(sum(costs)) if costs else None,
        recorded_cost_usd=usd(spent),
        imported_cost_usd=usd(sum(cost.cost_picousd or 0 for _, cost in booked)),
        less_cost_usd=usd(max(spent - sum(costs), 0)) if costs else Decimal(0),
        unpriced_tokens=sum(
            each.usage.get(meter, 0)
            for each, cost in booked
            if cost.cost_picousd is None
            for meter in both
        ),
        ledger_entries=0,
    )


def _units(parts: int) -> int:
    return round(parts / PARTS_OF_A_UNIT)


def write(client: Client, run_id: str, run_at: datetime, lines: Sequence[DayLine]) -> None:
    """Keep the lines of a run. Raises what the store raises."""
    if lines:
        client.insert(
            "import_lines",
            [[run_id, run_at, *(getattr(line, name) for name in COLUMNS)] for line in lines],
            column_names=["run_id", "run_at", *COLUMNS],
            settings={"async_insert": 0},
        )


def entries_then(client: Client, first: date) -> dict[tuple[str, date], tuple[int, int]]:
    """Return of each import and day since `first` what its latest run found.

    That is how many entries of calls the ledger had, and how many imported tokens had no price.
    """
    rows = tuples_of(
        client,
        "SELECT source, day, max(ledger_entries), sum(unpriced_tokens) FROM import_lines FINAL"
        " WHERE day >= {first:Date} AND (source, day, run_id) IN ("
        " SELECT source, day, argMax(run_id, run_at) FROM import_lines"
        " WHERE day >= {first:Date} GROUP BY source, day) GROUP BY source, day",
        {"first": first},
    )
    return {(str(source), day): (entries, unpriced) for source, day, entries, unpriced in rows}
