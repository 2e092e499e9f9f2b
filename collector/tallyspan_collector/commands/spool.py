"""`tallyspan spool status|dead|replay|drop`: requests that wait on disk, and dead letters."""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tallyspan_collector import config
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.ingest import journal, spool
from tallyspan_collector.units.counts import counted


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan spool`."""
    parser = commands.add_parser("spool")
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
            action.add_argument("ids", nargs="+", help="as `spool dead` shows them")
        action.set_defaults(run=run)


BATCH = "batch"


def _files(options: argparse.Namespace) -> tuple[dict[str, Path], Path]:
    """Return the spool of each worker, and the journal they share."""
    data_dir: Path = config.read(options, options=(config.DATA_DIR,))["data_dir"]
    folder = data_dir / "spool"
    spools = {path.stem: path for path in sorted(folder.glob("[0-9]*.sqlite"))}
    if not spools:
        raise ConfigError(f"--data-dir {data_dir}: no spool there")
    return spools, folder / journal.FILE_NAME


def _status(options: argparse.Namespace) -> int:
    spools, shared = _files(options)
    rows = []
    for worker, path in spools.items():
        state = spool.status(path)
        planned = journal.status(shared, state.pop("id"))
        rows.append({"worker": worker, **state, **planned})
    write_table(rows, sys.stdout)
    return 0


def _dead(options: argparse.Namespace) -> int:
    spools, shared = _files(options)
    rows = [
        {
            "id": f"{worker}:{dead.id}",
            "since": datetime.fromtimestamp(dead.died_ms / 1000, UTC).isoformat(" ", "seconds"),
            "kind": dead.signal,
            "bytes": dead.bytes,
            "reason": dead.reason,
        }
        for worker, path in spools.items()
        for dead in spool.dead_letters(path)
    ]
    rows += [
        {
            "id": f"{BATCH}:{batch.batch_id}",
            "since": "",
            "kind": f"batch of {counted(batch.rows, 'row')}",
            "bytes": batch.bytes,
            "reason": batch.reason,
        }
        for batch in journal.refused_batches(shared)
    ]
    write_table(rows, sys.stdout)
    return 0


def _replay(options: argparse.Namespace) -> int:
    return _each(options, spool.replay, journal.replay, "is given back")


def _drop(options: argparse.Namespace) -> int:
    return _each(options, spool.drop, journal.drop, "is forgotten")


def _each(
    options: argparse.Namespace,
    of_request: Callable[[Path, int], bool],
    of_batch: Callable[[Path, int], bool],
    outcome: str,
) -> int:
    spools, shared = _files(options)
    for dead_id in options.ids:
        kind, _, number = dead_id.partition(":")
        if kind not in {BATCH, *spools} or not number.isdigit():
            raise ConfigError(f"{dead_id}: must be an id as 'tallyspan spool dead' shows it")
        is_there = (
            of_batch(shared, int(number))
            if kind == BATCH
            else of_request(spools[kind], int(number))
        )
        if not is_there:
            raise ConfigError(f"{dead_id}: there is no such dead letter")
        sys.stderr.write(f"{dead_id} {outcome}\n")
    return 0
