"""`tallyspan settings [NAME=VALUE ...]`: what the organisation decides once."""

import argparse
import sys
from typing import Any

from tallyspan_collector import config
from tallyspan_collector.commands.store import reading, writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.summary.settings import set_settings, settings


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan settings`."""
    parser = commands.add_parser("settings", allow_abbrev=False)
    config.add_flags(parser, config.READ_OPTIONS)
    parser.add_argument("values", nargs="*", metavar="NAME=VALUE")
    parser.set_defaults(run=_settings)


def _settings(options: argparse.Namespace) -> int:
    values = [_value(text) for text in options.values]
    with (writing if values else reading)(options) as client:
        if values:
            set_settings(client, values)
        rows = settings(client)
    write_table(rows, sys.stdout)
    return 0


def _value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{text!r}: must be NAME=VALUE, for example time_zone=Europe/Berlin")
    return name, value
