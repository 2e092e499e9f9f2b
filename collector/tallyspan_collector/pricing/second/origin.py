"""Where one of our prices comes from, and which other sources agree with it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from tallyspan_collector.pricing import shipped
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.bundled import PriceData
from tallyspan_collector.pricing.origin import Origin
from tallyspan_collector.pricing.rates import PriceFile
from tallyspan_collector.pricing.second.comparison import Finding, Verdict, compare
from tallyspan_collector.pricing.second.source import Place, SecondSource

_SINCE = re.compile(r"@(\d{4}-\d\d-\d\d)(?: |$)")


@dataclass(frozen=True, slots=True)
class Behind:
    """What stands behind a price: the day since when it holds, and the line that has it.

    `since` is empty where no day is known; the origin of a price of the package has its release.
    """

    since: str
    origin: Origin


def of_price(price_id: str, price_source: str = "") -> Behind:
    """Return what is behind a price; `price_source` names who has it if we have not."""
    day = _SINCE.search(price_id)
    origin = _origins().get(price_id.partition(" ")[0])
    return Behind(day[1] if day else "", origin or Origin(price_source))


def likelier(finding: Finding, package: Finding | None, behind: Behind) -> str:
    """Return who is likelier right, and why; `package`: what the package alone says of it."""
    if behind.origin.evidence == "H":
        return f"ours: read at the provider ({behind.origin.source}, {behind.origin.checked})"
    if not behind.origin.evidence:
        return "open: the package against the map"
    if package is None or package.ours is None:
        return f"open: our file (evidence {behind.origin.evidence}) against the map"
    if package.verdict in {Verdict.AGREE, Verdict.ROUNDED}:
        return "theirs: the package agrees with the map"
    if package.ours == finding.ours:
        return "ours: the package agrees with our file"
    return "open: three sources, three prices"


def of_package(
    data: PriceData, source: SecondSource, findings: Iterable[Finding], at: datetime
) -> Mapping[tuple[Place, str, int], Finding]:
    """Return what the package alone says where the findings differ."""
    places = {each.place for each in findings if each.verdict is Verdict.DIFFER}
    prices = tuple(each for each in source.prices if each.place in places)
    alone = PriceBook(data=data, own=lambda _: PriceFile())
    return {
        (each.place, each.meter, each.context): each
        for each in compare(alone, SecondSource(source.name, prices), at)
    }


@cache
def _origins() -> Mapping[str, Origin]:
    """Return where the prices of our own files stand, by their ids."""
    return {
        rate.price_id: rate.origin
        for path in shipped.FOLDER.glob("*.yaml")
        for rate in shipped.file_of(path.stem).rates
    }
