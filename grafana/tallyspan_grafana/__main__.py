"""`python -m tallyspan_grafana [--check]`: write the dashboards, or fail if they would change."""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tallyspan_grafana import overview

FOLDER = Path(__file__).parents[1] / "dashboards"
PAGES = {"overview.json": overview.build}


def render(name: str) -> str:
    """Return the named dashboard as the JSON text that is committed."""
    return JSONEncoder(sort_keys=True, indent=2).encode(PAGES[name]()) + "\n"


def main() -> int:
    """Write or check every page; return 1 if a committed file is not what would be written."""
    drifted = 0
    for name in PAGES:
        path, text = FOLDER / name, render(name)
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.is_file() or json.loads(path.read_text()) != json.loads(text):
            sys.stderr.write(f"{path} is not what the generator makes: run `make dashboards`\n")
            drifted = 1
    return drifted


if __name__ == "__main__":
    sys.exit(main())
