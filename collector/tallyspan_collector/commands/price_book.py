"""The price book that a command works with, and its flags."""

import argparse

from tallyspan_collector import config
from tallyspan_collector.pricing import in_use
from tallyspan_collector.pricing.book import PriceBook

PRICES, MAX_AGE = (
    next(option for option in config.OPTIONS if option.name == name)
    for name in ("prices", "prices_max_age")
)


def book_of(options: argparse.Namespace) -> PriceBook:
    """Return the book of --prices over the price data in use in --data-dir."""
    settings = config.read(options, options=(PRICES, config.DATA_DIR))
    return PriceBook.load(settings["prices"], in_use.data_in_use(settings["data_dir"]))
