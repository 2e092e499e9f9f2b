"""The differences as they come with Tallyspan: `prices/upkeep/differences.json`."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_collector.pricing.second import extract
from tallyspan_collector.pricing.second.report import Difference, Report, State
from tallyspan_collector.pricing.second.source import SecondPrice
from tallyspan_collector.pricing.shipped import UPKEEP

FILE = UPKEEP / "differences.json"
TABLE = "second_price_lines"
_MILLION = 10**6
_DIGITS = 12


def text(report: Report) -> str:
    """Return the file's content: a line for each tier of a model that differs.

    It has the largest difference of the tier, and one that nobody has explained before others.
    """
    worst: dict[tuple[str, str, str], Difference] = {}
    for each in report.differences:
        place = each.finding.place
        key = (place.provider, place.model, place.tier)
        if not place.conditions:  # the page has no column for them
            worst[key] = max(each, worst.get(key, each), key=_weight)
    rows = [json.dumps([*key, *_summary(each)]) for key, each in sorted(worst.items())]
    return "[\n" + ",\n".join(rows) + "\n]\n"


def _weight(difference: Difference) -> tuple[bool, Fraction]:
    return difference.state is State.UNEXPLAINED, abs(difference.finding.percent)


def _summary(difference: Difference) -> tuple[float, str, str]:
    cause = difference.review.cause if difference.review else ""
    return float(round(difference.finding.percent, 1)), difference.state.value, cause


def record(client: Client) -> None:
    """Store the shipped comparison if it is not in the store yet."""
    now = datetime.now(UTC)
    source, day = extract.read(now.date())
    stored = client.query(
        "SELECT count() FROM second_price_lines"
        " WHERE source = {source:String} AND compared_on = {day:Date}",
        parameters={"source": source.name, "day": day},
    ).result_rows
    if stored[0][0]:
        return
    lines = {tuple(row[:3]): row[3:] for row in json.loads(FILE.read_text(encoding="utf-8"))}
    head = [source.name, day, now]
    rows = [[*head, *_row(price, lines)] for price in source.prices if not price.place.conditions]
    client.insert(TABLE, rows, column_names=_COLUMNS)


_COLUMNS = (
    "source", "compared_on", "recorded_at", "provider_name", "model_name", "service_tier",
    "input_usd", "output_usd", "state", "difference_percent", "cause",
)  # fmt: skip


def _row(price: SecondPrice, lines: Mapping[tuple[str, ...], list[Any]]) -> Iterator[Any]:
    place = price.place
    yield from (place.provider, place.model, place.tier)
    for meter in ("input", "output"):
        bands = price.prices.get(meter)
        yield None if bands is None else _usd(bands[0][1])
    percent, state, cause = lines.get(
        (place.provider, place.model, place.tier), [None, State.EQUAL.value, ""]
    )
    yield from (state, percent, cause)


def _usd(amount: Fraction) -> Decimal:
    return round(Decimal(extract.decimal(amount * _MILLION)), _DIGITS)
