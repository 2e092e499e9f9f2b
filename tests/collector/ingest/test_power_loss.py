"""Power is lost at any moment: what was not synced is gone or torn, what was acknowledged is not."""

from collections import Counter
from itertools import islice
from pathlib import Path
from shutil import rmtree

import pytest

from disk import can_record, recorded
from small_collector import BODIES, POISON, UNPRICED, UNREADABLE, Run, Store, life, started
from tallyspan_collector.ingest import spool as spools
from tallyspan_collector.ingest.damaged_log import kept
from tallyspan_collector.ingest.left_spools import take_over

pytestmark = pytest.mark.skipif(not can_record(), reason="SQLite is a part of this Python")


SAMPLE = 7
"""One of so many points is tried, without `--every-point`."""


def test_what_was_acknowledged_is_charged_once_wherever_power_is_lost(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    step = 1 if pytestconfig.getoption("--every-point") else SAMPLE
    monkeypatch.setattr(spools, "CHECKPOINT_BYTES", 0)
    folder = memory_path / "spool"
    folder.mkdir()
    with recorded(folder) as disk:
        run = Run(disk)
        life(folder, run)
    wrong = []
    for cut, loss, files in islice(disk.losses(), 0, None, step):
        rmtree(folder)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        wrong += [(cut, loss.name, each) for each in _damage(run, folder, cut)]

    assert len(disk.operations) > 300
    assert wrong == []


def _damage(run: Run, folder: Path, cut: int) -> list[str]:
    """Begin on what was left after so many operations; return what is wrong then."""
    acknowledged = {body for at, body in run.acknowledged if at <= cut}
    store = Store({number: run[number] for at, number in run.inserted if at <= cut})
    if (folder / "1.sqlite").exists():
        take_over(folder / "1.sqlite", folder / "0.sqlite", folder / "journal.sqlite")
    with started(folder, store) as collector:
        damage = [each for each in (collector.warning, *kept(folder)) if each]
        collector.load()
        charged, dead = store.calls(), collector.dead()
        damage += [
            f"{body.decode()} is charged {charged[body.decode()]} times"
            for body in BODIES
            if charged[body.decode()] != 1
            and (charged[body.decode()] or (body in acknowledged and dead.get(body) != UNPRICED))
        ]
        if POISON in acknowledged and dead.get(POISON) != UNREADABLE:
            damage.append(f"the dead: {dead}")
        collector.receive(*BODIES)  # senders repeat what they had no answer to
        collector.load()
        charged = store.calls()
        if charged != Counter({body.decode(): 1 for body in BODIES}):
            damage.append(f"sent again: {charged}")
    return damage
