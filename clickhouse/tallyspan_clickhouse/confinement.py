"""What the engine of a local store may touch: its own folders, and what it takes to run.

ClickHouse's `file()` reads whatever its process may read, for any account and without a grant. So
the process may read little.
"""

import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

from tallyspan_clickhouse import landlock

NOT_CONFINED = (
    "who has a password of the local store reads any file that its user can read:"
    " give none away, see docs/operations.md"
)
LIBRARIES = (
    "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib",
    "/nix/store", "/etc/ld.so.cache", "/etc/ld-musl-x86_64.path", "/etc/ld-musl-aarch64.path",
)  # fmt: skip
MACHINE = (
    "/usr/share/zoneinfo", "/etc/localtime", "/dev/null", "/dev/urandom", "/dev/random",
    "/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/loadavg", "/proc/uptime",
    "/proc/vmstat", "/proc/diskstats", "/proc/net/dev", "/proc/sys/vm", "/proc/sys/kernel",
    "/sys/fs/cgroup", "/sys/devices/system", "/sys/block", "/sys/class/hwmon",
)  # fmt: skip
"""What says how large and how busy the machine is."""
_ENVIRONMENT = ("PYTHON", "LD_", "DYLD_", "LC_", "LANG", "PATH", "HOME", "TMPDIR", "VIRTUAL_ENV")
"""How the names begin of the variables that an interpreter and its libraries need."""


def missing() -> str:
    """Return why an engine cannot be confined here, empty if it can."""
    if sys.platform != "linux":
        return f"{sys.platform} has no Landlock"
    version = landlock.abi()
    if version == 0:
        return "this kernel has no Landlock, or it is switched off"
    if version < landlock.MIN_ABI:
        return f"the Landlock of this kernel is too old (Linux {os.uname().release}, 5.19 needed)"
    return ""


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the engine's environment: what starting Python takes, and no setting of ours."""
    kept = {name: text for name, text in inherited.items() if name.startswith(_ENVIRONMENT)}
    return {**kept, "TZ": "UTC"}


def confine(
    extension: Path, config: Path, folders: Iterable[Path], readable: Iterable[Path], port: int
) -> None:
    """Let this process keep `folders`, read `config`, `readable` and its libraries, serve `port`.

    Does nothing where `missing` says why. Call it before any other thread runs. Raises OSError.
    """
    if missing():
        return
    package = extension.parent
    python = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
    programs = (*map(Path, (*LIBRARIES, *python)), package, *package.parent.glob("chdb*.libs"))
    machine = map(Path, MACHINE)
    landlock.restrict((*programs, *machine, config, *readable), folders, port)
