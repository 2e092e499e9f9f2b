"""The panels of a dashboard -> as few queries as answer them: figures of the same calls are one.

A row of single figures differs in what it selects and in nothing else. Asked one by one, each reads
the same calls again; asked together they are read once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tallyspan_collector.console.dashboards import Dashboard

_SELECT, _FROM, _AS = "SELECT ", " FROM ", " AS "


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and the panels it answers: all of it is for one, or a column for each of several."""

    sql: str
    panels: tuple[int, ...]
    columns: tuple[str, ...] = ()

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
                    "truncated": answer["truncated"],
                },
            )


def questions(dashboard: Dashboard) -> list[Question]:
    """Return the queries that answer every panel of the dashboard once."""
    asked: dict[str, Question] = {}
    for number, sql in dashboard.panels.items():
        figure = _figure(sql) if number in dashboard.figures else None
        if figure is None:
            asked[sql] = Question(sql, (number,))
            continue
        what, name, where = figure
        before = asked.get(where, Question("", ()))
        # Names of their own: an alias would stand for the column of the same name in the others.
        selected = f"{what}{_AS}figure_{number}"
        asked[where] = replace(
            before,
            sql=f"{before.sql}, {selected}" if before.panels else selected,
            panels=(*before.panels, number),
            columns=(*before.columns, name),
        )
    return [
        replace(each, sql=f"{_SELECT}{each.sql}{_FROM}{where}") if each.columns else each
        for where, each in asked.items()
    ]


def _figure(sql: str) -> tuple[str, str, str] | None:
    """Return what a query selects, under which name, and all after FROM; None if it is no figure.

    What selects from a subquery, or several columns, stays as it is.
    """
    what, is_from, where = sql.removeprefix(_SELECT).partition(_FROM)
    expression, is_named, name = what.rpartition(_AS)
    if not (sql.startswith(_SELECT) and is_from and is_named and name.isidentifier()):
        return None
    return (expression, name, where) if expression.count("(") == expression.count(")") else None
