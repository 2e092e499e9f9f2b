"""The days that `--from` and `--to` name."""

import argparse
from datetime import date, timedelta

from tallyspan_collector.errors import ConfigError


def period(options: argparse.Namespace, days: int, today: date) -> tuple[date, date]:
    """Return the first and the last day: by default the `days` before today.

    Raises `ConfigError` for what is no day, and days in the wrong order.
    """
    first = _day(options.first, "--from", today - timedelta(days=days))
    last = _day(options.last, "--to", today - timedelta(days=1))
    if first > last:
        raise ConfigError(f"--from {first} is after --to {last}")
    return first, last


def _day(text: str, flag: str, otherwise: date) -> date:
    try:
        return date.fromisoformat(text) if text else otherwise
    except ValueError:
        raise ConfigError(f"{flag}: must be a day like 2026-01-31; got {text!r}") from None
