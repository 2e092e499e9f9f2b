"""The pages this package brings, and the questions that answer their panels and variables."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and the panels it answers: all of it is for one, or a column for each of several.

    `limited_sql` is the same for readers who may see some departments only; the unfiltered ones are
    for a page with All in each variable of `filters`. Parameters: `from_s` and `to_s` (seconds
    since 1970), an array of names for each variable, those of `Access`; for tables `max_rows`, for
    variables `contains`, a text that labels have in them.
    """

    sql: str
    limited_sql: str
    panels: Sequence[int] = ()
    columns: Sequence[str] = ()
    filters: Sequence[str] = ()
    unfiltered_sql: str = ""
    limited_unfiltered_sql: str = ""

    def text(self, parameters: Mapping[str, object], *, is_limited: bool) -> str:
        """Return the SQL to ask with these parameters, of which empty arrays are All."""
        if self.filters and not any(parameters[name] for name in self.filters):
            return self.limited_unfiltered_sql if is_limited else self.unfiltered_sql
        return self.limited_sql if is_limited else self.sql

    def answers(self, answer: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number and the answer of each panel."""
        if not self.columns:
            yield self.panels[0], dict(answer)
            return
        columns = answer["columns"]
        for place, (panel, name) in enumerate(zip(self.panels, self.columns, strict=True)):
            yield (
                panel,
                {
                    "columns": [{**each, "name": name} for each in columns[place : place + 1]],
                    "rows": [[row[place]] for row in answer["rows"]],
                    "total": answer["total"],
                },
            )


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page: what is drawn, as JSON text, and its questions, those of variables by name.

    `since` and `until` are the range it opens with.
    """

    uid: str
    title: str
    text: str
    questions: tuple[Question, ...]
    variables: Mapping[str, Question]
    since: str
    until: str


@cache
def bundled() -> dict[str, Dashboard]:
    """Return uid -> page."""
    file = resources.files("tallyspan_collector.console") / "pages.json"
    pages = (_read(entry) for entry in json.loads(file.read_text(encoding="utf-8")))
    return {page.uid: page for page in sorted(pages, key=lambda page: page.uid)}


def _read(entry: Mapping[str, Any]) -> Dashboard:
    page = entry["page"]
    return Dashboard(
        uid=page["uid"],
        title=page["title"],
        text=json.dumps(page, ensure_ascii=False),
        questions=tuple(Question(**each) for each in entry["questions"]),
        variables={name: Question(**each) for name, each in entry["variables"].items()},
        since=page["time"]["from"],
        until=page["time"]["to"],
    )
