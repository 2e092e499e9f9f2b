"""`tallyspan up`: runs the collector."""

import argparse
from typing import Any

from tallyspan_collector import config, service


def add_parser(commands: Any) -> None:
    """Give `tallyspan up` its parser."""
    parser = commands.add_parser("up", allow_abbrev=False)
    config.add_flags(parser, config.OPTIONS)
    parser.set_defaults(run=_up)


def _up(options: argparse.Namespace) -> int:
    service.run(config.load(options))
    return 0
