"""`tallyspan librechat ...`: what LibreChat's own database and settings say."""

from collections.abc import Callable
from typing import Any

from tallyspan_collector.commands import librechat_check, librechat_import, librechat_prices

ACTIONS: tuple[Callable[[Any], None], ...] = (
    librechat_check.add_parser,
    librechat_import.add_parser,
    librechat_prices.add_parser,
)
"""Each adds the parser of one action."""


def add_parser(commands: Any) -> None:
    """Give `tallyspan librechat` its parser."""
    parser = commands.add_parser("librechat")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for add in ACTIONS:
        add(actions)
