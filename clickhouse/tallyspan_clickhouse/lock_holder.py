"""Who holds a lock, so that others on its machine know at once that it died.

Elsewhere it is known only by its silence: containers on one machine, say, do not see each other.
"""

import os
from pathlib import Path


def mark() -> str:
    """Return what tells this process from all others, in one word; empty: the system cannot say."""
    return _of(os.getpid())


def is_gone(holder: str) -> bool:
    """Whether the process of that mark ran on this machine, where it would be seen, and ended."""
    here, _, _ = mark().rpartition("-")
    place, _, process = holder.rpartition("-")
    pid, _, _ = process.partition("_")
    if not here or here != place or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    # its number may be another's by now; of another user's process nothing may be seen
    return _of(int(pid)) not in {holder, ""} or _is_zombie(int(pid))


def _of(pid: int) -> str:
    proc = Path("/proc")
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().partition("-")[0]
        namespace = (proc / "self/ns/pid").stat().st_ino
        return f"{boot}-{namespace}-{pid}_{_stat(pid)[19]}"
    except OSError:
        return ""


def _is_zombie(pid: int) -> bool:
    try:
        return _stat(pid)[0] == "Z"
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """Return its state, and 19 fields later when it started."""
    # the command's name is in brackets, and may have any character
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
