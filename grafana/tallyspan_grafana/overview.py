"""The Overview: who spends, on what, and what is not in the money yet."""

from grafana_foundation_sdk.builders.barchart import Panel as BarChart
from grafana_foundation_sdk.builders.common import ReduceDataOptions, StackingConfig
from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.models.common import BigValueGraphMode, GraphDrawStyle, StackingMode
from grafana_foundation_sdk.models.dashboard import Dashboard as Model
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    GridPos,
    VariableHide,
    VariableOption,
    VariableRefresh,
)

from tallyspan_grafana import sql
from tallyspan_grafana.theme import (
    BY_NAME,
    COUNT,
    DATASOURCE,
    DOLLARS,
    IN_TOOLTIP_ONLY,
    MINUTES,
    TIME_SERIES,
    ZONE,
    Target,
    column,
    thresholds,
    variable_query,
)

NOT_PRICED = "Calls without a price are not in it; they are counted under Unpriced calls."
NO_CALLS = "no calls in this range"
EVERYTHING = VariableOption(selected=True, text=["All"], value=["$__all"])


def build(zone: str = ZONE) -> Model:
    """Return the dashboard; its days and months are those of the zone (IANA name)."""
    source = f"From tallyspan.calls, net of duplicates; times in {zone}."
    page = (
        Dashboard("Tallyspan: Overview")
        .uid("tallyspan-overview")
        .description("What the organisation's LLM calls cost.")
        .tags(["tallyspan"])
        .timezone("utc" if zone == "UTC" else zone)
        .time("now-30d", "now")
        .refresh("5m")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
    )
    for name in sql.DIMENSIONS:
        page = page.with_variable(_variable(name))
    left = 0
    for number, (stat, width) in enumerate(_stats(zone, source), 1):
        page = page.with_panel(stat.id(number).grid_pos(GridPos(4, width, left, 0)))
        left += width
    return (
        page.with_panel(_by_day(zone, source).id(8).grid_pos(GridPos(9, 16, 0, 4)))
        .with_panel(_by_department(source).id(9).grid_pos(GridPos(9, 8, 16, 4)))
        .with_panel(_top("user", source).id(10).grid_pos(GridPos(10, 12, 0, 13)))
        .with_panel(_top("model", source).id(11).grid_pos(GridPos(10, 12, 12, 13)))
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
        .current(EVERYTHING)
    )


def _stats(zone: str, source: str) -> list[tuple[Stat, int]]:
    """Return the figures of the first row with their widths, which add up to 24."""
    month = _stat("Spend this month", sql.spend_this_month(zone), "unpriced")
    spend = _stat("Spend", sql.SPEND, "unpriced")
    calls = _stat("Calls", sql.CALLS, NO_CALLS)
    tokens = _stat("Tokens", sql.TOKENS, "unknown")
    unpriced = _stat("Unpriced calls", sql.UNPRICED, NO_CALLS)
    not_stated = _stat("Without provider usage", sql.NOT_STATED, NO_CALLS)
    last = _stat("Minutes since the last call", sql.MINUTES_SINCE_LAST, "none in 30 days")
    month.unit(DOLLARS).decimals(2).description(
        f"Since the 1st, whatever the range above. {NOT_PRICED} {source}"
    )
    spend.unit(DOLLARS).decimals(2).description(f"In the range above. {NOT_PRICED} {source}")
    calls.description(f"Every call once, failed ones included. {source}")
    tokens.description(f"Prompt and answer; calls of unknown usage are not in it. {source}")
    unpriced.thresholds(thresholds(orange_from=1)).description(
        f"No price or no token count: not in any spend here. {source}"
    )
    not_stated.thresholds(thresholds(orange_from=1)).description(
        f"Tokens estimated or unknown; calls that are not billed are not in it. {source}"
    )
    last.unit(MINUTES).thresholds(thresholds(orange_from=60, red_from=1440)).description(
        f"Over all calls of the last 30 days, whatever is chosen above. {source}"
    )
    return [(month, 4), (spend, 4), (calls, 4), (tokens, 3), (unpriced, 3), (not_stated, 3),
            (last, 3)]  # fmt: skip


def _stat(title: str, query: str, if_null: str) -> Stat:
    return (
        Stat()
        .title(title)
        .datasource(DATASOURCE)
        .unit(COUNT)
        .thresholds(thresholds())
        .no_value(if_null)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(values=False).fields(""))
        .with_target(Target(query))
    )


def _by_day(zone: str, source: str) -> TimeSeries:
    return (
        TimeSeries()
        .title("Spend per day, by model")
        .description(f"The range cuts its first and last day. {NOT_PRICED} {source}")
        .datasource(DATASOURCE)
        .unit(DOLLARS)
        .decimals(2)
        .no_value("nothing priced in this range")
        .draw_style(GraphDrawStyle.BARS)
        .fill_opacity(80)
        .stacking(StackingConfig().mode(StackingMode.NORMAL))
        .color_scheme(BY_NAME)
        .display_name("${__field.labels.model}")
        .with_target(Target(sql.spend_by_day_and_model(zone), TIME_SERIES))
    )


def _by_department(source: str) -> BarChart:
    return (
        BarChart()
        .title("Spend by department")
        .description(f"The 50 that spend most. {NOT_PRICED} {source}")
        .datasource(DATASOURCE)
        .unit(COUNT)
        .no_value(NO_CALLS)
        .x_field("name")
        .override_by_name(
            "spend", column(title="Spend", unit=DOLLARS, if_null="unpriced", decimals=2)
        )
        .override_by_regexp("/^(calls|tokens|unpriced)$/", [IN_TOOLTIP_ONLY])
        .with_target(Target(sql.ranking("department")))
    )


def _top(dimension: str, source: str) -> Table:
    return (
        Table()
        .title(f"Top {dimension}s")
        .description(
            f"The 50 that spend most; '(nobody said)': the call names none. {NOT_PRICED} {source}"
        )
        .datasource(DATASOURCE)
        .unit(COUNT)
        .no_value(NO_CALLS)
        .override_by_name("name", column(title=dimension.capitalize(), unit="string"))
        .override_by_name("calls", column(title="Calls", unit=COUNT))
        .override_by_name("tokens", column(title="Tokens", unit=COUNT, if_null="unknown"))
        .override_by_name(
            "spend", column(title="Spend", unit=DOLLARS, if_null="unpriced", decimals=4)
        )
        .override_by_name("unpriced", column(title="Unpriced calls", unit=COUNT))
        .with_target(Target(sql.ranking(dimension)))
    )
