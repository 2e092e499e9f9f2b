"""`tallyspan librechat token-config`: our prices for the gauge of LibreChat's custom endpoints."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from tallyspan_collector import config
from tallyspan_collector.commands.price_book import PRICES, book_of
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.librechat.check.settings import read_config
from tallyspan_collector.librechat.token_config import Models, token_configs


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
    parser.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="MODEL=TOKENS",
        help="how long the context of a model may be, where nobody knows it",
    )
    parser.set_defaults(run=_print)


def _print(options: argparse.Namespace) -> int:
    settings = read_config(Path(options.file))
    if not settings.custom_endpoints():
        raise ConfigError(
            f"{settings.path}: has no custom endpoint, and LibreChat takes a tokenConfig for those"
            " alone"
        )
    models = Models(options.model, dict(map(_context, options.context)))
    result = token_configs(settings, book_of(options), time.time_ns(), models)
    sys.stdout.write(result.text)
    for each in result.missing:
        sys.stderr.write(f"left out: {each}\n")
    return 0


def _context(text: str) -> tuple[str, int]:
    """Return model and tokens. Raises `ConfigError`."""
    model, _, tokens = text.rpartition("=")
    if not (model and tokens.isascii() and tokens.isdigit() and int(tokens[:12]) > 0):
        raise ConfigError(f"--context {text}: must be MODEL=TOKENS, such as local-llama=32768")
    return model, int(tokens[:12])
