"""The `tallyspan` command; the commands themselves come with the extra `collector`."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from tallyspan import __version__

INSTALL = "pip install 'tallyspan[collector,local]'"
HELP = f"""\
usage: tallyspan [-h] [--version] COMMAND ...

What your LLM calls cost: every call, once, at the price the provider bills.

Only the instrumentation of services is installed here. The commands (up, report, sql and the
others) come with the collector:

    {INSTALL}
"""
PLATFORMS = "the collector runs on Linux and macOS; on Windows use WSL 2 or Docker"
FIRST_NEED = "structlog"
"""A package that every command needs and that only the extra `collector` brings."""


def main() -> int:
    """Run the command line; return its exit code. Without the extra it answers help and version."""
    if find_spec(FIRST_NEED) is None:
        return _without_collector(sys.argv[1:], FIRST_NEED)
    from tallyspan_collector.cli import main as run

    try:
        return run()
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith("tallyspan"):
            raise
        return _without_collector(sys.argv[1:], missing.name)


def _without_collector(arguments: Sequence[str], missing: str) -> int:
    match list(arguments):
        case ["--version", *_]:
            sys.stdout.write(f"tallyspan {__version__}\n")
        case ["-h" | "--help", *_]:
            sys.stdout.write(HELP)
        case _ if missing in sys.stdlib_module_names:
            sys.stderr.write(f"tallyspan: this Python has no {missing}: {PLATFORMS}\n")
            return 2
        case _:
            sys.stderr.write(f"tallyspan: the collector needs {missing}: {INSTALL}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
