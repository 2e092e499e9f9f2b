"""Units, colours and the one data source: what all panels share."""

from typing import Any

from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
)

from tallyspan_clickhouse.query.binding import Grafana
from tallyspan_grafana.sql.common import Query

ZONE = "UTC"
DOLLARS = "currency:financial:$"
COUNT = "short"
EXACT = "locale"
RATIO = "percentunit"
MINUTES = "m"
SECONDS = "s"
TIME = "dateTimeAsIso"
TEXT = "string"
DATASOURCE = DataSourceRef(type_val="grafana-clickhouse-datasource", uid="tallyspan")
TIME_SERIES, TABLE = 0, 1
PLUGIN_VERSION = "4.20.0"

# A model keeps its colour on every page.
BY_NAME = FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME)


def thresholds(
    *,
    orange_from: float | None = None,
    red_from: float | None = None,
    good_from: float | None = None,
) -> Any:
    """Return the colours of a figure. Without them Grafana paints everything from 80 up red.

    `good_from` is for figures where more is better: below it they are orange.
    """
    steps = [Threshold(value=None, color="text" if good_from is None else "orange")]
    if good_from is not None:
        steps.append(Threshold(value=good_from, color="text"))
    if orange_from is not None:
        steps.append(Threshold(value=orange_from, color="orange"))
    if red_from is not None:
        steps.append(Threshold(value=red_from, color="red"))
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


class ClickHouseQuery(variants.Dataquery):
    """A raw SQL target of the ClickHouse plugin."""

    def __init__(self, query: Query, form: int) -> None:
        self.query = query
        self.form = form

    def to_json(self) -> dict[str, object]:
        """Return the target as the plugin's query model has it."""
        return {
            "refId": "A",
            "datasource": {"type": DATASOURCE.type_val, "uid": DATASOURCE.uid},
            "editorType": "sql",
            "queryType": "timeseries" if self.form == TIME_SERIES else "table",
            "format": self.form,
            "rawSql": self.query(Grafana()),
            "pluginVersion": PLUGIN_VERSION,
        }


class Target(builder.Builder[variants.Dataquery]):
    """Builds the query, as the panels' builders ask for it."""

    def __init__(self, query: Query, form: int = TABLE) -> None:
        self._query = ClickHouseQuery(query, form)

    def build(self) -> variants.Dataquery:
        """Return the query."""
        return self._query


def variable_query(query: Query) -> dict[str, Any]:
    """Return the query of a variable: first column the value, second the label."""
    return {"refId": "A", "queryType": "sql", "rawSql": query(Grafana())}
