"""All rules, in the order in which their findings are shown."""

from collections.abc import Sequence

from tallyspan_collector.librechat.check.asking import collector_findings
from tallyspan_collector.librechat.check.chat import chat_findings
from tallyspan_collector.librechat.check.endpoints import endpoint_findings
from tallyspan_collector.librechat.check.findings import Finding, Severity
from tallyspan_collector.librechat.check.in_use import InUse
from tallyspan_collector.librechat.check.paths import path_findings
from tallyspan_collector.librechat.check.settings import Settings
from tallyspan_collector.librechat.check.spans import span_findings


def find(settings: Settings, in_use: InUse | None = None, collector: str = "") -> Sequence[Finding]:
    """Return what is found, the worst first; with a collector's URL it is asked as well."""
    findings = [
        *span_findings(settings),
        *(collector_findings(settings, collector) if collector else ()),
        *endpoint_findings(settings, in_use),
        *path_findings(settings, in_use),
        *chat_findings(settings),
    ]
    order = list(Severity)
    return sorted(findings, key=lambda each: order.index(each.severity))
