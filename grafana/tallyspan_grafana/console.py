"""The pages as the console reads them: what it draws, and the queries with bound parameters.

`limited_sql` is for readers who may not see everything: each view in it is read through the
condition on department and tenant. `unfiltered_sql` and `limited_unfiltered_sql` are for a page
with All in each of the variables `filters`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tallyspan_clickhouse.query.binding import Binding, Bound
from tallyspan_grafana.page import Page
from tallyspan_grafana.sql.common import FILTERS, Figure, Query

PAGE_KEYS = ("uid", "title", "description", "timezone", "time", "links")
LINK_KEYS = ("title", "url")
VARIABLE_KEYS = ("name", "label", "multi")
LEVELS = 4
PANEL_KEYS = ("id", "type", "title", "description", "gridPos", "fieldConfig", "options")


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and the panels it answers: all of it is for one, or a column for each of several."""

    query: Query
    panels: tuple[int, ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """A query for several figures of the same rows, by the numbers of their panels."""

    figures: Mapping[int, Figure]

    def __call__(self, binding: Binding) -> str:
        """Return the query; rows are those of the first figure."""
        # Names of their own: an alias would stand for the column of the same name in the others.
        columns = [f"{each.expression} AS figure_{panel}" for panel, each in self.figures.items()]
        first = next(iter(self.figures.values()))
        return f"SELECT {', '.join(columns)} {first.rows(binding)}"


def questions(queries: Mapping[int, Query]) -> list[Question]:
    """Return the questions that answer every panel once; figures of the same rows are one.

    A row of single figures differs in what it selects and in nothing else. As queries of their own
    each would read the same rows again; as one query they are read once.
    """
    figures: dict[str, dict[int, Figure]] = {}
    order: list[dict[int, Figure] | Question] = []
    for panel, query in queries.items():
        if not isinstance(query, Figure):
            order.append(Question(query, (panel,)))
            continue
        rows = query.rows(Bound())
        if rows not in figures:
            figures[rows] = {}
            order.append(figures[rows])
        figures[rows][panel] = query
    return [
        each
        if isinstance(each, Question)
        else Question(Figures(each), tuple(each), tuple(figure.name for figure in each.values()))
        for each in order
    ]


def render(pages: Sequence[Page]) -> str:
    """Return the text of the console's file: a line a panel and a query, so that changes show."""
    return _text([_entry(page) for page in pages], LEVELS) + "\n"


def _entry(page: Page) -> dict[str, Any]:
    """Return a page: what is drawn, the questions of its panels, the queries of its variables."""
    dashboard = json.loads(JSONEncoder().encode(page.dashboard()))
    drawn = _only(PAGE_KEYS, dashboard)
    drawn["links"] = [_only(LINK_KEYS, each) for each in dashboard["links"]]
    variables = dashboard["templating"]["list"]
    drawn["templating"] = {"list": [_only(VARIABLE_KEYS, each) for each in variables]}
    drawn["panels"] = [_only(PANEL_KEYS, each) for each in dashboard["panels"]]
    return {
        "page": drawn,
        "questions": [
            {"panels": each.panels, "columns": each.columns, **_texts(each.query)}
            for each in questions(page.queries())
        ],
        "variables": {name: _texts(query) for name, query in page.variables.items()},
    }


def _texts(query: Query) -> dict[str, Any]:
    sql = query(Bound())
    texts = {"sql": sql, "limited_sql": query(Bound(is_limited=True))}
    filters = [name for name in FILTERS if Bound().is_all(name) in sql]
    if not filters:
        return texts
    return texts | {
        "filters": filters,
        "unfiltered_sql": query(Bound(is_unfiltered=True)),
        "limited_unfiltered_sql": query(Bound(is_limited=True, is_unfiltered=True)),
    }


def _only(keys: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in keys if name in values}


def _text(value: Any, levels: int) -> str:
    """Return JSON whose outer levels have an element a line."""
    match value:
        case dict() if levels and value:
            items = [
                f"{json.dumps(name)}: {_text(each, levels - 1)}" for name, each in value.items()
            ]
            return "{\n" + ",\n".join(items) + "\n}"
        case list() if levels and value:
            return "[\n" + ",\n".join(_text(each, levels - 1) for each in value) + "\n]"
        case _:
            return json.dumps(value, ensure_ascii=False)
