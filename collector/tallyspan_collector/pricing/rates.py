"""`models_pricing.yaml`: prices of your own, each with where it applies and from when to when."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tallyspan.usage import Usage
from tallyspan_collector import strict_yaml
from tallyspan_collector.strict_yaml import KeyPath, Lines

PRICE_KEYS = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
KEYS = ("provider", "endpoint", "model", "from", "to", "unit", *PRICE_KEYS, "discount_percent")
UNITS = {"1M tokens": 10**6, "1K tokens": 10**3}
_PICO = 10**12
_ALWAYS = (-(1 << 63), (1 << 63) - 1)


@dataclass(frozen=True, slots=True)
class Rate:
    """A price entry; prices in pico-dollars a token, times in nanoseconds since 1970 (UTC)."""

    price_id: str
    model: str
    provider: str
    endpoint: str
    from_ns: int
    to_ns: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int

    def applies(self, provider: str, endpoint: str, model: str, at_ns: int) -> bool:
        """Whether the entry is for such a call at that time."""
        return (
            self.from_ns <= at_ns < self.to_ns
            and self.provider in {"", provider}
            and self.endpoint in {"", endpoint}
            and fnmatchcase(model, self.model)
        )

    @property
    def rank(self) -> tuple[bool, bool, bool, int, int]:
        """How specific the entry is: endpoint, provider, exact model, longer glob, later start."""
        is_exact = not any(sign in self.model for sign in "*?[")
        return bool(self.endpoint), bool(self.provider), is_exact, len(self.model), self.from_ns

    def cost(self, usage: Usage) -> tuple[int, int]:
        """Return pico-dollars for input and output; the parts must not exceed their whole."""
        read = usage.cache_read_tokens or 0
        write = usage.cache_write_tokens or 0
        hour = min(usage.cache_write_1h_tokens or 0, write)
        plain = (usage.input_tokens or 0) - read - write
        given = (
            plain * self.input
            + read * self.cache_read
            + (write - hour) * self.cache_write
            + hour * self.cache_write_1h
        )
        return given, (usage.output_tokens or 0) * self.output


def load(path: Path) -> list[Rate]:
    """Return the file's entries, the most specific first. Raises `ConfigError` by line and key."""
    said, lines = strict_yaml.load(path)
    lines.check_keys((), said, ("prices",))
    entries = said.get("prices")
    if not isinstance(entries, list):
        raise lines.error(("prices",), "must be a list of price entries")
    rates = [_rate(entry, ("prices", number), lines) for number, entry in enumerate(entries)]
    return sorted(rates, key=lambda rate: rate.rank, reverse=True)


def _rate(entry: Any, where: KeyPath, lines: Lines) -> Rate:
    if not isinstance(entry, dict):
        raise lines.error(where, "must be a mapping with model, unit and prices")
    lines.check_keys(where, entry, KEYS)
    for key in ("model", "unit", "input"):
        if key not in entry:
            raise lines.error(where, f"{key!r} is missing")
    texts = {key: _text(entry, key, where, lines) for key in ("model", "provider", "endpoint")}
    unit = entry["unit"]
    if unit not in UNITS:
        raise lines.error((*where, "unit"), f"must be one of {', '.join(UNITS)}; got {unit!r}")
    discount = _number(entry, "discount_percent", where, lines) or Decimal(0)
    if discount > 100:  # noqa: PLR2004  percent
        raise lines.error((*where, "discount_percent"), f"must be 0 to 100; got {discount}")
    scale = Decimal(_PICO) / UNITS[unit] * (100 - discount) / 100
    prices: dict[str, int] = {}
    for key in PRICE_KEYS:
        price = _number(entry, key, where, lines)
        if price is not None:
            prices[key] = int((price * scale).to_integral_value(ROUND_HALF_EVEN))
    prices.setdefault("output", 0)
    prices.setdefault("cache_read", prices["input"])
    prices.setdefault("cache_write", prices["input"])
    prices.setdefault("cache_write_1h", prices["cache_write"])
    from_ns = _day(entry, "from", where, lines, _ALWAYS[0])
    to_ns = _day(entry, "to", where, lines, _ALWAYS[1])
    if from_ns >= to_ns:
        raise lines.error((*where, "to"), "must be later than 'from' ('to' itself is excluded)")
    return Rate(
        price_id=f"{lines.path.name}:{lines.line(where)}",
        from_ns=from_ns,
        to_ns=to_ns,
        model=texts["model"],
        provider=texts["provider"],
        endpoint=texts["endpoint"],
        **prices,
    )


def _text(entry: dict[str, Any], key: str, where: KeyPath, lines: Lines) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str) or (key in entry and not value):
        raise lines.error((*where, key), f"must be text; got {value!r}")
    return value


def _number(entry: dict[str, Any], key: str, where: KeyPath, lines: Lines) -> Decimal | None:
    if key not in entry:
        return None
    value = entry[key]
    if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
        raise lines.error((*where, key), f"must be a number of USD, 0 or more; got {value!s}")
    return value


def _day(entry: dict[str, Any], key: str, where: KeyPath, lines: Lines, default: int) -> int:
    if key not in entry:
        return default
    try:
        day = date.fromisoformat(str(entry[key]))
    except ValueError:
        raise lines.error(
            (*where, key), f"must be a date like 2026-01-31 (UTC); got {entry[key]!s}"
        ) from None
    return int(datetime.combine(day, time(), UTC).timestamp()) * 10**9
