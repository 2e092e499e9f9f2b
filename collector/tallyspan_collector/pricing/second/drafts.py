"""A draft of a change to our price files: what the second source has otherwise, or alone."""

from collections.abc import Iterable
from datetime import date

from tallyspan_collector.pricing.second.disputes import entry
from tallyspan_collector.pricing.second.report import Report, State, usd
from tallyspan_collector.pricing.second.source import Place, SecondPrice


def text(report: Report, day: date) -> str:
    """Return the draft as a price file: open differences and prices that we lack, with theirs.

    Nothing of it is a price of ours before somebody has read the provider's own page.
    """
    prices = {price.place: price for price in reversed(report.source.prices)}
    states = report.states
    lacking = [
        price
        for place, price in prices.items()
        if states.get((place.provider, place.model)) is State.UNPRICED
    ]
    lines = [
        f"# Draft of {day}, from {report.source.name}. Read the provider's page, then move a line",
        "# to prices/<provider>.yaml with its source, day and evidence, or give the difference",
        "# its cause in prices/upkeep/reviewed.yaml.",
    ]
    if not report.unexplained and not lacking:
        return "\n".join([*lines, "# There is nothing to change.", "prices: []", ""])
    lines.append("prices:")
    for place, notes in _notes(report):
        lines += [*(f"  # {note}" for note in notes), *_line(prices[place])]
    for price in sorted(lacking, key=lambda each: each.place.name):
        lines += ["  # without a price here", *_line(price)]
    return "\n".join([*lines, ""])


def _notes(report: Report) -> Iterable[tuple[Place, list[str]]]:
    notes: dict[Place, list[str]] = {}
    for each in report.unexplained:
        finding = each.finding
        notes.setdefault(finding.place, []).append(
            f"{finding.meter} at {finding.context:,} input tokens: ours"
            f" {usd(finding.ours, finding.meter)} ({finding.price_id}),"
            f" theirs {usd(finding.nearest, finding.meter)}; {each.likelier}"
        )
    return notes.items()


def _line(price: SecondPrice) -> list[str]:
    return [entry(price, "").rstrip()]
