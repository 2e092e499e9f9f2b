"""Values of an entry of `imports:` or `reconcile:`: whose report it is, where, and how often."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tallyspan_collector.bills.pages import check_base
from tallyspan_collector.config import Section, duration
from tallyspan_collector.errors import ConfigError

MAX_LOOK_BACK_DAYS = 45
DAY_SECONDS = 86_400


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
    section: Section | None, create: Callable[[Section, int], _T], noun: str
) -> tuple[_T, ...]:
    """Return what `create` makes of each entry of a section that is a list, no two of one name.

    Raises `ConfigError` by file, line and key.
    """
    if section is None:
        return ()
    if not isinstance(section.content, list):
        raise section.lines.error((section.name,), "must be a list")
    listed = tuple(create(section, number) for number in range(len(section.content)))
    names = [each.name for each in listed]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise section.lines.error((section.name, number), f"a second {noun} is called {name!r}")
    return listed


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


def admin_key(
    file: Path | None, variable: str, help_text: str, environment: Mapping[str, str] = os.environ
) -> tuple[str, str]:
    """Return the key of a file, else of a variable, and where it comes from.

    Raises `ConfigError`, with `help_text` where there is none; the key is in no message.
    """
    if file is not None:
        origin = f"key_file {file}"
        try:
            key = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{origin}: cannot be read: {error}") from None
    else:
        origin = variable
        key = environment.get(variable, "").strip()
    if not key:
        raise ConfigError(f"{origin}: no key; {help_text}")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{origin}: is no key: it must be one word")
    return key, origin
