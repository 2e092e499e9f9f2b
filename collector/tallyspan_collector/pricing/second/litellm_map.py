"""LiteLLM's price map: a JSON file, or the data file of a wheel or of the installed package.

Only the data file is read: no code of the wheel or of the package runs.
"""

import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.nearest import hint
from tallyspan_collector.pricing.second import classes, off_peak, places
from tallyspan_collector.pricing.second.source import (
    Bands,
    Place,
    Retirement,
    SecondPrice,
    SecondSource,
)

PACKAGE = "litellm"
_DATA = "litellm/model_prices_and_context_window_backup.json"
_EXAMPLE = "sample_spec"
_MAX_BYTES = 64 << 20
_MAX_USD = Decimal("0.01")
"""USD for a token, excluded: a price above it is one for a thousand or a million tokens."""
_MAX_FEE = Decimal(10)
_MAX_TIMES = Decimal(100)
_GEO = {"anthropic": "us"}
"""Whose answers say where they were worked out -> the factor in `provider_specific_entry`."""
_REGIONS = {
    ("openai", "regional_processing_uplift_multiplier_us"): "us",
    ("openai", "regional_processing_uplift_multiplier_eu"): "eu",
    ("gcp.vertex_ai", "regional_endpoint_uplift_multiplier"): "us-east5",
}
"""Provider and key of a factor -> a region that it is for."""

Entry = Mapping[str, Any]


class _EntryError(Exception):
    """An entry of the map is not what it should be; the message begins with the key."""


def read(what: str, today: date) -> SecondSource:
    """Return the map: of a JSON file, of a wheel, or of the installed one (`package`).

    Models that ended before today are counted, not compared. Raises `ConfigError` by file and key.
    """
    name, text = _text(what)
    return _source(name, _entries(name, text), today)


def _text(what: str) -> tuple[str, str]:
    if what == "package":
        return _installed()
    path = Path(what)
    try:
        if zipfile.is_zipfile(path):
            return _of_wheel(path)
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: is too large to be a price map")
        return path.name, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def _installed() -> tuple[str, str]:
    try:
        package = distribution(PACKAGE)
        path = Path(str(package.locate_file(_DATA)))
        return f"{PACKAGE} {package.version}", path.read_text(encoding="utf-8")
    except PackageNotFoundError:
        raise ConfigError(f"{PACKAGE} is not installed here: name a map or a wheel") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{PACKAGE}: its {_DATA} cannot be read: {error}") from None


def _of_wheel(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as wheel:
            if wheel.getinfo(_DATA).file_size > _MAX_BYTES:
                raise ConfigError(f"{path}: {_DATA} is too large to be a price map")
            version = path.name.split("-")[1] if path.name.count("-") else ""
            return f"{PACKAGE} {version}".strip(), wheel.read(_DATA).decode()
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, NotImplementedError) as error:
        raise ConfigError(f"{path}: is no wheel of {PACKAGE}: {error}") from None


