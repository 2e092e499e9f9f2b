"""A bill to compare with: whose it is, where it is read, which calls it is about."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from clickhouse_connect.driver.client import Client

from tallyspan_collector.bills import anthropic, bill_file, openai
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.bills.entry_values import admin_key
from tallyspan_collector.bills.pages import Api
from tallyspan_collector.reconcile import recorded
from tallyspan_collector.reconcile.compare import compare
from tallyspan_collector.reconcile.outcome import Outcome
from tallyspan_collector.reconcile.reasons import explained
from tallyspan_collector.units.counts import counted

APIS = {"openai": openai, "anthropic": anthropic}
FILE = "csv"
"""Any other provider's bill, as a file."""
NO_KEY = (
    "set {variable} or {key_file} FILE to an admin key of the organisation, or give the bill with"
    " {file} FILE.csv"
)


@dataclass(frozen=True, slots=True)
class Bill:
    """A provider's bill. Without `file` its API is asked, with the key of `key_file` or variable.

    `by` is project or api_key, `recorded_as` what the ledger calls those, `names` the ledger's name
    of an id of the bill. `providers` are those of the ledger; empty: the provider's own, of a file
    any. `threshold` is the drift allowed, as a part of billed. `is_of_flags`: messages name flags,
    not keys of the collector's file.
    """

    provider: str
    name: str = ""
    file: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    key_variable: str = ""
    key_file: Path | None = None
    url: str = ""
    zone: str = "UTC"
    by: str = ""
    recorded_as: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    providers: Sequence[str] = ()
    endpoint: str = ""
    threshold: float = 0.01
    is_of_flags: bool = False

    @property
    def days_of(self) -> ZoneInfo:
        """Return the time zone of its days."""
        return ZoneInfo(self.zone)

    @property
    def source(self) -> str:
        """Return where it is read: `API`, or the name of the file."""
        return self.file.name if self.file else "API"

    @property
    def ledger_providers(self) -> Sequence[str]:
        """Return the providers of the ledger whose calls it is about; empty: any."""
        own = APIS[self.provider].PROVIDERS if self.provider in APIS else ()
        return list(self.providers or own)

    def read(self, first: date, last: date) -> list[Billed]:
        """Return the lines of the bill, perhaps of other days too.

        Raises `ConfigError` for a file or a key that cannot be used, `BillError` for a bill that
        cannot be had.
        """
        if self.file is not None:
            return self._named(bill_file.read(self.file, self.columns))
        provider = APIS[self.provider]
        variable = self.key_variable or provider.KEY
        key_file, file = ("--key-file", "--file") if self.is_of_flags else ("key_file", "file")
        needed = NO_KEY.format(variable=variable, key_file=key_file, file=file)
        key, origin = admin_key(self.key_file, variable, needed, key_file)
        api = Api(self.url or provider.BASE, provider.headers(key), origin)
        lines = list(provider.bill(api, first, last, [self.by] if self.by else []))
        if self.provider == "anthropic" and self.by == "api_key":  # costs are of no key
            lines = [line for line in lines if line.cost_usd is None]
        return self._named(lines)

    def _named(self, lines: Iterable[Billed]) -> list[Billed]:
        """Return the lines under what the ledger calls their project or key."""
        named = []
        for line in lines:
            owner = getattr(line, self.by) if self.by else ""
            named.append(replace(line, project=self.names.get(owner, owner)))
        return named

    def compared(
        self, client: Client, lines: Sequence[Billed], first: date, last: date, now: datetime
    ) -> Outcome:
        """Return the lines of the bill beside what is recorded of the days, with reasons."""
        zone = self.days_of
        inside = [line for line in lines if first <= line.day <= last]
        calls = recorded.read(
            client,
            datetime.combine(first, time(), zone).astimezone(UTC),
            datetime.combine(last + timedelta(days=1), time(), zone).astimezone(UTC),
            providers=self.ledger_providers,
            endpoint=self.endpoint,
            label=self.recorded_as,
        )
        compared = compare(calls, inside, first, last, zone)
        notes = []
        if not inside:
            notes.append(f"the bill has nothing from {first} to {last}")
        if len(inside) < len(lines):
            left_out = counted(len(lines) - len(inside), "line")
            notes.append(f"{left_out} of the bill left out: of other days")
        return Outcome(
            provider=self.name or self.provider,
            source=self.source,
            zone=self.zone,
            threshold=self.threshold,
            lines=explained(compared, calls, zone, self.threshold, now),
            notes=notes,
            run_at=now,
        )
