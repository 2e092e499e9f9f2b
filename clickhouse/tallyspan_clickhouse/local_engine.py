"""The child process of the local store: the ClickHouse engine of chdb-core, served over HTTP.

It ends when its standard input closes, so it never outlives the process that started it.
"""

import argparse
import ctypes
import importlib.machinery
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from tallyspan_clickhouse.confinement import confine
from tallyspan_clickhouse.local_config import START_STATEMENTS

PR_SET_PDEATHSIG = 1


def extension_path() -> Path | None:
    """Return the engine's extension module, or None without chdb-core.

    The `chdb` package itself is never imported: doing so starts a second engine in the process.
    """
    package = importlib.util.find_spec("chdb")
    for folder in (package and package.submodule_search_locations) or ():
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            candidate = Path(folder) / f"_chdb{suffix}"
            if candidate.is_file():
                return candidate
    return None


def load_extension(path: Path) -> Any:
    """Return the extension module loaded from this file."""
    loader = importlib.machinery.ExtensionFileLoader("_chdb", str(path))
    spec = importlib.util.spec_from_file_location("_chdb", path, loader=loader)
    if spec is None:
        raise ImportError(f"{path} is not an extension module")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def end_with_parent(parent_pid: int) -> None:
    """Let the kernel send SIGTERM when the thread that started this process ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        raise SystemExit("the process that started this engine is gone")


def end_with_standard_input() -> None:
    """Wait until the parent lets go of our standard input, then ask the engine to end."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve until standard input closes; exit with the engine's message if it cannot."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--config", type=Path, required=True, help="folder with config.xml")
    arguments.add_argument("--data", type=Path, required=True, help="folder of the tables")
    arguments.add_argument("--log", type=Path, required=True, help="folder of the logs")
    arguments.add_argument("--read", type=Path, nargs="*", default=(), help="folders of archives")
    arguments.add_argument("--port", type=int, required=True, help="port it listens on")
    arguments.add_argument("--parent", type=int, required=True, help="process id of the starter")
    options = arguments.parse_args()
    end_with_parent(options.parent)
    path = extension_path()
    if path is None:
        raise SystemExit("chdb-core is not installed")
    confine(
        path,
        options.config,
        folders=(options.data, options.log),
        readable=options.read,
        port=options.port,
    )
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    os.chdir(options.config)  # the engine reads ./config.xml
    result = load_extension(path).query(
        "; ".join(START_STATEMENTS), "TabSeparated", path=str(options.data)
    )
    if result.has_error():
        raise SystemExit(result.error_message())


if __name__ == "__main__":
    main()
