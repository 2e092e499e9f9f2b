"""The five kinds of panel there are; a page decides what is in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders.barchart import Panel as BarChart
from grafana_foundation_sdk.builders.bargauge import Panel as BarGauge
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from tallyspan_grafana.sql.common import Query
from tallyspan_grafana.theme import (
    BY_NAME,
    COUNT,
    DATASOURCE,
    DOLLARS,
    RATIO,
    TEXT,
    TIME_SERIES,
    Target,
    thresholds,
)

NOT_PRICED = "Calls without a price are not in it; they are counted under Unpriced calls."
CACHE_SAVING = (
    "Cost with all that the cache read and wrote as plain input, less the cost; below 0: writes "
    "cost more than reads saved; costs that the provider states do not say it."
)
NO_CALLS = "no calls in this range"
NOWHERE = DynamicConfigValue("custom.hideFrom", {"viz": True, "legend": True, "tooltip": True})
IN_TOOLTIP_ONLY = DynamicConfigValue(
    "custom.hideFrom", {"viz": True, "legend": True, "tooltip": False}
)


@dataclass(frozen=True, slots=True)
class Column:
    """How a table's column looks; `if_null` is its text for NULL, `link` the page its cells open.

    `is_bar` draws its figure as a bar of the largest, and with `colours` as a bar of 1, in the
    colour of its threshold; `levels` are the colours of texts. A link takes the key from the row.
    `is_wrapped`: a text that is shown whole, in several lines.
    """

    field: str
    title: str
    unit: str = COUNT
    decimals: int | None = None
    if_null: str = ""
    link: str = ""
    link_key: str = "key"
    is_hidden: bool = False
    is_wrapped: bool = False
    is_bar: bool = False
    width: int | None = None
    colours: Any = None
    levels: Mapping[str, str] | None = None

    def properties(self) -> list[DynamicConfigValue]:
        """Return the override Grafana takes for the column."""
        properties = [
            DynamicConfigValue("displayName", self.title),
            DynamicConfigValue("unit", self.unit),
        ]
        if self.decimals is not None:
            properties.append(DynamicConfigValue("decimals", self.decimals))
        if self.if_null:
            properties.append(DynamicConfigValue("noValue", self.if_null))
        if self.width is not None:
            properties.append(DynamicConfigValue("custom.width", self.width))
        if self.link:
            page, _, variable = self.link.partition(":")
            url = (
                f"/d/tallyspan-{page}?var-{variable}=${{__data.fields.{self.link_key}}}"
                "&${__url_time_range}"
            )
            properties.append(
                DynamicConfigValue(
                    "links", [{"title": f"Open {page}", "url": url, "targetBlank": False}]
                )
            )
        if self.is_bar:
            cell = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
            properties += [
                DynamicConfigValue("custom.cellOptions", cell),
                DynamicConfigValue("min", 0),
            ]
            properties += (
                [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "blue"})]
                if self.colours is None
                else [
                    DynamicConfigValue("color", {"mode": "thresholds"}),
                    DynamicConfigValue("thresholds", self.colours.build()),
                    DynamicConfigValue("max", 1),
                ]
            )
        if self.is_wrapped:
            wrapped: dict[str, Any] = {"type": "auto", "wrapText": True}
            properties.append(DynamicConfigValue("custom.cellOptions", wrapped))
        if self.levels:
            shown = {
                text: {"color": colour, "index": place, "text": text}
                for place, (text, colour) in enumerate(self.levels.items())
            }
            properties += [
                DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
                DynamicConfigValue("mappings", [{"type": "value", "options": shown}]),
            ]
        if self.is_hidden:
            # Grafana up to 12.1 knows the first, later ones the second.
            properties += [DynamicConfigValue("custom.hidden", value=True), NOWHERE]
        return properties


def hidden(field: str) -> Column:
    """Return a column that only links use."""
    return Column(field, field, TEXT, is_hidden=True)


def spend(*, is_bar: bool = False) -> Column:
    """Return the column every table has."""
    return Column("spend", "Spend", DOLLARS, 4 if not is_bar else 2, "unpriced", is_bar=is_bar)


SHARE = Column("share", "Share", RATIO, 1, "-", is_bar=True)
CHANGE = Column("change", "Change", RATIO, 1, "new")
COMPARED = (
    "Before: the same days of the month, quarter, year, week or day before, where the range begins "
    "with one, else as much time just before it; a range that is not over ends now."
)
CALLS = Column("calls", "Calls")
TOKENS = Column("tokens", "Tokens", COUNT, None, "unknown")
UNPRICED = Column("unpriced", "Unpriced calls")
LAST_CALL = Column("last_call", "Last call", TEXT, if_null="-", width=110)
BEFORE = Column("before", "Before", DOLLARS, 2, "-")
KEY = hidden("key")


def stat(
    title: str,
    query: Query,
    about: str,
    *,
    unit: str = COUNT,
    decimals: int | None = None,
    if_null: str = NO_CALLS,
    colours: Any = None,
) -> Stat:
    """Return one figure."""
    panel = (
        Stat()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .unit(unit)
        .thresholds(thresholds() if colours is None else colours)
        .no_value(if_null)
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.VALUE)
        .text_mode(BigValueTextMode.VALUE)
        .reduce_options(
            ReduceDataOptions()
            .calcs(["lastNotNull"])
            .values(values=False)
            # A text is no numeric field, which is all that '' stands for.
            .fields("/.*/" if unit == TEXT else "")
        )
        .with_target(Target(query))
    )
    return panel if decimals is None else panel.decimals(decimals)


def money(
    title: str, query: Query, about: str, *, if_null: str = "unpriced", colours: Any = None
) -> Stat:
    """Return an amount of USD."""
    return stat(title, query, about, unit=DOLLARS, decimals=2, if_null=if_null, colours=colours)


def text(title: str, query: Query, about: str) -> Stat:
    """Return a name as a figure."""
    return stat(title, query, about, unit=TEXT)


def _legend() -> VizLegendOptions:
    return (
        VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )


def _tooltip() -> VizTooltipOptions:
    """Return a tooltip with all series, the largest first."""
    return VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)


def bars_over_time(
    title: str,
    query: Query,
    about: str,
    *,
    label: str = "",
    unit: str = DOLLARS,
    if_null: str = "nothing priced in this range",
) -> TimeSeries:
    """Return stacked bars; `label` is the column whose texts are the series, if there is one."""
    panel = (
        TimeSeries()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .unit(unit)
        .no_value(if_null)
        .draw_style(GraphDrawStyle.BARS)
        .fill_opacity(80)
        .line_width(0)
        .stacking(StackingConfig().mode(StackingMode.NORMAL))
        .legend(_legend())
        .tooltip(_tooltip())
        .color_scheme(BY_NAME)
        .with_target(Target(query, TIME_SERIES))
    )
    if unit == DOLLARS:
        panel = panel.decimals(2)
    return panel.display_name(f"${{__field.labels.{label}}}") if label else panel


def lines(
    title: str, query: Query, about: str, *, unit: str, if_null: str = NO_CALLS
) -> TimeSeries:
    """Return a line a numeric column, straight from point to point."""
    panel = (
        TimeSeries()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .unit(unit)
        .no_value(if_null)
        .draw_style(GraphDrawStyle.LINE)
        .legend(_legend())
        .tooltip(_tooltip())
        .color_scheme(BY_NAME)
        .with_target(Target(query, TIME_SERIES))
    )
    return panel.decimals(2) if unit == DOLLARS else panel


def bars(title: str, query: Query, about: str, *, link: str = "") -> BarChart:
    """Return the spend of each name as a bar."""
    name = Column("name", "Name", TEXT, link=link)
    return (
        BarChart()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .unit(COUNT)
        .no_value(NO_CALLS)
        .x_field("name")
        .legend(VizLegendOptions().show_legend(show_legend=False))
        .tooltip(_tooltip())
        .orientation(VizOrientation.HORIZONTAL)
        .override_by_name("name", name.properties())
        .override_by_name("spend", Column("spend", "Spend", DOLLARS, 2, "unpriced").properties())
        .override_by_regexp("/^(calls|tokens|unpriced)$/", [IN_TOOLTIP_ONLY])
        .override_by_name("key", KEY.properties())
        .with_target(Target(query))
    )


def gauges(title: str, query: Query, about: str, *, unit: str, colours: Any = None) -> BarGauge:
    """Return the figures of one row, each as a bar between 0 and 1."""
    return (
        BarGauge()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .unit(unit)
        .decimals(1)
        .min(0)
        .max(1)
        .no_value(NO_CALLS)
        .thresholds(thresholds() if colours is None else colours)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .orientation(VizOrientation.HORIZONTAL)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(values=False).fields(""))
        .with_target(Target(query))
    )


def table(
    title: str, query: Query, about: str, columns: Sequence[Column], if_null: str = NO_CALLS
) -> Table:
    """Return a table; a column of the query that is not in `columns` fails the tests."""
    panel = (
        Table()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .unit(COUNT)
        .no_value(if_null)
        .with_target(Target(query))
    )
    for column in columns:
        panel = panel.override_by_name(column.field, column.properties())
    return panel
