"""`tallyspan mcp`: the tools of a chat (/mcp) on an address of their own."""

import argparse
from importlib.util import find_spec
from typing import Any

from tallyspan_collector import config, service
from tallyspan_collector.commands.price_book import PRICES
from tallyspan_collector.errors import ConfigError

CHAT_ADDRESS = "127.0.0.1:4320"


def add_parser(commands: Any) -> None:
    """Give `tallyspan mcp` its parser."""
    parser = commands.add_parser("mcp", allow_abbrev=False)
    config.add_flags(parser, (*config.READ_OPTIONS, PRICES, *config.TLS_OPTIONS))
    parser.add_argument(
        "--listen", default=CHAT_ADDRESS, help=f"HOST:PORT (default {CHAT_ADDRESS})"
    )
    parser.set_defaults(run=_mcp)


def _mcp(options: argparse.Namespace) -> int:
    if find_spec("mcp") is None:
        raise ConfigError("the tools of a chat need a package more: pip install 'tallyspan[mcp]'")
    try:
        address = config.address(options.listen)
    except ValueError as error:
        raise ConfigError(f"--listen {options.listen!r}: {error}") from None
    service.run_chat(config.load(options), address)
    return 0
