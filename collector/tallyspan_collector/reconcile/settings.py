"""Bills that the collector compares with by itself: the section `reconcile` of its file."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tallyspan_collector.bills import bill_file
from tallyspan_collector.bills.entry_values import (
    DAY_SECONDS,
    WrongValueError,
    entries,
    path_of,
    texts,
    times,
    url_of,
    zone_of,
)
from tallyspan_collector.bills.sources import BILLS
from tallyspan_collector.config import Section
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.nearest import hint
from tallyspan_collector.reconcile import recorded
from tallyspan_collector.reconcile.bill import PROVIDERS, Bill
from tallyspan_collector.reconcile.rule import RESTS, SHARE, Rule

KEYS = (
    "provider", "name", "key_variable", "key_file", "url", "file", "columns", "zone", "by",
    "recorded_as", "names", "models", "ledger_providers", "endpoint", "threshold", "every",
    "look_back", "true_up",
)  # fmt: skip
EVERY_SECONDS = DAY_SECONDS
LOOK_BACK_DAYS = 7
SPLITS = ("project", "api_key")
_RULE = ("departments", "rest")


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A bill, how often it is compared with, and how many days each time.

    `true_up`: whose what only the bill has is; None: nothing of it is booked.
    """

    bill: Bill
    every_seconds: int = EVERY_SECONDS
    look_back_days: int = LOOK_BACK_DAYS
    true_up: Rule | None = None

    @property
    def name(self) -> str:
        """Return its name, under which its runs are kept."""
        return self.bill.name


def of_section(section: Section | None, prices: Path | None = None) -> tuple[Reconciliation, ...]:
    """Return the reconciliations of a file; `prices` is the price file with rates of currencies.

    Raises `ConfigError` by file, line and key.
    """
    return entries(section, "reconciliation", lambda _: KEYS, partial(_create, prices))


def percent(text: str) -> float:
    """Return a threshold as a part of billed. Raises `ConfigError`."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:  # noqa: PLR2004  percent
        raise ConfigError(f"--threshold: must be 0 to 100 percent; got {text!r}")
    return value / 100


def splits_of(provider: str) -> tuple[str, ...]:
    """Return by what the bill of a provider can be split."""
    return BILLS[provider].splits if provider in BILLS else SPLITS


def _create(prices: Path | None, values: Mapping[str, Any]) -> Reconciliation:
    provider = str(values.get("provider", ""))
    if provider not in PROVIDERS:
        message = f"no provider {provider!r}; {hint(provider, PROVIDERS)}"
        raise WrongValueError("provider", message)
    file = path_of(values.get("file"))
    source = BILLS.get(provider)
    if file is None and (source is None or source.bill is None):
        raise WrongValueError("file", "the bill of a provider without an API: name its file")
    if file is not None and source is not None and source.bill_file is None:
        raise WrongValueError("file", f"{provider} is read by its API: there is no file of it")
    columns = texts(values.get("columns"))
    if unknown := [each for each in columns if each not in bill_file.COLUMNS]:
        message = f"no column {unknown[0]!r}; {hint(unknown[0], list(bill_file.COLUMNS))}"
        raise WrongValueError("columns", message)
    by, recorded_as = (str(values.get(key, "")) for key in ("by", "recorded_as"))
    splits = splits_of(provider)
    if by not in {"", *splits}:
        raise WrongValueError("by", f"must be {' or '.join(splits)}, not {by!r}")
    if bool(by) != bool(recorded_as):
        labels = ", ".join(recorded.LABELS)
        message = f"by and recorded_as go together: what the ledger calls them ({labels}, tag:NAME)"
        raise WrongValueError("by" if by else "recorded_as", message)
    try:
        recorded.owner_sql(recorded_as)
    except ConfigError as error:
        message = str(error).removeprefix("--recorded-as ")
        raise WrongValueError("recorded_as", message) from None
    every, look_back_days = times(values, EVERY_SECONDS, LOOK_BACK_DAYS)
    try:
        threshold = percent(str(values.get("threshold", "1")))
    except ConfigError as error:
        raise WrongValueError("threshold", str(error).removeprefix("--threshold: ")) from None
    bill = Bill(
        provider=provider,
        name=str(values.get("name") or provider),
        file=file,
        columns=columns,
        key_variable=str(values.get("key_variable", "")),
        key_file=path_of(values.get("key_file")),
        url=url_of(values),
        zone=zone_of(values, is_file=file is not None),
        by=by,
        recorded_as=recorded_as,
        names=texts(values.get("names")),
        models=texts(values.get("models")),
        providers=tuple(str(each) for each in values.get("ledger_providers") or ()),
        endpoint=str(values.get("endpoint", "")),
        threshold=threshold,
        prices=prices,
    )
    return Reconciliation(bill, every, look_back_days, _rule(values, by))


def _rule(values: Mapping[str, Any], by: str) -> Rule | None:
    if "true_up" not in values:
        return None
    rule: Mapping[str, Any] = values["true_up"]
    if unknown := [str(each) for each in rule if each not in _RULE]:
        message = f"no key {unknown[0]!r}; {hint(unknown[0], list(_RULE))}"
        raise WrongValueError("true_up", message)
    named = rule.get("departments") or {}
    if not isinstance(named, Mapping):
        raise WrongValueError("true_up", f"departments must be a mapping, not {named!r}")
    departments = texts(named)
    if departments and not by:
        raise WrongValueError(
            "true_up", "departments are of projects or keys: the bill must be split, see by"
        )
    rest = str(rule.get("rest", SHARE))
    if rest not in RESTS:
        raise WrongValueError("true_up", f"rest must be {' or '.join(RESTS)}, not {rest!r}")
    return Rule(departments, rest)
