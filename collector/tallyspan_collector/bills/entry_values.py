"""Values of an entry of `imports:` or `reconcile:`: whose report it is, where, and how often."""

import os
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tallyspan_collector.bills.pages import check_base
from tallyspan_collector.config import Section, duration
from tallyspan_collector.errors import ConfigError

MAX_LOOK_BACK_DAYS = 45
DAY_SECONDS = 86_400
MAPPINGS = {"only", "names", "models", "departments", "true_up", "columns"}
LISTS = {"providers", "sources", "ledger_providers"}
"""Keys whose values are not one text or number."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_T = TypeVar("_T", bound=_Named)


class WrongValueError(Exception):
    """A value that cannot be: the key, and what is wrong; it becomes one by line or by flag."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message


def entries(
    section: Section | None,
    noun: str,
    keys_of: Callable[[Mapping[str, Any]], tuple[str, ...]],
    create: Callable[[Mapping[str, Any]], _T],
) -> tuple[_T, ...]:
    """Return what `create` makes of each entry of a section that is a list, no two of one name.

    `keys_of` are the keys that an entry may have. `create` raises `WrongValueError`, with an empty
    key for what is wrong with the whole entry. Raises `ConfigError` by file, line and key.
    """
    if section is None:
        return ()
    if not isinstance(section.content, list):
        raise section.lines.error((section.name,), "must be a list")
    listed = tuple(
        _entry(section, number, keys_of, create) for number in range(len(section.content))
    )
    names = [each.name for each in listed]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise section.lines.error((section.name, number), f"a second {noun} is called {name!r}")
    return listed


def _entry(
    section: Section,
    number: int,
    keys_of: Callable[[Mapping[str, Any]], tuple[str, ...]],
    create: Callable[[Mapping[str, Any]], _T],
) -> _T:
    values = section.content[number]
    here = (section.name, number)
    if not isinstance(values, dict):
        raise section.lines.error(here, "must be a mapping")
    section.lines.check_keys(here, values, keys_of(values))
    for key, value in values.items():
        wanted: Any = dict if key in MAPPINGS else list if key in LISTS else str | Decimal
        if not isinstance(value, wanted):
            raise section.lines.error((*here, key), f"cannot be {value!r}")
    try:
        return create(values)
    except WrongValueError as error:
        place = (*here, error.key) if error.key else here
        raise section.lines.error(place, error.message) from None


def path_of(value: object) -> Path | None:
    """Return the path, None for an empty one."""
    return Path(str(value)).expanduser() if value else None


def texts(value: Mapping[str, object] | None) -> dict[str, str]:
    """Return a mapping of names as text."""
    return {str(key): str(text) for key, text in (value or {}).items()}


def checked(
    key: str, values: Mapping[str, Any], parse: Callable[[str], int], otherwise: int
) -> int:
    """Return the parsed value of the key, or `otherwise`. Raises `WrongValueError`."""
    if values.get(key) is None:
        return otherwise
    try:
        return parse(str(values[key]))
    except ValueError as error:
        raise WrongValueError(key, str(error)) from None


def times(values: Mapping[str, Any], every_seconds: int, look_back_days: int) -> tuple[int, int]:
    """Return how often (seconds), and how many days each time; with what holds where none is said.

    Raises `WrongValueError`.
    """
    every = checked("every", values, duration, every_seconds)
    look_back = checked("look_back", values, duration, look_back_days * DAY_SECONDS)
    if look_back % DAY_SECONDS or look_back > MAX_LOOK_BACK_DAYS * DAY_SECONDS:
        raise WrongValueError("look_back", f"must be whole days, {MAX_LOOK_BACK_DAYS}d at most")
    return every, look_back // DAY_SECONDS


def zone_of(values: Mapping[str, Any], *, is_file: bool) -> str:
    """Return the time zone of the days. Raises `WrongValueError`."""
    zone = str(values.get("zone", "UTC"))
    if not is_file and zone != "UTC":
        raise WrongValueError("zone", "is for files: the days of the providers' APIs are UTC")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"no such time zone {zone!r}; for example Europe/Berlin"
        raise WrongValueError("zone", message) from None
    return zone


def url_of(values: Mapping[str, Any]) -> str:
    """Return another address of the API, empty for its own. Raises `WrongValueError`."""
    url = str(values.get("url", ""))
    if url:
        try:
            check_base(url)
        except ConfigError as error:
            raise WrongValueError("url", str(error).removeprefix("--url").strip(": ")) from None
    return url


def secret(
    file: Path | None,
    variable: str,
    needed: str,
    name_of_file: str = "",
    environment: Mapping[str, str] = os.environ,
) -> tuple[str, str]:
    """Return the text of a file, else of a variable, and where it comes from.

    `name_of_file` is the setting that names the file, for messages. Raises `ConfigError`, with
    `needed` where there is none; the text is in no message.
    """
    if file is not None:
        origin = f"{name_of_file} {file}".strip()
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{origin}: cannot be read: {error}") from None
    else:
        origin = variable
        text = environment.get(variable, "").strip()
    if not text:
        raise ConfigError(f"{origin}: {needed}")
    return text, origin


def admin_key(
    file: Path | None, variable: str, needed: str, name_of_file: str = "key_file"
) -> tuple[str, str]:
    """Return a key, one word, and where it comes from; as of `secret`. Raises `ConfigError`."""
    key, origin = secret(file, variable, f"no key; {needed}", name_of_file)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{origin}: is no key: it must be one word")
    return key, origin
