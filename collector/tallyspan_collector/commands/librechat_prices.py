"""`tallyspan librechat token-config`: our prices for the gauge of LibreChat's custom endpoints."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from tallyspan_collector import config
from tallyspan_collector.commands.prices import PRICES, book_of
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.librechat.check.settings import read_config
from tallyspan_collector.librechat.token_config import token_configs


def add_parser(actions: Any) -> None:
    """Add the parser of `tallyspan librechat token-config`."""
    parser = actions.add_parser(
        "token-config", help="our prices as tokenConfig of the custom endpoints, as YAML"
    )
    config.add_flags(parser, (PRICES, config.DATA_DIR))
    parser.add_argument("file", help="its librechat.yaml")
    parser.add_argument(
        "--model", action="append", default=[], help="one more, of an endpoint that fetches models"
    )
    parser.set_defaults(run=_print)


def _print(options: argparse.Namespace) -> int:
    settings = read_config(Path(options.file))
    if not settings.custom_endpoints():
        raise ConfigError(
            f"{settings.path}: has no custom endpoint, and LibreChat takes a tokenConfig for those"
            " alone"
        )
    result = token_configs(settings, book_of(options), time.time_ns(), options.model)
    sys.stdout.write(result.text)
    for each in result.missing:
        sys.stderr.write(f"no price: {each}\n")
    return 0
