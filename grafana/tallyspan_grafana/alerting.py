"""Alert rules and contact points, as Grafana's file provisioning reads them.

Outside rules: https://grafana.com/docs/grafana/latest/alerting/set-up/provision-alerting-resources/.
Grafana puts environment variables into labels, titles and settings of contact points, and leaves
annotations and queries as they are.
"""

from dataclasses import dataclass
from typing import Any

import yaml

from tallyspan_grafana.sql import alerts
from tallyspan_grafana.theme import DATASOURCE, PLUGIN_VERSION, TABLE

RECEIVER = "Tallyspan"
FOLDER = "Tallyspan"
HEADER = "# Made by grafana/tallyspan_grafana/alerting.py: change that, run `make dashboards`.\n"


@dataclass(frozen=True, slots=True)
class Rule:
    """A question; each row it answers is an instance that fires after `pending`.

    `page` and `panel` lead from the alert to a dashboard. `no_data` is the state when the question
    has no row at all, which for most means that all is well.
    """

    uid: str
    title: str
    sql: str
    summary: str
    description: str
    severity: str
    page: str
    panel: int = 1
    pending: str = "0s"
    no_data: str = "OK"
    repeat: str = "1d"

    def render(self) -> dict[str, Any]:
        """Return the rule as its file has it."""
        expression = {"type": "__expr__", "uid": "__expr__"}
        return {
            "uid": self.uid,
            "title": self.title,
            "condition": "B",
            "dashboardUid": f"tallyspan-{self.page}",
            "panelId": self.panel,
            "for": self.pending,
            "noDataState": self.no_data,
            # A question that cannot be asked is trouble of its own, not a budget that is exceeded.
            "execErrState": "Error",
            "isPaused": False,
            "annotations": {"summary": self.summary, "description": self.description},
            "labels": {"severity": self.severity, "product": "tallyspan"},
            "notification_settings": {
                "receiver": RECEIVER,
                "group_by": ["grafana_folder", "alertname"],
                "group_wait": "30s",
                "group_interval": "5m",
                "repeat_interval": self.repeat,
            },
            "data": [
                {
                    "refId": "A",
                    "datasourceUid": DATASOURCE.uid,
                    "relativeTimeRange": {"from": 86_400, "to": 0},
                    "model": {
                        "refId": "A",
                        "datasource": {"type": DATASOURCE.type_val, "uid": DATASOURCE.uid},
                        "editorType": "sql",
                        "queryType": "table",
                        "format": TABLE,
                        "rawSql": self.sql,
                        "pluginVersion": PLUGIN_VERSION,
                        "intervalMs": 60_000,
                        "maxDataPoints": 1_000,
                    },
                },
                {
                    "refId": "B",
                    "datasourceUid": "__expr__",
                    "relativeTimeRange": {"from": 0, "to": 0},
                    "model": {
                        "refId": "B",
                        "type": "threshold",
                        "datasource": expression,
                        "expression": "A",
                        "conditions": [{"evaluator": {"type": "gt", "params": [0]}}],
                    },
                },
            ],
        }


