"""The `tallyspan` command; the server behind it is an extra."""

import sys


def main() -> int:
    """Return the exit code of the command line; 2, and what to install on stderr, without it."""
    try:
        from tallyspan_collector.cli import main as run
    except ModuleNotFoundError as missing:
        sys.stderr.write(
            f"tallyspan: the collector needs {missing.name}: "
            "pip install 'tallyspan[collector,local]'\n"
        )
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
