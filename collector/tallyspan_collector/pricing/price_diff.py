"""What changes from one release of the price data to another, as text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from genai_prices.types import ModelInfo, ModelPrice, StartDateConstraint, TieredPrices

from tallyspan_collector.pricing.bundled import PriceData

Prices = dict[tuple[str, str], str]
"""Condition (a date, hours, a tier) and class -> USD as text."""


@dataclass(frozen=True, slots=True)
class PriceDiff:
    """Models by provider/model. `changed` are (model, condition, class, old, new)."""

    added: list[str]
    removed: list[str]
    changed: list[tuple[str, str, str, str, str]]

    def lines(self, max_lines: int | None = None) -> Iterator[str]:
        """Yield the changes: prices that change first, then models that go, then new ones."""
        lines = [
            *(
                f"~ {model}{f' ({condition})' if condition else ''} {name}: {old} -> {new}"
                for model, condition, name, old, new in self.changed
            ),
            *(f"- {model}" for model in self.removed),
            *(f"+ {model}" for model in self.added),
        ]
        yield from lines[:max_lines]
        if max_lines is not None and len(lines) > max_lines:
            yield f"... and {len(lines) - max_lines:,} more (--all shows them)"

    def summary(self) -> str:
        """Return the counts in a sentence."""
        models = len({model for model, *_ in self.changed})
        return (
            f"{len(self.added):,} new models, {models:,} with changed prices,"
            f" {len(self.removed):,} removed"
        )


def difference(old: PriceData, new: PriceData) -> PriceDiff:
    """Return what is different in the new data."""
    before, after = _models(old), _models(new)
    changed = [
        (model, condition, name, was, now)
        for model in sorted(before.keys() & after.keys())
        for condition, name, was, now in _changes(before[model], after[model])
    ]
    return PriceDiff(
        sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys()), changed
    )


def _changes(before: Prices, after: Prices) -> Iterator[tuple[str, str, str, str]]:
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key, "none"), after.get(key, "none")
        if was != now:
            yield (*key, was, now)


def _models(data: PriceData) -> dict[str, Prices]:
    return {
        f"{provider.id}/{model.id}": _prices(model)
        for provider in data.providers
        for model in provider.models
    }


def _prices(model: ModelInfo) -> Prices:
    result: Prices = {}
    if isinstance(model.prices, ModelPrice):
        result |= _flat("", model.prices)
    else:
        for each in model.prices:
            result |= _flat(_condition(each.constraint), each.prices)
    for variant in model.price_variants or ():
        tier = ", ".join(f"{name} {value}" for name, value in sorted(variant.when.items()))
        since = _condition(variant.constraint)
        result |= _flat(f"{tier}, {since}" if since else tier, variant.prices)
    return result


def _flat(condition: str, prices: ModelPrice) -> Prices:
    return {
        (condition, name): _text(value)
        for name, value in prices.__dict__.items()
        if value is not None
    }


def _condition(constraint: Any) -> str:
    if constraint is None:
        return ""
    if isinstance(constraint, StartDateConstraint):
        return f"from {constraint.start_date}"
    return f"{constraint.start_time} to {constraint.end_time}"


def _text(value: Any) -> str:
    if isinstance(value, TieredPrices):
        tiers = (f"{tier.price} above {tier.start:,} tokens" for tier in value.tiers)
        return ", ".join([str(value.base), *tiers])
    return str(value)
