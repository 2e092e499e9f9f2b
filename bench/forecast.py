"""The forecast against what came: SERIES random series a kind (default 40), `name value unit`.

Each is 14 months of daily spend with quiet weekends. At five days of each of 11 months, at a
random hour, the SQL of the views says what the month will have cost, and its band. Printed for
each kind and for all: how often the month ended in the band (`covered`), below or above it, how
wide the band is, and how far off the forecast was, in percent of the month; and how far off other
rules were: with the trend of the last four weeks, with last week alone, with the larger of the
weekday's mean and today so far, and with nothing for the rest of today.
"""

import math
import os
import random
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from statistics import fmean

from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import LocalStore
from tallyspan_clickhouse.query.forecast import FORECAST, with_expected

SERIES = int(os.environ.get("SERIES", "40"))
FIRST = date(2025, 1, 1)
DAYS = 425
# Share of a day's spend in each of its hours: people work from eight to six.
HOURS = [0.2] * 7 + [1, 2.5, 3.5, 4, 3.8, 3, 3.6, 4, 3.6, 3, 2, 1.2, 0.8, 0.6, 0.5, 0.4, 0.3]
SO_FAR = [0.0, *(part / sum(HOURS) for part in accumulate(HOURS))]
dice = random.Random(7)


def scatter(sigma: float) -> float:
    """Return a random factor with the mean 1."""
    return dice.lognormvariate(-sigma * sigma / 2, sigma)


def walk(step: float) -> Callable[[int], float]:
    """Return a level that moves at random by day."""
    levels = [math.exp(each) for each in accumulate(dice.gauss(0, step) for _ in range(DAYS))]
    return lambda day: levels[day]


def growth() -> Callable[[int], float]:
    """Return a level that grows or falls by the same share each month."""
    monthly = dice.uniform(-0.05, 0.15)
    return lambda day: math.exp(day / 30 * monthly)


def step() -> Callable[[int], float]:
    """Return a level that doubles or halves once."""
    when, factor = dice.randrange(60, DAYS - 60), dice.choice((0.5, 2.0))
    return lambda day: factor if day >= when else 1.0


def month_end() -> Callable[[int], float]:
    """Return a level that is higher on the last three days of each month."""
    return lambda day: 1.6 if (FIRST + timedelta(days=day + 3)).day <= 3 else 1.0


KINDS: dict[str, tuple[Callable[[], Callable[[int], float]], Callable[[], float]]] = {
    "steady": (lambda: lambda _: 1.0, lambda: scatter(0.2)),
    "noisy": (lambda: lambda _: 1.0, lambda: scatter(0.8)),
    "growing": (growth, lambda: scatter(0.3)),
    "drifting": (lambda: walk(0.02), lambda: scatter(0.3)),
    "rare": (lambda: lambda _: 1.0, lambda: scatter(1) if dice.random() < 0.25 else 0.0),
    "month_end": (month_end, lambda: scatter(0.3)),
    "step": (step, lambda: scatter(0.3)),
}


def series(kind: str) -> list[float]:
    """Return what is spent on each day, in USD."""
    level, one = KINDS[kind][0](), KINDS[kind][1]
    usual, weekend = math.exp(dice.gauss(2, 1)), dice.uniform(0.05, 0.6)
    return [
        usual * level(day) * one() * (weekend if (FIRST + timedelta(days=day)).weekday() > 4 else 1)
        for day in range(DAYS)
    ]


def others(past: list[float], ahead: int, gone: float, today: float) -> dict[str, float]:
    """Return what other rules expect of the rest of today and the days after it."""
    means = [fmean(past[place::7]) for place in range(7)]  # past[0] was four weeks ago today
    plain = [means[day % 7] for day in range(ahead)]
    weeks = [sum(past[7 * week : 7 * week + 7]) for week in range(4)]
    slope = (3 * (weeks[3] - weeks[0]) + weeks[2] - weeks[1]) / 10 / max(fmean(weeks), 1e-9) / 7
    rest = plain[0] * (1 - gone)
    after = sum(plain[1:])
    trended = [each * max(0.0, 1 + slope * (day + 14)) for day, each in enumerate(plain)]
    last_week = [past[21 + day % 7] for day in range(ahead)]
    return {
        "trend": trended[0] * (1 - gone) + sum(trended[1:]),
        "last_week": last_week[0] * (1 - gone) + sum(last_week[1:]),
        "day_mean_at_least": max(0.0, plain[0] - today) + after,
        "nothing_of_today": after,
        "hours": rest + after,
    }


def points(kind: str) -> list[tuple[object, ...]]:
    """Return a row for each look at each month: its inputs, what came, and what others expect."""
    rows: list[tuple[object, ...]] = []
    spent = series(kind)
    for month in range(3, 14):
        start, end = (
            (date(2025 + (n - 1) // 12, (n - 1) % 12 + 1, 1) - FIRST).days
            for n in (month, month + 1)
        )
        actual = sum(spent[start:end])
        for today in (start + place for place in (2, 8, 15, 22, 27) if actual):
            hour = dice.randrange(24)
            so_far = spent[today] * SO_FAR[hour]
            recent = spent[today - 28 : today]
            base = sum(spent[start:today]) + so_far
            more = others(recent, end - today, hour / 24, so_far)
            epoch = (FIRST - date(1970, 1, 1)).days + today
            rows.append(
                (
                    kind, FIRST + timedelta(days=today), FIRST + timedelta(days=end), hour / 24,
                    Decimal(f"{base:.12f}"),
                    [(epoch - 28 + place, usd) for place, usd in enumerate(recent)],
                    actual, {name: abs(base + usd - actual) / actual for name, usd in more.items()},
                )
            )  # fmt: skip
    return rows


QUERY = f"""
SELECT kind, count(), avg(actual >= low AND actual <= high), avg(actual < low), avg(actual > high),
    avg((high - low) / actual), avg(abs(forecast - actual) / actual), avgMap(others)
FROM (SELECT kind, actual, others, toFloat64({FORECAST["forecast_usd"]}) AS forecast,
    toFloat64({FORECAST["forecast_low_usd"]}) AS low,
    toFloat64({FORECAST["forecast_high_usd"]}) AS high
    FROM ({with_expected("SELECT * FROM points")}))
GROUP BY GROUPING SETS ((kind), ()) ORDER BY kind = '', kind
"""


def main() -> None:
    """Make the series, ask the SQL of the views, and print the figures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStore(Path(folder)) as store,
        connect(store.url) as client,
    ):
        client.command("CREATE DATABASE IF NOT EXISTS tallyspan", use_database=False)
        client.command(
            "CREATE TABLE points (kind String, today Date, period_end Date, day_gone Float64,"
            " spent_usd Decimal(38, 12), recent Array(Tuple(UInt16, Float64)), actual Float64,"
            " others Map(String, Float64)) ENGINE = Memory"
        )
        for kind in KINDS:
            for _ in range(SERIES):
                client.insert("points", points(kind))
        for kind, count, covered, below, above, width, off, more in client.query(QUERY).result_rows:
            name = f"forecast.{kind or 'all'}"
            print(f"{name}.looks {count} count")
            for what, value in {
                "covered": covered, "below": below, "above": above, "width": width, "off": off,
                **{f"off_with_{other}": value for other, value in more.items()},
            }.items():  # fmt: skip
                print(f"{name}.{what} {100 * value:.1f} %")


if __name__ == "__main__":
    main()
