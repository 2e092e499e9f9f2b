"""`tallyspan demo`: recorded traffic, and what it cost."""

import argparse
from pathlib import Path
from typing import Any

from tallyspan_collector.errors import ConfigError


def add_parser(commands: Any) -> None:
    """Give `tallyspan demo` its parser."""
    parser = commands.add_parser("demo")
    parser.add_argument("--once", action="store_true", help="end when the report is printed")
    parser.add_argument(
        "--data-dir", help="keep the demo's data there (default: a temporary folder)"
    )
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    try:
        from tallyspan_collector.demo import run
    except ModuleNotFoundError as missing:
        raise ConfigError(
            f"the demo drives the real SDKs and {missing.name} is not installed: "
            "pip install 'tallyspan[demo]'"
        ) from None
    return run.main(
        once=options.once, data_dir=Path(options.data_dir) if options.data_dir else None
    )
