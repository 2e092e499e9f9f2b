"""What can go wrong with collectors and their store: functions that do it, and undo it."""

import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from front import Front, Mode

CLOCK_STEPS = {"+2 h": 7_200, "+26 h": 93_600, "+3 d": 259_200, "-30 min": -1_800, "-26 h": -93_600}
SMALL_DISK_MB = 768
UNLIMITED = resource.RLIM_INFINITY


class Killable(Protocol):
    """A collector of the soak: its processes can be ended, and it is started again."""

    def processes(self) -> list[int]:
        """Return the process ids, the first one that of the parent."""

    def kill(self) -> None:
        """SIGKILL of the first process, and a start."""

    def end(self) -> None:
        """SIGTERM, and a start."""

    def lose_power(self, chance: random.Random) -> None:
        """SIGKILL of all processes, the loss of what they did not sync, and a start."""


class Engine(Protocol):
    """The engine of the store."""

    def processes(self) -> list[int]:
        """Return the process ids."""


class Clock:
    """The clock of all collectors: a file that libfaketime reads, as each looks at it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0)

    def set(self, seconds: int) -> None:
        """Let it be so many seconds later than it is."""
        draft = self.path.with_suffix(".new")
        draft.write_text(f"{seconds:+d}")
        draft.replace(self.path)


@dataclass
class Scene:
    """What there is to disturb.

    `fronts` are those of the store, one a collector; `store_disk` is the small disk it is on.
    """

    collectors: Sequence[Killable]
    store: Engine
    fronts: Sequence[Front]
    clock: Clock | None
    store_disk: Path | None
    chance: random.Random

    def collector(self) -> Killable:
        """Return one of them."""
        return self.chance.choice(self.collectors)

    def pause(self, least: float, most: float) -> None:
        """Let a fault last for a while."""
        time.sleep(self.chance.uniform(least, most))


@contextmanager
def _stopped(processes: Sequence[int]) -> Iterator[None]:
    _signal(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(processes, signal.SIGCONT)


@contextmanager
def _full_disk(processes: Sequence[int]) -> Iterator[None]:
    """No file of these processes grows or is written beyond its first byte."""
    _limit(processes, 1)
    try:
        yield
    finally:
        _limit(processes, UNLIMITED)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small disk at a new folder until the block ends; yield whether that can be done."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MB}m", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """Take all the room that a disk has left."""
    ballast = folder / "ballast"
    try:
        with ballast.open("wb") as file:
            for size in (1 << 20, 4096):
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
        yield
    finally:
        ballast.unlink(missing_ok=True)


def _limit(processes: Sequence[int], size: int) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, UNLIMITED))


def _signal(processes: Sequence[int], number: signal.Signals) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_collector(scene: Scene) -> None:
    scene.collector().kill()


def end_collector(scene: Scene) -> None:
    scene.collector().end()


def kill_worker(scene: Scene) -> None:
    workers = [pid for each in scene.collectors for pid in each.processes()[1:]]
    if workers:
        _signal([scene.chance.choice(workers)], signal.SIGKILL)
        scene.pause(2, 4)


def stop_collector(scene: Scene) -> None:
    with _stopped(scene.collector().processes()):
        scene.pause(1, 4)


def lose_power(scene: Scene) -> None:
    scene.collector().lose_power(scene.chance)


def kill_store(scene: Scene) -> None:
    _signal(scene.store.processes(), signal.SIGKILL)
    scene.pause(1, 3)


def stop_store(scene: Scene) -> None:
    with _stopped(scene.store.processes()):
        scene.pause(1, 6)


def kill_collector_and_store(scene: Scene) -> None:
    _signal(scene.store.processes(), signal.SIGKILL)
    scene.collector().kill()


def collector_disk_full(scene: Scene) -> None:
    with _full_disk(scene.collector().processes()):
        scene.pause(2, 6)


def store_disk_full(scene: Scene) -> None:
    if scene.store_disk is not None:
        with _filled(scene.store_disk):
            scene.pause(2, 6)


def clock_step(scene: Scene) -> None:
    if scene.clock is not None:
        scene.clock.set(scene.chance.choice([*CLOCK_STEPS.values()]))
        scene.pause(2, 8)
        scene.clock.set(0)
        time.sleep(1)  # each process looks at the file once a second


def _befall(mode: Mode, least: float, most: float) -> Callable[[Scene], None]:
    def befall(scene: Scene) -> None:
        chance = scene.chance
        front = chance.choice(scene.fronts)
        front.seconds = chance.uniform(0.2, 2)
        about = chance.choice((b"", b"INSERT"))
        times = 1 if mode is Mode.SWALLOW else chance.randint(1, 20)
        front.befall(mode, about, times, chance.choice((0, 1, chance.randrange(3_000))))
        scene.pause(least, most)
        front.befall(Mode.PASS)

    return befall


Fault = Callable[[Scene], None]
FAULTS: dict[str, Fault] = {
    "kill_collector": kill_collector,
    "end_collector": end_collector,
    "kill_worker": kill_worker,
    "stop_collector": stop_collector,
    "lose_power": lose_power,
    "kill_store": kill_store,
    "stop_store": stop_store,
    "kill_collector_and_store": kill_collector_and_store,
    "collector_disk_full": collector_disk_full,
    "store_disk_full": store_disk_full,
    "clock_step": clock_step,
    "store_request_cut": _befall(Mode.CUT_REQUEST, 2, 5),
    "store_request_cut_in_half": _befall(Mode.CUT, 2, 5),
    "store_answer_cut": _befall(Mode.CUT_ANSWER, 2, 5),
    "store_answers_nonsense": _befall(Mode.PAGE, 3, 8),
    "store_answers_nothing": _befall(Mode.EMPTY, 3, 8),
    "store_delays": _befall(Mode.DELAY, 3, 8),
    "store_swallows": _befall(Mode.SWALLOW, 2, 6),
}
