"""`tallyspan spool status|dead|replay|drop`: what waits on disk, and what is dead."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tallyspan_collector import config
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.ingest import spool


def add_parser(commands: Any) -> None:
    """Give `tallyspan spool` its parser."""
    parser = commands.add_parser("spool", help="what waits for the store, and what is dead")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for name, run, what in (
        ("status", _status, "requests, batches and bytes that wait"),
        ("dead", _dead, "what could not be worked on, with the reason"),
        ("replay", _replay, "give dead letters back to the loader"),
        ("drop", _drop, "forget dead letters for ever"),
    ):
        action = actions.add_parser(name, help=what)
        config.add_flags(action, (config.DATA_DIR,))
        if name in {"replay", "drop"}:
            action.add_argument("ids", nargs="+", help="WORKER:ID as `spool dead` shows them")
        action.set_defaults(run=run)


def _files(options: argparse.Namespace) -> dict[str, Path]:
    data_dir: Path = config.read(options, options=(config.DATA_DIR,))["data_dir"]
    found = {path.stem: path for path in sorted((data_dir / "spool").glob("[0-9]*.sqlite"))}
    if not found:
        raise ConfigError(f"--data-dir {data_dir}: no spool there")
    return found


def _status(options: argparse.Namespace) -> int:
    rows = []
    for worker, path in _files(options).items():
        state = spool.status(path)
        rows.append({"worker": worker, **state})
    write_table(rows, sys.stdout)
    return 0


def _dead(options: argparse.Namespace) -> int:
    rows = [
        {
            "id": f"{worker}:{dead.id}",
            "since": datetime.fromtimestamp(dead.died_ms / 1000, UTC).isoformat(" ", "seconds"),
            "kind": dead.kind,
            "bytes": dead.bytes,
            "reason": dead.reason,
        }
        for worker, path in _files(options).items()
        for dead in spool.dead_letters(path)
    ]
    write_table(rows, sys.stdout)
    return 0


def _replay(options: argparse.Namespace) -> int:
    for named, path, number in _named(options):
        if not spool.replay(path, number):
            raise ConfigError(f"{named}: there is no such dead letter")
        sys.stderr.write(f"{named} is given back\n")
    return 0


def _drop(options: argparse.Namespace) -> int:
    for named, path, number in _named(options):
        if not spool.drop(path, number):
            raise ConfigError(f"{named}: there is no such dead letter")
        sys.stderr.write(f"{named} is forgotten\n")
    return 0


def _named(options: argparse.Namespace) -> list[tuple[str, Path, int]]:
    files = _files(options)
    found = []
    for named in options.ids:
        worker, _, number = named.partition(":")
        if worker not in files or not number.isdigit():
            raise ConfigError(f"{named}: must be WORKER:ID as 'tallyspan spool dead' shows it")
        found.append((named, files[worker], int(number)))
    return found
