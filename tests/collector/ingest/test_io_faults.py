"""Each call to the disk fails once: it is said, and everything is charged once all the same."""

from collections import Counter
from pathlib import Path
from shutil import rmtree

import pytest

from disk import Failure, can_record, recorded
from small_collector import BODIES, POISON, UNREADABLE, Run, life, started
from tallyspan_collector.ingest import spool as spools

pytestmark = pytest.mark.skipif(not can_record(), reason="SQLite is a part of this Python")

SAMPLE = 31
"""One of so many calls fails, without `--every-point`."""


@pytest.mark.parametrize("failure", Failure)
def test_a_call_to_the_disk_that_fails_once_loses_and_doubles_nothing(
    failure: Failure,
    memory_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    step = 1 if pytestconfig.getoption("--every-point") else SAMPLE
    monkeypatch.setattr(spools, "CHECKPOINT_BYTES", 0)
    folder = memory_path / "spool"
    wrong: list[tuple[int, str, str]] = []
    number = 0
    while True:
        rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with recorded(folder) as disk:
            disk.fail_at, disk.failure = number, failure
            run = Run(disk)
            try:
                life(folder, run)
            except AssertionError as error:
                wrong.append((number, str(disk.failed), f"it did not go on: {error}"))
        if disk.failed is None:
            break
        wrong += [(number, disk.failed, each) for each in _damage(run, folder)]
        number += step

    assert number > 300
    assert wrong == []


def _damage(run: Run, folder: Path) -> list[str]:
    """Begin again after a loss of power, with what senders never were told; return what is wrong."""
    for each in folder.iterdir():
        each.unlink()
    for name, content in run.disk.durable().items():
        (folder / name).write_bytes(content)
    with started(folder, run) as collector:
        collector.load()
        damage = [] if not collector.warning else [collector.warning]
        if (charged := run.calls()) != Counter({body.decode(): 1 for body in BODIES}):
            damage.append(f"charged: {charged}")
        if collector.dead() != {POISON: UNREADABLE}:
            damage.append(f"dead: {collector.dead()}")
    return damage
