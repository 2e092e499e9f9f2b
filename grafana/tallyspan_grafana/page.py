"""A page: its variables, its menu, and rows of panels that fill the 24 columns of the grid."""

from typing import Any, Self

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, QueryVariable
from grafana_foundation_sdk.models.dashboard import Dashboard as Model
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    GridPos,
    Panel,
    VariableHide,
    VariableOption,
    VariableRefresh,
)

from tallyspan_grafana.sql import common
from tallyspan_grafana.sql.common import Query
from tallyspan_grafana.theme import DATASOURCE, ClickHouseQuery, variable_query

MENU = {
    "overview": "Overview",
    "users": "Users",
    "departments": "Departments",
    "agents": "Agents",
    "models": "Models",
    "budgets": "Budgets",
    "months": "Months",
    "prices": "Prices",
    "health": "Data health",
}
EVERYTHING = VariableOption(selected=True, text=["All"], value=["$__all"])


class Page:
    """Collects rows of panels, numbers them and puts each where it belongs.

    `variables` are the queries of its variables by their names.
    """

    def __init__(
        self,
        name: str,
        title: str,
        about: str,
        zone: str,
        *,
        since: str = "now-30d",
        until: str = "now",
    ) -> None:
        self.variables: dict[str, Query] = {}
        self._page = (
            Dashboard(f"Tallyspan: {title}")
            .uid(f"tallyspan-{name}")
            .description(about)
            .tags(["tallyspan"])
            .timezone("utc" if zone == "UTC" else zone)
            .time(since, until)
            .refresh("5m")
            .readonly()
            .tooltip(DashboardCursorSync.CROSSHAIR)
        )
        for target, shown in MENU.items():
            self._page = self._page.link(
                DashboardLink(shown)
                .type(DashboardLinkType.LINK)
                .url(f"/d/tallyspan-{target}")
                .tooltip("")
                .icon("dashboard")
                .keep_time(keep_time=True)
                .include_vars(include_vars=True)
            )
        self._top = 0
        self._count = 0

    def choose_some(self) -> Self:
        """Let the reader choose several departments, users and models."""
        for name in common.FILTERS:
            self._page = self._page.with_variable(
                self._variable(name, common.variable(name))
                .multi(multi=True)
                .include_all(include_all=True)
                .current(EVERYTHING)
            )
        return self

    def choose_one(self, name: str, query: Query) -> Self:
        """Let the reader choose one."""
        self._page = self._page.with_variable(self._variable(name, query))
        return self

    def row(self, height: int, *panels: tuple[Any, int]) -> Self:
        """Put panels side by side, each with its width; widths add up to 24."""
        left = 0
        for panel, width in panels:
            self._count += 1
            placed = panel.id(self._count).grid_pos(GridPos(height, width, left, self._top))
            self._page = self._page.with_panel(placed)
            left += width
        self._top += height
        return self

    def dashboard(self) -> Model:
        """Return the page as Grafana reads it."""
        page = self._page.build()
        page.templating.list_val = page.templating.list_val or []  # a page may have no variable
        for link in page.links or []:
            # The SDK's default hides the menu in a dropdown of controls from Grafana 12.3 on.
            link.placement = None  # type: ignore[assignment]  # left out
        return page

    def queries(self) -> dict[int, Query]:
        """Return the queries of its panels by their numbers."""
        queries: dict[int, Query] = {}
        for panel in self.dashboard().panels or []:
            if isinstance(panel, Panel) and panel.id_val is not None:
                for target in panel.targets or []:
                    if isinstance(target, ClickHouseQuery):
                        queries[panel.id_val] = target.query
        return queries

    def _variable(self, name: str, query: Query) -> QueryVariable:
        self.variables[name] = query
        return (
            QueryVariable(name)
            .label(name.capitalize())
            .datasource(DATASOURCE)
            .query(variable_query(query))
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .hide(VariableHide.DONT_HIDE)
        )
