"""Valid entries of a price file that look wrong: periods that overlap or leave a gap."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tallyspan_collector.pricing.adjustments import Factor
from tallyspan_collector.pricing.commitments import Commitment
from tallyspan_collector.pricing.match import ALWAYS, Match
from tallyspan_collector.pricing.rates import USD, Alias, Change, PriceFile, Rate
from tallyspan_collector.pricing.steps import day


def findings(file: PriceFile) -> list[str]:
    """Return one sentence for each overlap, gap and missing exchange rate, by line."""
    problems = [*_periods("price", file.rates)]
    problems += [*_periods("discount", file.discounts), *_periods("uplift", file.uplifts)]
    problems += [*_periods("factor", file.factors), *_periods("alias", file.aliases)]
    problems += [*_rates(file), *_pauses(file.commitments)]
    return [f"{file.name}:{line}: {text}" for line, text in sorted(problems)]


def _periods(
    kind: str,
    lines: Sequence[Rate] | Sequence[Change] | Sequence[Factor] | Sequence[Alias],
) -> Iterator[tuple[int, str]]:
    groups: dict[Match, list[Rate | Change | Factor | Alias]] = defaultdict(list)
    for line in lines:
        always = replace(line.match, from_ns=ALWAYS[0], to_ns=ALWAYS[1])
        groups[always].append(line)
    for group in groups.values():
        group.sort(key=lambda each: (each.match.from_ns, each.match.to_ns))
        for before, after in itertools.pairwise(group):
            end, start = before.match.to_ns, after.match.from_ns
            if end > start:
                yield (
                    after.origin.line,
                    (
                        f"this {kind} of {after.match.model!r} overlaps with line"
                        f" {before.origin.line} from {day(start) or 'the beginning'} on:"
                        f" end that one with 'to: {day(start)}'"
                    ),
                )
            elif end < start:
                yield (
                    after.origin.line,
                    (
                        f"no {kind} of {after.match.model!r} from {day(end)} to {day(start)}:"
                        f" line {before.origin.line} ends before this one begins"
                    ),
                )


def _pauses(commitments: Sequence[Commitment]) -> Iterator[tuple[int, str]]:
    """Yield the gaps between the lines of each name."""
    ordered = sorted(commitments, key=lambda each: (each.name, each.match.from_ns))
    for before, after in itertools.pairwise(ordered):
        end, start = before.match.to_ns, after.match.from_ns
        if before.name == after.name and end < start:
            yield (
                after.line,
                (
                    f"the commitment {after.name!r} does not hold from {day(end)} to {day(start)}:"
                    f" line {before.line} ends before this one begins"
                ),
            )


def _rates(file: PriceFile) -> Iterator[tuple[int, str]]:
    for rate in file.rates:
        if rate.currency != USD and file.usd(rate.currency, rate.match.from_ns) is None:
            first = (file.currencies or {})[rate.currency][0].from_ns
            yield (
                rate.origin.line,
                (
                    f"no rate of {rate.currency} before {day(first)}: calls of {rate.match.model!r}"
                    " before it stay unpriced"
                ),
            )
