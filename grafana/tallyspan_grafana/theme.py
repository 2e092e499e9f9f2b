"""Units, colours and the one data source: what all panels share."""

from typing import Any

from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models.dashboard import DataSourceRef

DOLLARS = "currency:financial:$"
COUNT = "short"
MINUTES = "m"
DATASOURCE = DataSourceRef(type_val="grafana-clickhouse-datasource", uid="tallyspan")
TIME_SERIES, TABLE = 0, 1
PLUGIN_VERSION = "4.20.0"


class ClickHouseQuery(variants.Dataquery):
    """A raw SQL target of the ClickHouse plugin."""

    def __init__(self, sql: str, form: int) -> None:
        self.sql = sql
        self.form = form

    def to_json(self) -> dict[str, object]:
        """Return the target as the plugin's query model has it."""
        return {
            "refId": "A",
            "datasource": {"type": DATASOURCE.type_val, "uid": DATASOURCE.uid},
            "editorType": "sql",
            "queryType": "timeseries" if self.form == TIME_SERIES else "table",
            "format": self.form,
            "rawSql": self.sql,
            "pluginVersion": PLUGIN_VERSION,
        }


class Target(builder.Builder[variants.Dataquery]):
    """Builds the query, as the panels' builders ask for it."""

    def __init__(self, sql: str, form: int = TABLE) -> None:
        self._query = ClickHouseQuery(sql, form)

    def build(self) -> variants.Dataquery:
        """Return the query."""
        return self._query


def variable_query(sql: str) -> dict[str, Any]:
    """Return the query of a variable: first column the value, second the label."""
    return {"refId": "A", "queryType": "sql", "rawSql": sql}
