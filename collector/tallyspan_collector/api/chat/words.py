"""What a person's calls cost, in sentences."""

from collections.abc import Sequence
from decimal import Decimal

from tallyspan_collector.summary import Row, decimal_text
from tallyspan_collector.units.counts import counted
from tallyspan_collector.units.money import dollars


def amount(cost: Decimal | None, calls: int) -> str:
    """Return the cost to be read, the exact one where that differs, and the calls."""
    if cost is None:
        return f"an unknown amount ({counted(calls, 'call')}, none with a price)"
    text, exact = dollars(cost), decimal_text(cost)
    is_exact = text.replace("$", "").replace(",", "").rstrip("0").rstrip(".") == exact
    return f"{text} ({'' if is_exact else f'exactly {exact} USD, '}{counted(calls, 'call')})"


def left_out(row: Row) -> str:
    """Return what the amount does not include, and what is only estimated; empty for nothing."""
    unknown, unpriced = row["unknown_usage_calls"], row["unpriced_calls"]
    parts = []
    if unknown:
        parts.append(f"{counted(unknown, 'call')} whose usage the provider did not report")
    if unpriced > unknown:
        parts.append(f"{counted(unpriced - unknown, 'call')} without a price")
    sentences = [f"Not included: {' and '.join(parts)}."] if parts else []
    if row["estimated_calls"]:
        sentences.append(f"Of {counted(row['estimated_calls'], 'call')} the tokens are estimated.")
    if row["notional_cost_usd"]:
        sentences.append(
            f"Calls that a subscription or commitment pays for would have cost"
            f" {dollars(row['notional_cost_usd'])}; that is not billed and not included."
        )
    return " ".join(sentences)


def listed(what: str, groups: Sequence[Row], more: int) -> str:
    """Return the groups, each with its cost, as a sentence that begins with `By model:`."""
    if not groups:
        return ""
    parts = [
        f"{row['name'] or 'unknown'} {amount(row['cost_usd'], row['calls'])}" for row in groups
    ]
    if more:
        parts.append(f"and {more} more")
    return f"By {what}: {', '.join(parts)}."


def joined(*sentences: str) -> str:
    """Return the sentences that are not empty as one text."""
    return " ".join(filter(None, sentences))
