"""Names of files and folders that survive a loss of power.

A file that is synced may be gone all the same: its name is on the disk once its folder is synced.
"""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Return once the names in the folder are on the disk. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make the folder, and those above it that are missing, so that they stay. Raises `OSError`."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)
