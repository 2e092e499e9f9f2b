"""Imports as they are written down: the section `imports` of the collector's file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallyspan_collector.bills.entry_values import (
    WrongValueError,
    checked,
    entries,
    path_of,
    texts,
    times,
    url_of,
    zone_of,
)
from tallyspan_collector.bills.sources import SOURCES
from tallyspan_collector.booked.imports import EVERY_SECONDS, LOOK_BACK_DAYS
from tallyspan_collector.config import Section, duration
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.nearest import hint
from tallyspan_collector.imports.matching import Matching, check_label
from tallyspan_collector.librechat.settings import (
    PEOPLE,
    URI_VARIABLE,
    USER_FIELDS,
    WAIT_SECONDS,
    LedgerImport,
)
from tallyspan_collector.librechat.settings import SOURCE as LIBRECHAT

OF_LIBRECHAT = (
    "from", "name", "mongo_variable", "mongo_file", "database", "every", "look_back", "wait",
    "tenant", "names", "sources", "user_field", "people",
)  # fmt: skip
"""Keys of an import of LibreChat's ledger."""
KEYS = (
    "from", "name", "key_variable", "key_file", "url", "file", "organization", "every", "look_back",
    "providers", "endpoint", "only", "tenant", "recorded_as", "names", "departments", "zone",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Import:
    """An import: how it is matched, where it is read, how often, and how many days each time.

    `file` may have `*` and `?` in its name. Without it the API of the source is asked, with the key
    of `key_file`, else of the variable `key_variable`; `url` is another address of the API.
    """

    matching: Matching
    key_variable: str = ""
    key_file: Path | None = None
    url: str = ""
    file: Path | None = None
    every_seconds: int = EVERY_SECONDS
    look_back_days: int = LOOK_BACK_DAYS

    @property
    def name(self) -> str:
        """Return its name."""
        return self.matching.name


def of_section(section: Section | None) -> tuple[Import | LedgerImport, ...]:
    """Return the imports of a file. Raises `ConfigError` by file, line and key."""
    return entries(section, "import", _keys_of, _import)


def _keys_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    return OF_LIBRECHAT if values.get("from") == LIBRECHAT else KEYS


def _import(values: Mapping[str, Any]) -> Import | LedgerImport:
    if "from" not in values:
        names = ", ".join((*SOURCES, LIBRECHAT))
        raise WrongValueError("", f"needs 'from': one of {names}")
    return of_librechat(values) if values["from"] == LIBRECHAT else create(values)


def of_flags(values: Mapping[str, Any]) -> Import:
    """Return an import of flags: the same keys, `_` as `-`. Raises `ConfigError`."""
    try:
        return create(values)
    except WrongValueError as error:
        raise ConfigError(f"--{error.key.replace('_', '-')}: {error.message}") from None


def create(values: Mapping[str, Any]) -> Import:
    """Return an import of the values of `KEYS`."""
    name_of_source = str(values["from"])
    source = SOURCES.get(name_of_source)
    if source is None:
        names = [*SOURCES, LIBRECHAT]
        raise WrongValueError(
            "from", f"no source {name_of_source!r}; {hint(name_of_source, names)}"
        )
    file = path_of(values.get("file"))
    if file is None and source.fetch is None:
        raise WrongValueError("file", f"{source.name} is read from its cost export: name the file")
    if file is not None and source.read is None:
        raise WrongValueError("file", f"{source.name} is read by its API: there is no file of it")
    organization = str(values.get("organization", ""))
    if source.needs_organization and not organization:
        raise WrongValueError("organization", f"{source.name} needs the name of the organisation")
    every, look_back_days = times(values, EVERY_SECONDS, LOOK_BACK_DAYS)
    zone = zone_of(values, is_file=file is not None)
    url = url_of(values)
    matching = Matching(
        name=str(values.get("name") or source.name),
        source=source.name,
        organization=organization,
        providers=tuple(str(each) for each in values.get("providers") or source.providers),
        only={
            _label("only", str(label)): str(value)
            for label, value in (values.get("only") or {}).items()
        },
        endpoint=str(values.get("endpoint", "")),
        tenant=None if values.get("tenant") is None else str(values["tenant"]),
        recorded_as=_label("recorded_as", str(values.get("recorded_as", ""))),
        names=texts(values.get("names")),
        departments=texts(values.get("departments")),
        zone=zone,
    )
    return Import(
        matching,
        key_variable=str(values.get("key_variable") or source.key_variable),
        key_file=path_of(values.get("key_file")),
        url=url,
        file=file,
        every_seconds=every,
        look_back_days=look_back_days,
    )


def of_librechat(values: Mapping[str, Any]) -> LedgerImport:
    """Return an import of LibreChat's ledger of the values of `OF_LIBRECHAT`."""
    every, look_back_days = times(values, EVERY_SECONDS, LOOK_BACK_DAYS)
    return LedgerImport(
        name=str(values.get("name") or LIBRECHAT),
        uri_variable=str(values.get("mongo_variable") or URI_VARIABLE),
        uri_file=path_of(values.get("mongo_file")),
        database=str(values.get("database", "")),
        tenant=None if values.get("tenant") is None else str(values["tenant"]),
        names=texts(values.get("names")),
        sources=tuple(str(each) for each in values.get("sources") or ()),
        user_field=_one_of("user_field", values, USER_FIELDS),
        people=_one_of("people", values, PEOPLE),
        wait_seconds=checked("wait", values, duration, WAIT_SECONDS),
        every_seconds=every,
        look_back_days=look_back_days,
    )


def _one_of(key: str, values: Mapping[str, Any], wanted: Sequence[str]) -> str:
    value = str(values.get(key) or wanted[0])
    if value not in wanted:
        choices = ", ".join(each for each in wanted if each)
        raise WrongValueError(key, f"must be one of {choices}, not {value!r}")
    return value


def _label(key: str, text: str) -> str:
    try:
        return check_label(text, "")
    except ConfigError as error:
        raise WrongValueError(key, str(error).strip()) from None
