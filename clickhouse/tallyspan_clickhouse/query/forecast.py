"""What a period will have cost: spent so far, and what is to be expected of the rest of it.

Each day to come costs the mean of its weekday in the last 28 days, the rest of today its share of
the hours that are left; `bench/forecast.py` has what a trend and other rules do against that.
"""

from collections.abc import Mapping

MIN_DAYS = 3
"""Of fewer whole days there is no forecast."""
DAYS = 28

# A tenth of Student's distribution with 21 degrees of freedom (28 days less 7 means) lies above it.
_QUANTILE = "1.323"
_IS_SHORT = "days_known < 7"

FORECAST: Mapping[str, str] = {
    name: f"if(days_known < {MIN_DAYS}, NULL, {text})"
    for name, text in {
        "forecast_usd": "toDecimal128(toFloat64(spent_usd) + expected, 6)",
        "forecast_low_usd": "toDecimal128(toFloat64(spent_usd) + greatest(0, expected - band), 6)",
        "forecast_high_usd": "toDecimal128(toFloat64(spent_usd) + expected + band, 6)",
    }.items()
}
"""Column -> its SQL over rows of `with_expected`; NULL: too little is known."""


def with_expected(rows: str) -> str:
    """Return a SELECT of the rows `b` with `days_known`, `to_come`, `expected` and `band`.

    The rows have `spent_usd`, `today` and `period_end` (Date), `day_gone` (part of today that is
    over) and `recent` (of each of the last 28 days and today: days since 1970, USD). `to_come` is
    an array: the rest of today, then a number for each day after it until the period ends;
    `expected` is its sum and `band` what lies between it and either end of the band, in USD.
    """
    weekday = "toDayOfWeek(b.today - i)"
    rest = "if(d = 0, 1 - b.day_gone, 1.)"
    return f"""SELECT b.*,
    mapFromArrays(b.recent.1, b.recent.2) AS spent_on,
    if(empty(b.recent), 0, toUInt16(least({DAYS}, b.today - toDate(arrayMin(b.recent.1)))))
        AS days_known,
    range(1, days_known + 1) AS ago,
    arrayMap(i -> spent_on[toUInt16(b.today - i)], ago) AS past,
    arrayMap(w -> if({_IS_SHORT}, arraySum(past) / greatest(days_known, 1),
        arrayAvg(arrayFilter((a, i) -> {weekday} = w, past, ago))), range(1, 8)) AS means,
    range(0, toUInt16(b.period_end - b.today)) AS ahead,
    arrayMap(d -> means[toDayOfWeek(b.today + d)] * {rest}, ahead) AS to_come,
    arraySum(to_come) AS expected,
    length(ahead) - b.day_gone AS days_ahead,
    -- Days scatter around the mean of their weekday, and that is a mean of few.
    arraySum(arrayMap((a, i) -> pow(a - means[{weekday}], 2), past, ago))
        / greatest(days_known - if({_IS_SHORT}, 1, 7), 1) AS scatter,
    if({_IS_SHORT}, pow(days_ahead, 2) / greatest(days_known, 1), arraySum(arrayMap(
        w -> pow(arraySum(arrayMap(d -> if(toDayOfWeek(b.today + d) = w, {rest}, 0.), ahead)), 2)
            / greatest(arrayCount(i -> {weekday} = w, ago), 1), range(1, 8)))) AS of_means,
    -- Weeks differ more than their days say where the level moves.
    arrayMap(k -> arraySum(arraySlice(past, 7 * k + 1, 7)), range(intDiv(days_known, 7))) AS weeks,
    if(length(weeks) < 2, 0., greatest(0., arrayReduce('varSamp', weeks) - 7 * scatter))
        AS of_weeks,
    {_QUANTILE} * sqrt(scatter * (days_ahead + of_means)
        + of_weeks * pow(days_ahead / 7, 2) * (1 + 1 / greatest(length(weeks), 1))) AS band
FROM ({rows}) AS b"""
