"""The Overview: who spends, on what, and what is not in the money yet."""

from grafana_foundation_sdk.builders.barchart import Panel as BarChart
from grafana_foundation_sdk.builders.common import ReduceDataOptions, StackingConfig
from grafana_foundation_sdk.builders.dashboard import Dashboard, FieldColor, QueryVariable
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.models.common import GraphDrawStyle, StackingMode
from grafana_foundation_sdk.models.dashboard import (
    Dashboard as Model,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DynamicConfigValue,
    FieldColorModeId,
    GridPos,
    VariableHide,
    VariableRefresh,
)

from tallyspan_grafana import sql
from tallyspan_grafana.theme import (
    COUNT,
    DATASOURCE,
    DOLLARS,
    MINUTES,
    TIME_SERIES,
    Target,
    variable_query,
)

SOURCE = "From tallyspan.calls, net of duplicates; times in UTC."
NOT_PRICED = "Calls without a price are not in it; they are counted under Unpriced calls."


def build() -> Model:
    """Return the dashboard."""
    page = (
        Dashboard("Tallyspan: Overview")
        .uid("tallyspan-overview")
        .description("What the organisation's LLM calls cost.")
        .tags(["tallyspan"])
        .timezone("utc")
        .time("now-30d", "now")
        .refresh("5m")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
    )
    for name in sql.DIMENSIONS:
        page = page.with_variable(_variable(name))
    stats = (
        (
            "Spend this month",
            sql.SPEND_THIS_MONTH,
            DOLLARS,
            f"Since the 1st, whatever the range above. {NOT_PRICED}",
        ),
        ("Spend", sql.SPEND, DOLLARS, f"In the range above. {NOT_PRICED}"),
        ("Calls", sql.CALLS, COUNT, "Every call once, failed ones included."),
        ("Tokens", sql.TOKENS, COUNT, "Prompt and answer; calls of unknown usage are not in it."),
        (
            "Unpriced calls",
            sql.UNPRICED,
            COUNT,
            "No price or no token count: not in any spend here.",
        ),
        ("Without provider usage", sql.NOT_STATED, COUNT, "Tokens estimated or unknown."),
    )
    for number, (title, query, unit, note) in enumerate(stats):
        page = page.with_panel(
            _stat(number + 1, title, query, unit, note).grid_pos(GridPos(4, 4, number * 4, 0))
        )
    return (
        page.with_panel(_by_day(7).grid_pos(GridPos(9, 16, 0, 4)))
        .with_panel(_by_department(8).grid_pos(GridPos(9, 8, 16, 4)))
        .with_panel(_ranking(9, "Top users", "user_id", "user").grid_pos(GridPos(10, 12, 0, 13)))
        .with_panel(
            _ranking(10, "Top models", "model_name", "model").grid_pos(GridPos(10, 12, 12, 13))
        )
        .with_panel(
            _stat(
                11,
                "Minutes since the last call",
                sql.MINUTES_SINCE_LAST,
                MINUTES,
                "Over all calls of the last 30 days, whatever is chosen above.",
            ).grid_pos(GridPos(4, 24, 0, 23))
        )
        .build()
    )


def _variable(name: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(name.capitalize())
        .datasource(DATASOURCE)
        .query(variable_query(sql.variable(name)))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .hide(VariableHide.DONT_HIDE)
        .multi(multi=True)
        .include_all(include_all=True)
    )


def _stat(number: int, title: str, query: str, unit: str, note: str) -> Stat:
    reduced = ReduceDataOptions().calcs(["lastNotNull"]).values(values=False).fields("")
    return (
        Stat()
        .id(number)
        .title(title)
        .description(f"{note} {SOURCE}")
        .datasource(DATASOURCE)
        .unit(unit)
        .no_value("none yet")
        .reduce_options(reduced)
        .with_target(Target(query))
    )


def _by_day(number: int) -> TimeSeries:
    return (
        TimeSeries()
        .id(number)
        .title("Spend per day, by model")
        .description(f"{NOT_PRICED} {SOURCE}")
        .datasource(DATASOURCE)
        .unit(DOLLARS)
        .decimals(2)
        .no_value("nothing priced in this range")
        .draw_style(GraphDrawStyle.BARS)
        .fill_opacity(80)
        .stacking(StackingConfig().mode(StackingMode.NORMAL))
        .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .display_name("${__field.labels.model}")
        .with_target(Target(sql.SPEND_BY_DAY_AND_MODEL, TIME_SERIES))
    )


def _by_department(number: int) -> BarChart:
    return (
        BarChart()
        .id(number)
        .title("Spend by department")
        .description(f"{NOT_PRICED} {SOURCE}")
        .datasource(DATASOURCE)
        .unit(DOLLARS)
        .decimals(2)
        .no_value("nothing in this range")
        .x_field("department")
        .override_by_regexp("calls|tokens|unpriced", [HIDDEN])
        .with_target(Target(sql.ranking("department", "department")))
    )


def _ranking(number: int, title: str, column: str, label: str) -> Table:
    return (
        Table()
        .id(number)
        .title(title)
        .description(
            f"The 50 that spend most; '(nobody said)': the span names none. {NOT_PRICED} {SOURCE}"
        )
        .datasource(DATASOURCE)
        .unit(COUNT)
        .no_value("unpriced")
        .override_by_name(
            "spend", [DynamicConfigValue("unit", DOLLARS), DynamicConfigValue("decimals", 4)]
        )
        .with_target(Target(sql.ranking(column, label)))
    )


HIDDEN = DynamicConfigValue("custom.hideFrom", {"viz": True, "legend": True, "tooltip": False})
