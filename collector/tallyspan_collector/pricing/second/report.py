"""The comparison as people and programs read it: totals by provider, and every difference."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any

from tallyspan.meters import BY_PRICE_KEY
from tallyspan_collector.pricing import shipped
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.bundled import PROVIDER_IDS
from tallyspan_collector.pricing.match import is_glob
from tallyspan_collector.pricing.second import origin, reviewed
from tallyspan_collector.pricing.second.comparison import Finding, Verdict, compare
from tallyspan_collector.pricing.second.reviewed import Review
from tallyspan_collector.pricing.second.source import SecondSource

MILLION = 10**6


class State(StrEnum):
    """What the comparison says of a model as a whole; the worst of its classes."""

    EQUAL = "equal"
    EXPLAINED = "explained"
    UNEXPLAINED = "unexplained"
    UNPRICED = "unpriced"


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference above the tolerance, what is behind our price, and who has looked into it."""

    finding: Finding
    behind: origin.Behind
    likelier: str
    review: Review | None

    @property
    def state(self) -> State:
        """Whether a line of the reviewed file explains it."""
        return State.UNEXPLAINED if self.review is None else State.EXPLAINED

    def row(self) -> dict[str, str]:
        """Return it as a row; prices are USD for a million tokens, or for one of another meter."""
        finding, review = self.finding, self.review
        return {
            "model": finding.place.name,
            "meter": finding.meter,
            "context": f"{finding.context:,}",
            "ours": usd(finding.ours, finding.meter),
            "theirs": usd(finding.nearest, finding.meter),
            "percent": f"{float(finding.percent):+.1f}",
            "since": self.behind.since or "-",
            "state": self.state.value,
            "who is right": self.likelier if review is None else f"{review.right}: {review.cause}",
            "our price": finding.price_id,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A comparison: what was compared, what differs, what only one side has.

    `lacking` are classes, tiers and fees that only they price, of models that we price.
    `only_here`: our models of the compared providers that they do not list, by provider.
    """

    source: SecondSource
    findings: Sequence[Finding]
    differences: Sequence[Difference]
    unused: Sequence[Review]
    only_here: dict[str, list[str]]

    @property
    def unexplained(self) -> list[Difference]:
        """The differences that nobody has looked into."""
        return [each for each in self.differences if each.state is State.UNEXPLAINED]

    @property
    def states(self) -> dict[tuple[str, str], State]:
        """The state of each model, by provider and name."""
        states: dict[tuple[str, str], State] = {}
        order = list(State)
        explained = {id(d.finding): d.state for d in self.differences}
        for each in self.findings:
            state = State.EQUAL
            if each.verdict is Verdict.DIFFER:
                state = explained[id(each)]
            elif _is_unpriced(each):
                state = State.UNPRICED
            key = (each.place.provider, each.place.model)
            states[key] = max(states.get(key, State.EQUAL), state, key=order.index)
        return states

    @property
    def lacking(self) -> list[Finding]:
        """What only they price, of models that we price."""
        states = self.states
        return [
            each
            for each in self.findings
            if each.verdict is Verdict.UNPRICED
            and states[each.place.provider, each.place.model] is not State.UNPRICED
        ]

    def totals(self) -> list[dict[str, Any]]:
        """Return a row for each provider, and one of all."""
        by_provider: dict[str, list[State]] = defaultdict(list)
        for (provider, _), state in self.states.items():
            by_provider[provider].append(state)
        rows = [self._total(name, by_provider[name]) for name in sorted(by_provider)]
        every = [state for states in by_provider.values() for state in states]
        return [*rows, self._total("all", every)] if rows else []

    def _total(self, provider: str, states: Sequence[State]) -> dict[str, Any]:
        unpriced = states.count(State.UNPRICED)
        findings = [f for f in self.findings if provider in {"all", f.place.provider}]
        return {
            "provider": provider,
            "models": len(states),
            **{state.value: states.count(state) for state in State},
            "unpriced %": f"{100 * unpriced / len(states):.1f}",
            "prices": len(findings),
            "prices equal": sum(f.verdict in {Verdict.AGREE, Verdict.ROUNDED} for f in findings),
            "of two sources": sum(_is_independent(f) for f in findings),
            "prices lacking": sum(f.verdict is Verdict.UNPRICED for f in findings),
            "only here": sum(
                len(names) for who, names in self.only_here.items() if provider in {"all", who}
            ),
        }

    def as_json(self) -> dict[str, Any]:
        """Return all of it as values of JSON; prices as text, exact to twelve digits."""
        states = self.states
        return {
            "source": self.source.name,
            "totals": self.totals(),
            "differences": [each.row() for each in self.differences],
            "unpriced": sorted(f"{p}/{m}" for (p, m), s in states.items() if s is State.UNPRICED),
            "lacking": sorted({f"{f.place.name} {f.meter}" for f in self.lacking}),
            "only_here": self.only_here,
            "providers_not_compared": dict(sorted((self.source.others or {}).items())),
            "ended": dict(sorted((self.source.retired or {}).items())),
            "not_read": list(self.source.faults),
            "reviewed_lines_not_used": [
                f"line {each.line}: {each.provider}/{each.model}" for each in self.unused
            ],
        }


def make(book: PriceBook, source: SecondSource, reviews: Sequence[Review], at: datetime) -> Report:
    """Return the report on the book against the source at the moment."""
    findings = compare(book, source, at)
    of_package = origin.of_package(book.data, source, findings, at)
    differences = []
    for each in findings:
        if each.verdict is Verdict.DIFFER:
            behind = origin.of_price(each.price_id, each.price_source)
            package = of_package.get((each.place, each.meter, each.context))
            review = reviewed.review_of(each, reviews)
            differences.append(
                Difference(each, behind, origin.likelier(each, package, behind), review)
            )
    differences.sort(key=lambda d: (d.state is State.EXPLAINED, d.finding.place.name))
    differing = [each.finding for each in differences]
    return Report(
        source,
        findings,
        differences,
        reviewed.unused(differing, reviews),
        _only_here(book, source, {each.place.provider for each in findings}),
    )


def usd(amount: Fraction | None, meter: str) -> str:
    """Return a price as text: of a million tokens, or of one of what is counted one by one."""
    if amount is None:
        return ""
    scale = MILLION if BY_PRICE_KEY[meter].is_tokens else 1
    return f"{float(amount * scale):.9f}".rstrip("0").rstrip(".")


def _is_independent(finding: Finding) -> bool:
    """Whether the two agree, and ours was not taken from where theirs is.

    A price of our files below evidence H is: the map was how we came to it.
    """
    if finding.verdict not in {Verdict.AGREE, Verdict.ROUNDED}:
        return False
    line = origin.of_price(finding.price_id).origin
    return not line.line or line.evidence == "H"


def _is_unpriced(finding: Finding) -> bool:
    is_whole = finding.meter in {"input", "output"} and not finding.place.tier
    return finding.verdict is Verdict.UNPRICED and is_whole


def _only_here(
    book: PriceBook, source: SecondSource, providers: Iterable[str]
) -> dict[str, list[str]]:
    theirs: dict[str, set[str]] = defaultdict(set)
    for place in (price.place for price in source.prices):
        theirs[place.provider].add(place.model.lower())
    for ending in source.retirements:
        theirs[ending.provider].add(ending.model.lower())
    by_id = {each.id: each for each in book.data.providers}
    only: dict[str, list[str]] = {}
    for provider in sorted(providers):
        names = {rate.match.model.lower() for rate in shipped.file_of(provider).rates}
        package = by_id.get(PROVIDER_IDS.get(provider, provider))
        names |= {model.id.lower() for model in package.models} if package else set()
        left = sorted(name for name in names - theirs[provider] if not is_glob(name))
        if left:
            only[provider] = left
    return only
