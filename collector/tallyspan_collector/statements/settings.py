"""Statements that the collector writes by itself: the section `statements` of its file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallyspan_collector.config import Section
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.nearest import hint
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.statements.files import FORMATS, formats_of
from tallyspan_collector.statements.statement import DEPARTMENT, OWNERS
from tallyspan_collector.summary import RequestError
from tallyspan_collector.summary.currency import currency_of

KEYS = ("folder", "formats", "by", "currency")


@dataclass(frozen=True, slots=True)
class Written:
    """Where statements of closed months are written to, in which formats, whose, what beside."""

    folder: Path
    formats: tuple[str, ...] = tuple(FORMATS)
    by: str = DEPARTMENT
    currency: str = ""


def of_section(section: Section | None, book: Callable[[], PriceBook]) -> Written | None:
    """Return what a file has, None without the section.

    `book` has the rates of the currency. Raises `ConfigError` by file, line and key.
    """
    if section is None:
        return None
    values, here = section.content, (section.name,)
    if not isinstance(values, dict):
        raise section.lines.error(here, "must be a mapping")
    section.lines.check_keys(here, values, KEYS)

    def wrong(key: str, message: str) -> ConfigError:
        return section.lines.error((*here, key), message)

    if not isinstance(values.get("folder"), str) or not values["folder"]:
        raise wrong("folder", "the folder that statements are written to")
    by = str(values.get("by", DEPARTMENT))
    if by not in OWNERS:
        raise wrong("by", f"no {by!r}; {hint(by, list(OWNERS))}")
    currency = values.get("currency", "")
    if not isinstance(currency, str):
        raise wrong("currency", f"must be a name such as EUR, not {currency!r}")
    try:
        if currency:
            currency_of(book().file, currency)
    except RequestError as error:
        raise wrong("currency", str(error)) from None
    try:
        formats = formats_of(_listed(values.get("formats", list(FORMATS))))
    except ConfigError as error:
        raise wrong("formats", str(error)) from None
    return Written(Path(values["folder"]).expanduser(), formats, by, currency)


def _listed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
