"""How a report is matched with spans, and whose what is left is; kept with each day's report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tallyspan_collector.bills.kept_settings import KeptSettings
from tallyspan_collector.bills.sources import SOURCES, Source
from tallyspan_collector.booked.imports import label_of
from tallyspan_collector.errors import ConfigError

LABELS = {
    "department": "department",
    "service": "service_name",
    "endpoint": "endpoint_id",
    "source": "source",
    "agent": "agent_id",
}
_TAG = "tag:"


@dataclass(frozen=True, slots=True)
class Matching(KeptSettings):
    """What of the ledger a report speaks of. `name` is that of the import, `source` who reports.

    `organization` tells accounts of one provider apart. `endpoint` (exact, or a glob with `*`),
    `only` (label -> value, see `LABELS`) and `tenant` narrow the calls; None: of every tenant.
    `recorded_as` is what the ledger has the provider's projects in: one of `LABELS`, `tag:NAME`, or
    nothing. `names` says what the ledger calls a project, key or user of the report, `departments`
    which department a project or key is of. Days are those of `zone`.
    """

    name: str
    source: str
    providers: tuple[str, ...]
    organization: str = ""
    only: Mapping[str, str] = field(default_factory=dict)
    endpoint: str = ""
    tenant: str | None = None
    recorded_as: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    departments: Mapping[str, str] = field(default_factory=dict)
    zone: str = "UTC"

    @property
    def of(self) -> Source:
        """Return who reports."""
        return SOURCES[self.source]

    def is_within(self, other: "Matching") -> bool:
        """Return whether the other one reports all of this use too: then this is booked first."""
        return (
            self.of.also_in == other.source
            and self.organization == other.organization
            and self.tenant == other.tenant
        )

    @property
    def label(self) -> str:
        """Return the column `source` of its entries."""
        return label_of(self.name)

    def bounds(self, day: date) -> tuple[datetime, datetime]:
        """Return when the day begins and ends (UTC)."""
        zone, after = ZoneInfo(self.zone), day + timedelta(days=1)
        start, stop = (datetime.combine(each, time(), zone) for each in (day, after))
        return start.astimezone(UTC), stop.astimezone(UTC)

    def noon(self, day: date) -> datetime:
        """Return when its entries stand in the ledger: noon is the same day nearly anywhere."""
        return datetime.combine(day, time(12), ZoneInfo(self.zone)).astimezone(UTC)


def check_label(text: str, where: str) -> str:
    """Return the text if it names a column of calls or a tag. Raises `ConfigError`."""
    if text and text not in LABELS and not (text.startswith(_TAG) and len(text) > len(_TAG)):
        raise ConfigError(f"{where} {text}: must be one of {', '.join(LABELS)}, or tag:NAME")
    return text


def column_of(label: str, name: str) -> tuple[str, dict[str, str]]:
    """Return the SQL of a label over an entry `l`, and its parameters, which begin with `name`."""
    if not label:
        return "''", {}
    if label.startswith(_TAG):
        return f"l.tags[{{{name}:String}}]", {name: label.removeprefix(_TAG)}
    return f"toString(l.{LABELS[label]})", {}
