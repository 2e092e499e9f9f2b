"""`python -m tallyspan_grafana [--check]`: write pages and alerting, or fail on a change."""

import argparse
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tallyspan_grafana import alerting, console
from tallyspan_grafana.pages import (
    agents,
    budgets,
    call,
    conversation,
    departments,
    health,
    models,
    months,
    overview,
    prices,
    user,
    users,
)

FOLDER = Path(__file__).parents[1] / "dashboards"
PROVISIONING = Path(__file__).parents[1] / "provisioning"
# The console draws the same pages; its file is in the wheel, which this folder is not.
CONSOLE = Path(__file__).parents[2] / "collector/tallyspan_collector/console"
PAGES = {
    "overview.json": overview.build,
    "users.json": users.build,
    "user.json": user.build,
    "departments.json": departments.build,
    "agents.json": agents.build,
    "conversation.json": conversation.build,
    "call.json": call.build,
    "models.json": models.build,
    "budgets.json": budgets.build,
    "months.json": months.build,
    "prices.json": prices.build,
    "health.json": health.build,
}


def render(name: str) -> str:
    """Return the named dashboard as the JSON text that is committed."""
    return JSONEncoder(sort_keys=True, indent=2).encode(PAGES[name]().dashboard()) + "\n"


def provisioned() -> dict[str, str]:
    """Return the files of alerting by their path below `provisioning`."""
    points = {
        f"contact_points/{channel}.yaml": alerting.contact_point(channel)
        for channel in alerting.CHANNELS
    }
    return {"alerting/rules.yaml": alerting.rules(), **points}


def console_file() -> str:
    """Return the text of the console's pages."""
    return console.render([build() for build in PAGES.values()])


def main(
    arguments: list[str] | None = None,
    dashboards: Path = FOLDER,
    provisioning: Path = PROVISIONING,
    pages: Path = CONSOLE,
) -> int:
    """Write or check every file; return 1 if a committed file is not what would be written."""
    parser = argparse.ArgumentParser(prog="tallyspan_grafana", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on drift")
    is_check = parser.parse_args(arguments).check
    drifted = 0
    files = {dashboards / name: render(name) for name in PAGES}
    files |= {provisioning / name: text for name, text in provisioned().items()}
    files[pages / "pages.json"] = console_file()
    for path, text in files.items():
        if not is_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{path} is not what the generator makes: run `make dashboards`\n")
            drifted = 1
    return drifted


if __name__ == "__main__":
    sys.exit(main())
