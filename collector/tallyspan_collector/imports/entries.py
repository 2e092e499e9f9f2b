"""What is left of a report's row as an entry of the ledger: whose, how much, at which price."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from tallyspan.meters import BY_NAME
from tallyspan.usage import TOKEN_FIELDS
from tallyspan_clickhouse.moments import microseconds
from tallyspan_collector.booked.commitments import usd
from tallyspan_collector.booked.of_no_call import hex_id
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.imports.gaps import Remainder
from tallyspan_collector.imports.matching import Matching
from tallyspan_collector.imports.pricing import Cost, Pricing
from tallyspan_collector.imports.report import Row, Usage, amount_of, tokens

APPORTIONED = "apportioned"
"""The flag of an entry that is a part of a report, while nothing says whose part spans cover."""
COSTS = ("cost_usd", "input_cost_usd", "output_cost_usd", "reported_cost_usd")
SUMMED = (*TOKEN_FIELDS, *COSTS, "unpriced_tokens")
Columns = dict[str, Any]


class Amounts(NamedTuple):
    """What entries of one owner add up to: columns of the ledger, units by meter; none is 0."""

    sums: Mapping[str, Any]
    meters: Mapping[str, float]

    @classmethod
    def of(cls, sums: Mapping[str, Any], meters: Mapping[str, float]) -> "Amounts":
        """Return them without what is 0 or unknown."""
        return cls(
            {name: sums[name] for name in SUMMED if sums.get(name)},
            {name: rest for name, amount in meters.items() if (rest := round(amount, 6))},
        )

    def plus(self, other: "Amounts", sign: int = 1) -> "Amounts":
        """Return the sum, or with a `sign` of -1 the difference."""
        return Amounts.of(
            {name: self.sums.get(name, 0) + sign * other.sums.get(name, 0) for name in SUMMED},
            {
                name: self.meters.get(name, 0) + sign * other.meters.get(name, 0)
                for name in self.meters.keys() | other.meters.keys()
            },
        )

    @property
    def cost_usd(self) -> Decimal:
        """Return the cost; 0 where there is none."""
        return Decimal(self.sums.get("cost_usd", 0))

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing."""
        return not self.sums and not self.meters


class Due(NamedTuple):
    """What is to be booked of an owner; `columns` say at which price, in its newest entry."""

    owner: Columns
    amounts: Amounts
    columns: Columns


def due_of(
    matching: Matching, day: date, left: Remainder, pricing: Pricing, directory: Directory
) -> Due:
    """Return what is to be booked of a row."""
    cost = pricing.of_remainder(left)
    usage = left.usage
    amounts = {
        **{name: count for name, count in usage.items() if BY_NAME[name].is_column},
        "cost_usd": _usd(cost.cost_picousd),
        "input_cost_usd": _usd(cost.input_cost_picousd),
        "output_cost_usd": _usd(cost.output_cost_picousd),
        "reported_cost_usd": _usd(left.cost_picousd),
        "unpriced_tokens": tokens(usage) if cost.cost_picousd is None else 0,
    }
    flags = [APPORTIONED] if left.is_apportioned else []
    return Due(
        _owner(matching, day, left.row, directory),
        Amounts.of(amounts, _units(usage)),
        columns_of(cost) | {"quality_flags": flags},
    )


def columns_of(cost: Cost) -> Columns:
    """Return the columns that say at which price an entry is booked."""
    return {
        "usage_source": "provider",
        "cost_status": cost.status,
        "unpriced_reason": cost.unpriced_reason,
        "price_id": cost.price_id,
        "price_source": cost.price_source,
        "price_flags": list(cost.flags),
        "quality_flags": [],
    }


def trace_of(matching: Matching, day: date) -> bytes:
    """Return the trace id of what an import books of a day."""
    return hex_id(16, matching.name, day.isoformat())


def named(row: Row, names: Mapping[str, str]) -> Row:
    """Return the row under what the ledger calls its project, key and user."""
    return replace(
        row,
        project=names.get(row.project, row.project),
        api_key=names.get(row.api_key, row.api_key),
        user=names.get(row.user, row.user),
    )


def _owner(matching: Matching, day: date, row: Row, directory: Directory) -> Columns:
    at = matching.noon(day)
    department, department_source = _payer(matching, row, at, directory)
    tags = {"project": row.project, "api_key": row.api_key, "item": row.item}
    owner: Columns = {
        "start_time": at,
        "tenant": matching.tenant or "",
        "department": department,
        "department_source": department_source,
        "user_id": row.user,
        "source": matching.label,
        "provider_name": row.provider,
        "endpoint_id": "" if "*" in matching.endpoint else matching.endpoint,
        "model_name": row.model,
        "service_tier": row.tier,
        "service_name": row.service,
        "operation_name": row.operation,
        "tags": {name: text for name, text in tags.items() if text},
        "conditions": dict(row.conditions),
        "trace_id": trace_of(matching, day),
    }
    return owner | {"span_id": hex_id(8, repr([*owner.items()]), str(row.is_long_context))}


def _payer(matching: Matching, row: Row, at: datetime, directory: Directory) -> tuple[str, str]:
    """Return the department, and who says so: of the user, else of the key or project."""
    at_ns = microseconds(at) * 1_000
    department = directory.department(matching.tenant or "", row.user, at_ns) if row.user else ""
    if department:
        return department, "directory"
    for name in (row.api_key, row.project):
        if name and (department := matching.departments.get(name, "")):
            return department, "import"
    return "", ""


def _units(usage: Usage) -> dict[str, float]:
    return {name: amount_of(name, n) for name, n in usage.items() if not BY_NAME[name].is_column}


def _usd(picousd: int | None) -> Decimal | None:
    return None if picousd is None else usd(picousd)