_BUDGET = "{{ $labels.scope }} {{ $labels.budget }}, {{ $labels.period }}"
_FIGURE = '{{ printf "%.1f" $values.A.Value }}'
_CHANGE = "What it is compared with: tallyspan budgets thresholds."
MONEY = [
    Rule(
        "tallyspan-budget-warning",
        "Budget nearly used up",
        alerts.budgets_in("warning"),
        f"{_BUDGET}: {_FIGURE} % of the budget is used",
        "It has reached its warning percentage (80 unless set otherwise).",
        "warning",
        "budgets",
        5,
    ),
    Rule(
        "tallyspan-budget-over",
        "Budget exceeded",
        alerts.budgets_in("over"),
        f"{_BUDGET}: {_FIGURE} % of the budget is used",
        "It has reached its critical percentage (100 unless set otherwise).",
        "critical",
        "budgets",
        5,
    ),
    Rule(
        "tallyspan-budget-forecast",
        "Budget will be exceeded",
        alerts.FORECASTS_OVER,
        f"{_BUDGET}: the forecast is {_FIGURE} % of the budget",
        "By what the weekdays of the last 28 days cost, the period ends above the amount.",
        "warning",
        "budgets",
        5,
        pending="30m",
    ),
    Rule(
        "tallyspan-spike-user",
        "Spend of a user jumped",
        alerts.spike("user_id", "user"),
        f"{{{{ $labels.user }}}} spent ${_FIGURE} on {{{{ $labels.day }}}}, much more than usual",
        f"Far above the median of the 28 days before. {_CHANGE}",
        "warning",
        "users",
        7,
    ),
    Rule(
        "tallyspan-spike-model",
        "Spend on a model jumped",
        alerts.spike("model_name", "model"),
        f"{{{{ $labels.model }}}} cost ${_FIGURE} on {{{{ $labels.day }}}}, much more than usual",
        f"Far above the median of the 28 days before. {_CHANGE}",
        "warning",
        "models",
    ),
]
DATA = [
    Rule(
        "tallyspan-unpriced",
        "Calls without a price",
        alerts.UNPRICED,
        f"{_FIGURE} calls of {{{{ $labels.model }}}} ({{{{ $labels.provider }}}}) have no price",
        f"They are in no sum until they have one: tallyspan prices missing. {_CHANGE}",
        "warning",
        "prices",
        pending="15m",
    ),
    Rule(
        "tallyspan-no-data",
        "No calls arrive",
        alerts.NO_DATA,
        f"The last call was {_FIGURE} minutes ago",
        f"Exporters, network or collector: see Data health. {_CHANGE}",
        "critical",
        "health",
        pending="5m",
        # It always has a row: none means that the store did not answer as it should.
        no_data="Alerting",
    ),
    Rule(
        "tallyspan-doubtful",
        "Figures are late or guessed",
        alerts.DOUBTFUL,
        f"{_FIGURE} {{{{ $labels.trouble }}}}",
        f"The sums are less exact than they should be: see Data health. {_CHANGE}",
        "warning",
        "health",
        pending="30m",
    ),
    Rule(
        "tallyspan-collector",
        "A collector is in trouble",
        alerts.COLLECTORS,
        f"{{{{ $labels.collector }}}}: {{{{ $labels.trouble }}}}, {_FIGURE}",
        f"In the last 15 minutes; docs/operations.md says what to do. {_CHANGE}",
        "critical",
        "health",
        pending="2m",
    ),
]
RULES = (*MONEY, *DATA)
_TO = "$TALLYSPAN_ALERT_TO"
# Channel -> type of Grafana's receiver and its settings; where it goes is in the environment.
CHANNELS: dict[str, dict[str, Any]] = {
    "email": {"addresses": _TO, "singleEmail": True},
    "webhook": {"url": _TO, "httpMethod": "POST"},
    "slack": {"url": _TO},
    "teams": {"url": _TO},
    "pagerduty": {"integrationKey": _TO, "class": "llm-cost"},
    "opsgenie": {"apiKey": _TO},
}


def rules() -> str:
    """Return the file of all rules."""
    groups = [
        {"name": "Money", "interval": "5m", "rules": [rule.render() for rule in MONEY]},
        {"name": "Data", "interval": "1m", "rules": [rule.render() for rule in DATA]},
    ]
    return _file({"groups": [{"orgId": 1, "folder": FOLDER, **group} for group in groups]})


def contact_point(channel: str) -> str:
    """Return the file of the contact point that uses the channel."""
    receiver = {
        "uid": "tallyspan",
        "type": channel,
        "settings": CHANNELS[channel],
        "disableResolveMessage": False,
    }
    return _file({"contactPoints": [{"orgId": 1, "name": RECEIVER, "receivers": [receiver]}]})


def _file(said: dict[str, Any]) -> str:
    text = yaml.safe_dump({"apiVersion": 1, **said}, sort_keys=False, width=1_000_000)
    return HEADER + text
