"""Which days before a period are compared with it: the same days, never a whole with a part.

A month so far is compared with the month before from its 1st to the same day and time; where that
month has no such day, to its end. Quarters and years likewise.
"""


def same_days_before(start: str, end: str, months: str) -> tuple[str, str]:
    """Return both ends, the second excluded, of what lies `months` before a period.

    All are SQL: `start` and `end` (excluded) DateTimes on the clock whose months count.
    """
    shifted = f"addMonths({end}, -({months}))"
    first = f"addDays({shifted}, 1 - toDayOfMonth({shifted}))"
    month_end = f"toStartOfDay(addMonths({first}, 1))"
    # addMonths stops at the last day of a shorter month, at the time of day.
    is_shorter = f"toDayOfMonth({shifted}) < toDayOfMonth({end})"
    return f"addMonths({start}, -({months}))", f"if({is_shorter}, {month_end}, {shifted})"


def range_before(start: str, end: str) -> tuple[str, str]:
    """Return both ends, the second excluded, of what a range of time is compared with.

    One that begins on the 1st of a month: the same days of the month before, or of the quarter, the
    year or as many months, whichever is the first that the range fits in. One that begins on a
    Monday and is a week at most: the same days of the week before. One that begins at midnight and
    is a day at most: the same time of the day before. Any other: as much time before it. All are
    SQL, DateTimes of UTC, `end` excluded.
    """
    is_midnight = f"toStartOfDay({start}) = {start}"
    months = (
        f"multiIf({end} <= addMonths({start}, 1), 1, "
        f"toMonth({start}) % 3 = 1 AND {end} <= addMonths({start}, 3), 3, "
        f"toMonth({start}) = 1 AND {end} <= addMonths({start}, 12), 12, "
        f"dateDiff('month', {start}, subtractSeconds({end}, 1)) + 1)"
    )
    days = (
        f"multiIf({is_midnight} AND toDayOfWeek({start}) = 1 AND {end} <= addDays({start}, 7), 7, "
        f"{is_midnight} AND {end} <= addDays({start}, 1), 1, 0)"
    )
    of_months = same_days_before(start, end, months)
    length = f"dateDiff('second', {start}, {end})"
    of_days = tuple(
        f"if({days} > 0, addDays({moment}, -{days}), subtractSeconds({moment}, {length}))"
        for moment in (start, end)
    )
    is_month = f"{is_midnight} AND toDayOfMonth({start}) = 1"
    first, last = (
        f"if({is_month}, {by_month}, {by_day})"
        for by_month, by_day in zip(of_months, of_days, strict=True)
    )
    return first, last


def running_periods(clock: str) -> str:
    """Return the SELECT of the month, quarter and year so far, and the days they compare with.

    `clock` is the view of that name.
    """
    started = "toStartOfDay(addDays(local, -p.days))"
    before_started, before_ended = same_days_before("s.started", "s.local", "s.months")
    return f"""SELECT b.period AS period, b.zone AS time_zone, toDate(b.started) AS period_start,
    toTimeZone(b.started, 'UTC') AS started, toTimeZone(b.local, 'UTC') AS now,
    toDate(b.before_started) AS before_start,
    toDate(subtractSeconds(b.before_ended, 1)) AS before_last_day,
    toTimeZone(b.before_started, 'UTC') AS before_started,
    toTimeZone(b.before_ended, 'UTC') AS before_ended
FROM (
    SELECT s.*, {before_started} AS before_started, {before_ended} AS before_ended
    FROM (
        WITH assumeNotNull((SELECT c.time_zone FROM {clock} AS c)) AS zone
        SELECT zone, toTimeZone(c.now, zone) AS local, p.name AS period, p.months AS months,
            {started} AS started
        FROM {clock} AS c
        ARRAY JOIN CAST([
            ('month', 1, toDayOfMonth(local) - 1),
            ('quarter', 3, toDate(local) - toStartOfQuarter(local)),
            ('year', 12, toDayOfYear(local) - 1)],
            'Array(Tuple(name String, months Int32, days Int32))') AS p
    ) AS s
) AS b"""
