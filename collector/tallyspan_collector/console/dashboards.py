"""The dashboards in this package, with the queries of their panels and variables."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard: its JSON, the SQL of each panel by id, and of each variable by name.

    `figures` are the panels that show one figure; `since` and `until` the range it opens with.
    """

    uid: str
    title: str
    text: str
    panels: Mapping[int, str]
    variables: Mapping[str, str]
    figures: frozenset[int]
    since: str
    until: str


@cache
def bundled() -> dict[str, Dashboard]:
    """Return uid -> dashboard."""
    folder = resources.files("tallyspan_collector.console") / "dashboards"
    files = (each for each in folder.iterdir() if each.name.endswith(".json"))
    dashboards = (_read(each.read_text(encoding="utf-8")) for each in files)
    return {dashboard.uid: dashboard for dashboard in sorted(dashboards, key=lambda each: each.uid)}


def _read(text: str) -> Dashboard:
    page: dict[str, Any] = json.loads(text)
    return Dashboard(
        uid=page["uid"],
        title=page["title"],
        text=text,
        panels={panel["id"]: panel["targets"][0]["rawSql"] for panel in page["panels"]},
        variables={each["name"]: each["query"]["rawSql"] for each in page["templating"]["list"]},
        figures=frozenset(panel["id"] for panel in page["panels"] if panel["type"] == "stat"),
        since=page["time"]["from"],
        until=page["time"]["to"],
    )
