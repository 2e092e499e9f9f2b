"""Months of the calendar, each by its first day."""

from datetime import date, timedelta


def next_month(day: date) -> date:
    """Return the first day of the month after the one that the day is in."""
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def month_before(day: date) -> date:
    """Return the first day of the month before the one that the day is in."""
    return (day.replace(day=1) - timedelta(days=1)).replace(day=1)