def _entries(name: str, text: str) -> dict[str, Entry]:
    try:
        content = json.loads(text, parse_float=Decimal, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not a JSON price map: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{name}: must map models to their prices")
    content.pop(_EXAMPLE, None)
    for key, entry in content.items():
        if not isinstance(entry, dict):
            raise ConfigError(f"{name}: {key}: must map keys to values; got {entry!r:.60}")
    if not any(_key in entry for entry in content.values() for _key in classes.KEYS):
        raise ConfigError(f"{name}: no entry has one of {', '.join(classes.KEYS[:3])}, ...")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(key for key, _ in pairs)
    twice = [key for key, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} stands in it twice")
    return dict(pairs)


def _source(name: str, entries: Mapping[str, Entry], today: date) -> SecondSource:
    prices: list[SecondPrice] = []
    retirements: list[Retirement] = []
    others, retired = Counter[str](), Counter[str]()
    faults: list[str] = []
    for key, entry in entries.items():
        whose = str(entry.get("litellm_provider") or "")
        place = places.place(whose, key)
        if place is None:
            if not places.is_compared(whose):
                others[whose] += _is_of_tokens(entry)
            continue
        try:
            end = _day(entry)
            of_entry = [] if end and end <= today else list(_prices(place, key, entry))
        except _EntryError as error:
            faults.append(f"{name}: {key}: {error}")
            continue
        if end is not None:
            retirements.append(_retirement(place, end, entry))
            retired[place.provider] += end <= today
        prices += of_entry
    return SecondSource(
        name, _merged(prices), tuple(retirements), dict(+others), tuple(faults), dict(+retired)
    )


def _is_of_tokens(entry: Entry) -> bool:
    return bool(entry.get("input_cost_per_token") or entry.get("output_cost_per_token"))


def _retirement(place: Place, day: date, entry: Entry) -> Retirement:
    successor = str(entry.get("successor_model") or "")
    source = str(entry.get("deprecation_source") or entry.get("source") or "")
    return Retirement(place.provider, place.model, day, successor.rpartition("/")[2], source)


def _day(entry: Entry) -> date | None:
    value = entry.get("deprecation_date")
    if not value:
        return None
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise _EntryError(
            f"deprecation_date: must be a day like 2026-01-31; got {value!r:.60}"
        ) from None


def _prices(place: Place, key: str, entry: Entry) -> Iterator[SecondPrice]:
    """Yield the prices of a model that is priced by tokens: each tier, each condition."""
    unknown = next((each for each in entry if classes.is_new(each)), None)
    if unknown is not None:
        raise _EntryError(f"{unknown}: {hint(unknown, classes.KEYS)}")
    tiers: dict[str, dict[str, dict[int, Fraction]]] = defaultdict(lambda: defaultdict(dict))
    for name, value in entry.items():
        slot = classes.slot(name)
        usd = None if slot is None else _usd(value, name, _MAX_USD)
        if slot is not None and usd is not None:
            tiers[slot.tier][slot.meter][slot.above] = usd
    _steps(entry, tiers[""])
    standard = tiers[""]
    if not any(usd for meter in ("input", "output") for usd in standard[meter].values()):
        return
    fees = _fees(entry)
    for tier, meters in tiers.items():
        prices = {name: bands for name, each in meters.items() if (bands := _bands(name, each))}
        if prices:
            in_tier = Place(place.provider, place.model, tier, place.conditions)
            price = SecondPrice(in_tier, prices | (fees if not tier else {}), (key,))
            yield from _split(price, entry) if not tier else (price,)
            yield from _under_conditions(price, entry)


def _split(price: SecondPrice, entry: Entry) -> Iterator[SecondPrice]:
    try:
        yield from off_peak.split(price, entry)
    except ValueError as error:
        raise _EntryError(f"off_peak_pricing: {error}") from None


def _bands(meter: str, by_context: Mapping[int, Fraction]) -> Bands:
    """Return the prices by context; none where 0 means that the class has no price of its own."""
    if -1 not in by_context or (not by_context[-1] and meter not in {"input", "output"}):
        return ()
    return tuple(sorted(by_context.items()))


def _steps(entry: Entry, meters: dict[str, dict[int, Fraction]]) -> None:
    """Add the prices of `tiered_pricing`: ranges of the input's length, each with its prices."""
    steps = entry.get("tiered_pricing")
    for step in steps if isinstance(steps, list) else ():
        if not isinstance(step, dict) or not isinstance(step.get("range"), list):
            continue  # of searches and the like, by another measure
        start = int(step["range"][0])
        for name, value in step.items():
            slot = classes.slot(name)
            usd = None if slot is None else _usd(value, f"tiered_pricing: {name}", _MAX_USD)
            if slot is not None and usd is not None:
                meters[slot.meter][start or -1] = usd


def _fees(entry: Entry) -> dict[str, Bands]:
    fees: dict[str, Bands] = {}
    for key, meter in classes.FEES.items():
        usd = _usd(entry.get(key), key, _MAX_FEE)
        if usd:
            fees[meter] = ((-1, usd),)
    sizes = entry.get(classes.SEARCH)
    if isinstance(sizes, dict):
        by_size = {_usd(sizes.get(size), classes.SEARCH, _MAX_FEE) for size in classes.SEARCH_SIZES}
        usd = by_size.pop()
        if usd and not by_size:  # several prices by size: no meter of ours tells them apart
            fees["web_search"] = ((-1, usd),)
    return fees


def _under_conditions(price: SecondPrice, entry: Entry) -> Iterator[SecondPrice]:
    """Yield the prices that the entry states as a factor on this one."""
    place = price.place
    tokens = SecondPrice(
        place, {k: v for k, v in price.prices.items() if not k.endswith(_FEE_ENDS)}, price.keys
    )
    own = entry.get("provider_specific_entry")
    own = own if isinstance(own, dict) else {}
    geo = _times(own.get(_GEO.get(place.provider, "")), "provider_specific_entry")
    if geo:
        yield tokens.scaled(_with(place, "geo", "us"), geo)
    fast = _times(own.get("fast"), "provider_specific_entry")
    if fast and not place.tier:
        yield tokens.scaled(Place(place.provider, place.model, "fast", place.conditions), fast)
    for (provider, key), region in _REGIONS.items():
        times = _times(entry.get(key), key) if provider == place.provider else None
        if times:
            yield tokens.scaled(_with(place, "region", region), times)


_FEE_ENDS = ("web_search", "maps_grounding")


def _with(place: Place, name: str, value: str) -> Place:
    conditions = tuple(sorted({**dict(place.conditions), name: value}.items()))
    return Place(place.provider, place.model, place.tier, conditions, place.hour)


def _merged(prices: list[SecondPrice]) -> tuple[SecondPrice, ...]:
    """Return the prices, those of one place that are the same as one."""
    merged: dict[tuple[Place, tuple[tuple[str, Bands], ...]], list[str]] = defaultdict(list)
    for price in prices:
        lower = Place(
            price.place.provider, price.place.model.lower(), price.place.tier,
            price.place.conditions, price.place.hour,
        )  # fmt: skip
        merged[lower, tuple(sorted(price.prices.items()))] += price.keys
    return tuple(
        SecondPrice(place, dict(bands), tuple(sorted(set(keys))))
        for (place, bands), keys in merged.items()
    )


def _usd(value: Any, where: str, maximum: Decimal) -> Fraction | None:
    return _amount(value, where, maximum, "USD for one, as in 0.0000025")


def _times(value: Any, where: str) -> Fraction | None:
    return _amount(value, where, _MAX_TIMES, "a factor, as in 1.1")


def _amount(value: Any, where: str, maximum: Decimal, what: str) -> Fraction | None:
    if value is None:
        return None
    is_number = isinstance(value, Decimal | int) and not isinstance(value, bool)
    if not is_number or not 0 <= value < maximum:
        raise _EntryError(
            f"{where}: must be {what}, 0 or more and less than {maximum}; got {value!s:.40}"
        )
    return Fraction(value)
