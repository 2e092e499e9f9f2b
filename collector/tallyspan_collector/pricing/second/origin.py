"""Where one of our prices comes from, and which other sources agree with it."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tallyspan_collector.files import strict_yaml
from tallyspan_collector.pricing import shipped
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.bundled import PriceData
from tallyspan_collector.pricing.rates import PriceFile
from tallyspan_collector.pricing.second.comparison import Finding, Verdict, compare
from tallyspan_collector.pricing.second.source import Place, SecondSource

_SINCE = re.compile(r"@(\d{4}-\d\d-\d\d)(?: |$)")


class Origin(NamedTuple):
    """What stands behind a price: the day since when it holds, where it was read, how sure it is.

    `evidence` is H, M or L; empty: the package grades none.
    """

    since: str
    source: str
    evidence: str
    checked: str


def of_price(price_id: str, price_source: str = "") -> Origin:
    """Return the origin of one of our prices; `price_source` names what has no entry of ours."""
    day = _SINCE.search(price_id)
    since = day[1] if day else ""
    entry = _entries().get(price_id.partition(" ")[0])
    if entry is None:
        return Origin(since, price_source, "", "")
    source, evidence, checked = (
        str(entry.get(key, "")) for key in ("source", "evidence", "checked")
    )
    return Origin(since, source, evidence, checked)


def likelier(finding: Finding, package: Finding | None, behind: Origin) -> str:
    """Return who is likelier right, and why; `package`: what the package alone says of it."""
    if behind.evidence == "H":
        return f"ours: read at the provider ({behind.source}, {behind.checked})"
    if not behind.evidence:
        return "open: the package against the map"
    if package is None or package.ours is None:
        return f"open: our file (evidence {behind.evidence}) against the map"
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
def _entries() -> Mapping[str, dict[str, Any]]:
    """Return the entries of our own price files by the ids of their prices."""
    return {
        price_id: entry
        for path in sorted(shipped.FOLDER.glob("*.yaml"))
        for price_id, entry in _entries_of(path).items()
    }


def _entries_of(path: Path) -> Mapping[str, dict[str, Any]]:
    content, lines = strict_yaml.load(path)
    by_line = {
        lines.line(("prices", number)): entry
        for number, entry in enumerate(content.get("prices", []))
    }
    return {rate.price_id: by_line[rate.line] for rate in shipped.file_of(path.stem).rates}
