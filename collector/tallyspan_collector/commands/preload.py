"""`tallyspan preload`: the file that counts the model calls of a Node process, on stdout."""

import argparse
import sys
from importlib.resources import files
from typing import Any

FILE = "tallyspan-preload.cjs"


def add_parser(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = commands.add_parser("preload")
    parser.set_defaults(run=_print)


def _print(_: argparse.Namespace) -> int:
    sys.stdout.write(files("tallyspan").joinpath(FILE).read_text(encoding="utf-8"))
    return 0
