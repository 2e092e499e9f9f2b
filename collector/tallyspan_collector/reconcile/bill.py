"""A bill to compare with: whose it is, where it is read, which calls it is about."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from glob import glob
from pathlib import Path
from zoneinfo import ZoneInfo

from clickhouse_connect.driver.client import Client

from tallyspan_collector.bills import bill_file
from tallyspan_collector.bills.billed import Billed, model_key
from tallyspan_collector.bills.entry_values import admin_key
from tallyspan_collector.bills.exchange import Exchange
from tallyspan_collector.bills.file_terms import FileTerms
from tallyspan_collector.bills.pages import Api
from tallyspan_collector.bills.sources import BILLS
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing import rates
from tallyspan_collector.reconcile import recorded
from tallyspan_collector.reconcile.compare import Line, compare
from tallyspan_collector.reconcile.outcome import Outcome
from tallyspan_collector.reconcile.reasons import explained
from tallyspan_collector.units.counts import counted

FILE = "csv"
"""Any other provider's bill, as a file."""
PROVIDERS = (*BILLS, FILE)
NO_KEY = "set {variable} or {key_file} FILE: it needs {wanted}"
OR_FILE = ", or give the bill with {file} FILE.csv"


@dataclass(frozen=True, slots=True)
class Bill:
    """A provider's bill. Without `file` its API is asked, with the key of `key_file` or variable.

    `file` may have `*` and `?` in its name. `by` is project or api_key, `recorded_as` what the
    ledger calls those, `names` the ledger's name of an id of the bill, `models` that of a model.
    `providers` are those of the ledger; empty: the provider's own, of a CSV any. `threshold` is the
    drift allowed, as a part of billed. `prices` is the price file with rates of other currencies.
    `is_of_flags`: messages name flags, not keys of the collector's file.
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
    models: Mapping[str, str] = field(default_factory=dict)
    providers: Sequence[str] = ()
    endpoint: str = ""
    threshold: float = 0.01
    prices: Path | None = None
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
        own = BILLS[self.provider].providers if self.provider in BILLS else ()
        return list(self.providers or own)

    def read(self, first: date, last: date) -> list[Billed]:
        """Return the lines of the bill, perhaps of other days too.

        Raises `ConfigError` for a file or a key that cannot be used, `BillError` for a bill that
        cannot be had.
        """
        currencies = rates.load(self.prices).currencies if self.prices else None
        exchange = Exchange(currencies or {})
        return self._named(
            self._of_api(first, last, exchange)
            if self.file is None
            else self._of_files(str(self.file), exchange)
        )

    def _of_api(self, first: date, last: date, exchange: Exchange) -> Iterable[Billed]:
        provider = BILLS[self.provider]
        if provider.bill is None:
            raise ConfigError(
                f"{self.provider}: is read from its cost export: name it with {self._flag('file')}"
            )
        variable = self.key_variable or provider.key_variable
        needed = NO_KEY + (OR_FILE if provider.bill_file else "")
        key, origin = admin_key(
            self.key_file,
            variable,
            needed.format(
                variable=variable,
                key_file=self._flag("key_file"),
                file=self._flag("file"),
                wanted=provider.wanted_key,
            ),
            self._flag("key_file"),
        )
        api = Api(self.url or provider.base, provider.headers(key), origin, provider.wanted_key)
        return provider.bill(api, first, last, self.by, exchange)

    def _of_files(self, pattern: str, exchange: Exchange) -> Iterator[Billed]:
        provider = BILLS.get(self.provider)
        read = provider.bill_file if provider else bill_file.read
        if read is None:
            raise ConfigError(f"{self.provider}: is read by its API: there is no file of it")
        terms = FileTerms(self.columns, exchange, self.days_of)
        paths = sorted(glob(pattern))  # noqa: PTH207  a pattern may begin with a root
        for path in paths or [pattern]:
            yield from read(Path(path), terms)

    def _flag(self, key: str) -> str:
        return f"--{key.replace('_', '-')}" if self.is_of_flags else key

    def _named(self, lines: Iterable[Billed]) -> list[Billed]:
        """Return the lines under what the ledger calls their model, and their project or key."""
        models = {model_key(theirs): ours for theirs, ours in self.models.items()}
        named = []
        for line in lines:
            owner = getattr(line, self.by) if self.by else ""
            parts = (("project", line.project), ("key", line.api_key))
            billed_to = ", ".join(f"{noun} {name}" for noun, name in parts if name)
            named.append(
                replace(
                    line,
                    model=models.get(model_key(line.model), line.model),
                    project=self.names.get(owner, owner),
                    billed_to=billed_to,
                )
            )
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
        explanations = explained(compared, calls, zone, self.threshold, now)
        return Outcome(
            provider=self.name or self.provider,
            source=self.source,
            zone=self.zone,
            threshold=self.threshold,
            lines=explanations,
            first=first,
            last=last,
            notes=[*notes(lines, first, last), *_beside_use(explanations)],
            run_at=now,
        )


def notes(lines: Sequence[Billed], first: date, last: date) -> Iterator[str]:
    """Yield what a reader must know of how a bill became lines of these days."""
    inside = [line for line in lines if first <= line.day <= last]
    if not inside:
        yield f"the bill has nothing from {first} to {last}"
    if len(inside) < len(lines):
        left_out = counted(len(lines) - len(inside), "line")
        yield f"{left_out} of the bill left out: of other days"
    for currency, count in sorted(Counter(line.currency for line in inside).items()):
        if currency:
            yield f"{counted(count, 'line')} in {currency}, in USD at the rates of the price file"
    if repeated := sum(line.is_repeated for line in inside):
        yield (
            f"{counted(repeated, 'line')} of the bill the same as one before, and counted again:"
            " was a file put there twice?"
        )


def _beside_use(lines: Sequence[Line]) -> Iterator[str]:
    others = [line for line in lines if not line.is_use]
    if others:
        amount = sum((line.billed_cost_usd or Decimal(0) for line in others), Decimal(0))
        yield f"${amount:f} of the bill is of no use: credits, taxes, purchases; not in the total"
