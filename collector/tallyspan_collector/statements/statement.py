"""A statement: what a department or cost centre spent in a month, and what it adds up from."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from tallyspan_collector.months.lines import State
from tallyspan_collector.statements.rate_card import Charge
from tallyspan_collector.units.counts import counted
from tallyspan_collector.units.months import month_before, next_month

DEPARTMENT, COST_CENTRE = "department", "cost_centre"
OWNERS = (DEPARTMENT, COST_CENTRE)
"""What a statement may be of."""
LISTS = ("model", "user", "agent", "service")
"""By what the spend of a statement is listed, each list whole."""
PARTS = (
    ("calls", "use_cost_usd", "Calls billed one by one"),
    ("commitment", "commitment_cost_usd", "Share of provisioned throughput"),
    ("plan", "plan_cost_usd", "Share of plans and seats"),
    ("unused", "unused_cost_usd", "Commitments that nobody used"),
    ("imported", "imported_cost_usd", "Reported by providers, in no span"),
)
"""What recorded cost is made of: name, its key in `Statement.sums`, how people read it."""
COLUMNS = (
    "month", "state", "version", "tenant", "by", "of", "section", "name", "label", "calls",
    "input_tokens", "output_tokens", "cost_usd", "currency", "cost_in_currency",
)  # fmt: skip
"""Of the rows of a statement as a file."""
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9.-]|^\.")
_MAX_NAME = 60


class Owner(NamedTuple):
    """Whose statement: a department or cost centre (`by`) of an organisation, by name."""

    tenant: str
    by: str
    name: str


class Item(NamedTuple):
    """A row of a list; counts are None for rows that have none.

    `cost_in_currency`: None where there is no second currency or no rate.
    """

    name: str
    label: str
    cost_usd: Decimal
    calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_in_currency: Decimal | None = None


class Listing(NamedTuple):
    """A list by cost, the most first, and how many names more there are."""

    items: Sequence[Item]
    others: int = 0


class Comparison(NamedTuple):
    """Two months, like with like, in USD: whole ones by their totals, an open one by its days.

    `days`: how many first days of both are compared, None: whole months.
    """

    this_usd: Decimal
    last_usd: Decimal
    days: int | None
    last_is: State

    @property
    def difference_usd(self) -> Decimal:
        """Return how much more this month is."""
        return self.this_usd - self.last_usd

    @property
    def percent(self) -> Decimal | None:
        """Return that of the last month, to a tenth of a percent; None: it had nothing."""
        if not self.last_usd:
            return None
        return (self.difference_usd / abs(self.last_usd) * 100).quantize(Decimal("0.1"))


@dataclass(frozen=True, slots=True)
class Statement:
    """All that a statement says.

    `sums` are the measures of the lines and `use_cost_usd`; `corrections` are by closed month, None
    for what is not listed any more; `shown_to` are the departments a reader is limited to;
    `newest_entry_at` is of a month that is not closed, None for one without entries; `rates` are
    those of the second currency.
    """

    month: date
    owner: Owner
    state: State
    newest_entry_at: datetime | None
    sums: Mapping[str, Any]
    lists: Mapping[str, Listing]
    corrections: Sequence[tuple[date | None, Decimal]]
    comparison: Comparison | None
    charge: Charge | None = None
    currency: str = ""
    rates: Sequence[Mapping[str, str | None]] = ()
    cost_in_currency: Decimal | None = None
    charge_in_currency: Decimal | None = None
    shown_to: Sequence[str] = ()

    @property
    def recorded_usd(self) -> Decimal:
        """Return what is recorded: all but true-up and corrections of closed months."""
        sums = self.sums
        return Decimal(sums["cost_usd"] - sums["true_up_cost_usd"] - sums["prior_period_cost_usd"])

    @property
    def whole(self) -> Item:
        """Return the row of the total."""
        sums = self.sums
        return Item(
            "total", "Total", sums["cost_usd"], sums["calls"], sums["input_tokens"],
            sums["output_tokens"], self.cost_in_currency,
        )  # fmt: skip

    def listed(self, name: str, max_items: int | None = None) -> Sequence[Item]:
        """Return a list with at most so many items, and a row of the others; they add up."""
        items, others = self.lists[name]
        if max_items is not None and (others or len(items) > max_items + 1):
            others += len(items[max_items:])
            items = items[:max_items]
        return [*items, rest_of(items, others, self.whole)] if others else items

    @property
    def moment(self) -> datetime:
        """Return what the statement is dated with: its close, or the newest entry it has."""
        if self.state.is_closed:
            return datetime.strptime(self.state.at, "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
        first = datetime(self.month.year, self.month.month, 1, tzinfo=UTC)
        return self.newest_entry_at or first

    def ledger_version(self) -> str:
        """Return from which version of the ledger the figures are, in words."""
        if self.state.is_closed:
            return f"closed, version {self.state.version} of {self.state.at}"
        was = "is open again" if self.state.version else "is open"
        if self.newest_entry_at is None:
            return f"provisional: the month {was}; no entries"
        newest = f"{self.newest_entry_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"provisional: the month {was}; newest entry {newest}"

    def file_name(self, extension: str) -> str:
        """Return a name that no other statement of the month has, of plain characters."""
        parts = [f"{self.month:%Y-%m}", self.owner.by.replace("_", "-")]
        # No other name has an underscore: each of those becomes a dash and a hash.
        name = _slug(self.owner.name) if self.owner.name else "_none"
        parts += [*([_slug(self.owner.tenant)] if self.owner.tenant else []), name]
        return f"{'_'.join(parts)}.{extension}"

    def rows(self) -> list[dict[str, Any]]:
        """Return the statement as rows by `COLUMNS`; amounts are exact Decimals.

        The sections `part`, `correction` and each of `LISTS` add up to `recorded`, `corrections`
        and `total` of the section `total`.
        """
        head = {
            "month": f"{self.month:%Y-%m}",
            "state": self.state.state,
            "version": self.state.version,
            "tenant": self.owner.tenant,
            "by": self.owner.by,
            "of": self.owner.name,
            "currency": self.currency,
        }
        rows = [{**head, "section": section, **item._asdict()} for section, item in self._items()]
        return [{name: row[name] for name in COLUMNS} for row in rows]

    def _items(self) -> Iterator[tuple[str, Item]]:
        sums = self.sums
        yield "total", Item("recorded", "Recorded", self.recorded_usd)
        yield "total", Item("true_up", "Trued up", sums["true_up_cost_usd"])
        yield (
            "total",
            Item("corrections", "Corrections of closed months", sums["prior_period_cost_usd"]),
        )
        yield "total", self.whole
        for name, key, label in PARTS:
            yield "part", Item(name, label, sums[key])
        for month, cost in self.corrections:
            yield (
                "correction",
                Item(f"{month:%Y-%m}" if month else "", correction_label(month), cost),
            )
        for name in LISTS:
            for item in self.listed(name):
                yield name, item
        if self.comparison is not None:
            label = compared_label(self.month, self.comparison)
            yield "comparison", Item("this", label, self.comparison.this_usd)
            yield "comparison", Item("last", label, self.comparison.last_usd)
            yield "comparison", Item("difference", label, self.comparison.difference_usd)
        if self.charge is not None:
            for each in self.charge.items:
                yield "charge", Item(each.kind, each.label, each.cost_usd)
            yield (
                "charge",
                Item(
                    "charged", "Charged", self.charge.charged_usd,
                    cost_in_currency=self.charge_in_currency,
                ),
            )  # fmt: skip


def rest_of(items: Sequence[Item], count: int, whole: Item) -> Item:
    """Return the row of the `count` others: the whole less what the items have."""

    def rest(name: str) -> Any:
        total = getattr(whole, name)
        parts = [getattr(each, name) for each in items]
        return None if total is None or None in parts else total - sum(parts)

    label = f"and {counted(count, 'other')}"
    return Item("", label, *(rest(name) for name in Item._fields[2:]))


def correction_label(month: date | None) -> str:
    """Return how people read a correction of a closed month."""
    return f"Correction of {month:%Y-%m}" if month else "Other corrections"


def compared_label(month: date, comparison: Comparison) -> str:
    """Return what is compared with what."""
    last = month_before(month)
    if comparison.days is None:
        return f"{month:%Y-%m} against {last:%Y-%m}, whole months"
    return (
        f"first {counted(comparison.days, 'day')} of {month:%Y-%m} against the same of"
        f" {last:%Y-%m}, without corrections of closed months"
    )


def days_of(month: date) -> int:
    """Return how many days the month has."""
    return (next_month(month) - month).days


def _slug(text: str) -> str:
    """Return the text as a part of a file's name; of two texts there are always two."""
    plain = _NOT_PLAIN.sub("-", text)[:_MAX_NAME]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
