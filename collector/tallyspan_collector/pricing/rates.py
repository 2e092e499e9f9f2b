"""`models_pricing.yaml`: prices of your own, each with where it applies and from when to when."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan.meters import BY_PRICE_KEY, TOKEN_METERS, UNIT_METERS, Meter
from tallyspan_collector.files import strict_yaml
from tallyspan_collector.files.strict_yaml import KeyPath, Lines
from tallyspan_collector.pricing import adjustments, commitments, fields
from tallyspan_collector.pricing.adjustments import (
    WHERE_KEYS,
    Allowance,
    Doubt,
    Factor,
    Fee,
    Setting,
    refuse_contradictions,
)
from tallyspan_collector.pricing.commitments import Commitment
from tallyspan_collector.pricing.match import Kind, Match, Ranked
from tallyspan_collector.pricing.origin import NOTES, Origin, origin
from tallyspan_collector.pricing.price import Part

SECTIONS = (
    "prices", "fees", "factors", "allowances", "commitments", "conditions", "doubts", "discounts",
    "uplifts", "aliases", "currencies",
)  # fmt: skip
TOKEN_KEYS = tuple(meter.price_key for meter in TOKEN_METERS)
COUNTED_KEYS = tuple(meter.price_key for meter in UNIT_METERS if meter.price_key.startswith("per_"))
TOOL_KEYS = tuple(meter.price_key for meter in UNIT_METERS if meter.price_key not in COUNTED_KEYS)
TIER_KEYS = ("above_input_tokens", *TOKEN_KEYS)
PRICE_KEYS = (
    *WHERE_KEYS,
    "unit",
    "currency",
    *TOKEN_KEYS,
    *COUNTED_KEYS,
    "tools",
    "context_tiers",
    "context_tiers_apply_to",
    "discount_percent",
    *NOTES,
)
UNITS = {"1M tokens": 10**6, "1K tokens": 10**3}
WHOLE, MARGINAL = "whole request", "tokens above"
USD = "USD"
_MARGINAL_KEYS = {"input", "output", "cache_read", "cache_write"}


@dataclass(frozen=True, slots=True)
class Rate:
    """A price of the file. `parts` are in `currency`.

    `level` is the share that the entry's own discount leaves of the price; None: it has no
    discount, and those of the file apply. `is_any_tier`: without a tier it is for all of them.
    """

    match: Match
    parts: tuple[Part, ...]
    currency: str
    level: Fraction | None
    is_marginal: bool
    price_id: str
    source: str
    origin: Origin
    is_any_tier: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """A discount (level below 1) or an uplift (above)."""

    match: Match
    level: Fraction
    note: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name, and perhaps provider, under which some calls are priced."""

    match: Match
    model: str
    provider: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class ExchangeRate:
    """USD for one of a currency, from a moment on."""

    from_ns: int
    usd: Fraction


@dataclass(frozen=True, slots=True)
class PriceFile:
    """A price file as read; the most specific lines first."""

    name: str = "models_pricing.yaml"
    rates: Ranked[Rate] = field(default_factory=Ranked)
    fees: Ranked[Fee] = field(default_factory=Ranked)
    factors: Ranked[Factor] = field(default_factory=Ranked)
    allowances: Ranked[Allowance] = field(default_factory=Ranked)
    commitments: tuple[Commitment, ...] = ()
    settings: Ranked[Setting] = field(default_factory=Ranked)
    doubts: Ranked[Doubt] = field(default_factory=Ranked)
    discounts: Ranked[Change] = field(default_factory=Ranked)
    uplifts: Ranked[Change] = field(default_factory=Ranked)
    aliases: Ranked[Alias] = field(default_factory=Ranked)
    currencies: Mapping[str, tuple[ExchangeRate, ...]] | None = None

    def usd(self, currency: str, at_ns: int) -> Fraction | None:
        """Return USD for one of the currency at the moment; None if the file has no rate."""
        if currency == USD:
            return Fraction(1)
        rates = (self.currencies or {}).get(currency, ())
        return next((r.usd for r in reversed(rates) if r.from_ns <= at_ns), None)

    def without_discounts(self) -> "PriceFile":
        """Return the file without discounts, those of its entries included, and without uplifts."""
        rates = Ranked(replace(each, level=None) for each in self.rates)
        return replace(self, rates=rates, discounts=Ranked(), uplifts=Ranked())

    def priced_as(self, kind: Kind) -> Kind:
        """Return the kind under the name that an alias gives it; one step, not a chain."""
        alias = self.alias(kind)
        if alias is None:
            return kind
        return replace(kind, model=alias.model, provider=alias.provider or kind.provider)

    def alias(self, kind: Kind) -> Alias | None:
        """Return the most specific alias of the kind; None: it goes by its own name."""
        return next(iter(self.aliases.for_kinds([kind])), None)

    def with_settings(self, kind: Kind) -> Kind:
        """Return the kind with the conditions that the file sets; the most specific line wins."""
        conditions = dict(kind.conditions)
        for each in reversed(self.settings.for_kinds([kind])):
            conditions |= dict(each.values)
        return replace(kind, conditions=tuple(sorted(conditions.items())))


def load(path: Path) -> PriceFile:
    """Return the file. Raises `ConfigError` by file, line and key."""
    content, lines = strict_yaml.load(path)
    lines.check_keys((), content, SECTIONS)
    currencies = _currencies(content.get("currencies", {}), lines)

    def entries(section: str) -> list[tuple[KeyPath, Any]]:
        return [
            (at, each)
            for at, entry in fields.items(content, section, lines)
            for each in fields.models(entry, at, lines)
        ]

    factors = [adjustments.factor(e, at, lines) for at, e in entries("factors")]
    refuse_contradictions(factors, lines)
    if not any(section in content for section in SECTIONS):
        raise lines.error(("prices",), f"the file needs one of {', '.join(SECTIONS)}")
    dated = PriceFile(currencies=currencies)
    committed = tuple(
        commitments.parse(entry, at, lines, dated)
        for at, entry in fields.items(content, "commitments", lines)
    )
    commitments.refuse_overlaps(committed, lines)
    return PriceFile(
        name=path.name,
        rates=Ranked(_rate(e, at, lines, currencies.keys()) for at, e in entries("prices")),
        fees=Ranked(fee for at, e in entries("fees") for fee in adjustments.fees(e, at, lines)),
        factors=Ranked(factors),
        allowances=Ranked(adjustments.allowance(e, at, lines) for at, e in entries("allowances")),
        commitments=committed,
        settings=Ranked(adjustments.setting(e, at, lines) for at, e in entries("conditions")),
        doubts=Ranked(adjustments.doubt(e, at, lines) for at, e in entries("doubts")),
        discounts=Ranked(_change(e, at, lines) for at, e in entries("discounts")),
        uplifts=Ranked(_change(e, at, lines) for at, e in entries("uplifts")),
        aliases=Ranked(_alias(e, at, lines) for at, e in entries("aliases")),
        currencies=currencies,
    )


def _rate(entry: Any, at: KeyPath, lines: Lines, currencies: Any) -> Rate:
    fields.check(entry, at, lines, PRICE_KEYS, "model")
    match = fields.match(entry, at, lines)
    currency = fields.text(entry, "currency", at, lines) or USD
    if currency != USD and currency not in currencies:
        raise lines.error(
            (*at, "currency"), f"{currency!r} has no rates: add them under 'currencies'"
        )
    discount = fields.percent(entry, "discount_percent", at, lines)
    parts = [*_token_parts(entry, at, lines), *_counted_parts(entry, at, lines)]
    if not parts:
        keys = ", ".join((*TOKEN_KEYS, *COUNTED_KEYS, "tools"))
        raise lines.error(at, f"'input' is missing, and every other price too: give one of {keys}")
    is_marginal = _is_marginal(entry, at, lines, {part.meter.price_key for part in parts})
    since = f"@{entry['from']}" if "from" in entry else ""
    priced = {key: value for key, value in entry.items() if key not in NOTES}
    digest = hashlib.blake2b(repr(sorted(map(str, _flat(priced)))).encode(), digest_size=4)
    return Rate(
        match=match,
        parts=tuple(parts),
        currency=currency,
        level=None if discount is None else 1 - discount / 100,
        is_marginal=is_marginal,
        price_id=f"{lines.path.name}:{match.model}#{digest.hexdigest()}{since}",
        source=lines.path.name,
        origin=origin(entry, at, lines),
    )


def _flat(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [line for key, each in value.items() for line in _flat(each, f"{path}.{key}")]
    if isinstance(value, list):
        return [line for n, each in enumerate(value) for line in _flat(each, f"{path}.{n}")]
    return [f"{path}={value}"]


def _token_parts(entry: dict[str, Any], at: KeyPath, lines: Lines) -> list[Part]:
    base = {key: fields.number(entry, key, at, lines) for key in TOKEN_KEYS if key in entry}
    tiers = list(fields.items(entry, "context_tiers", lines, at))
    if not base:
        if tiers:
            raise lines.error((*at, "context_tiers"), "needs 'input' for the calls below them")
        if "unit" in entry:
            raise lines.error((*at, "unit"), "is for prices of tokens, and there is none")
        return []
    if "unit" not in entry:
        raise lines.error(at, "'unit' is missing")
    if entry["unit"] not in UNITS:
        raise lines.error(
            (*at, "unit"), f"must be one of {', '.join(UNITS)}; got {entry['unit']!r}"
        )
    if "input" not in base:
        raise lines.error(at, "'input' is missing")
    base.setdefault("output", Fraction(0))
    bands: dict[str, list[tuple[int, Fraction]]] = {key: [(-1, usd)] for key, usd in base.items()}
    last = 0
    for where, tier in tiers:
        fields.check(tier, where, lines, TIER_KEYS, "above_input_tokens")
        above = fields.whole(tier, "above_input_tokens", where, lines)
        if above <= last:
            raise lines.error(
                (*where, "above_input_tokens"), f"must be more than {last}: the tiers go up"
            )
        last = above
        for key in TOKEN_KEYS:
            if key in tier:
                if key not in base:
                    raise lines.error((*where, key), f"needs {key!r} in the entry itself as well")
                bands[key].append((above, fields.number(tier, key, where, lines)))
    per = UNITS[entry["unit"]]
    return [
        Part(meter, tuple((above, usd / per) for above, usd in bands[meter.price_key]))
        for meter in TOKEN_METERS
        if meter.price_key in bands
    ]


def _counted_parts(entry: dict[str, Any], at: KeyPath, lines: Lines) -> list[Part]:
    def part(meter: Meter, holder: dict[str, Any], key: str, where: KeyPath) -> Part:
        return Part(meter, ((-1, fields.number(holder, key, where, lines)),))

    parts = [part(BY_PRICE_KEY[key], entry, key, at) for key in COUNTED_KEYS if key in entry]
    tools = entry.get("tools", {})
    if not isinstance(tools, dict):
        raise lines.error((*at, "tools"), "must map tools to USD for one use: web_search: 0.01")
    lines.check_keys((*at, "tools"), tools, TOOL_KEYS)
    return [*parts, *(part(BY_PRICE_KEY[key], tools, key, (*at, "tools")) for key in tools)]


def _is_marginal(entry: dict[str, Any], at: KeyPath, lines: Lines, priced: set[str]) -> bool:
    if "context_tiers_apply_to" not in entry:
        return False
    where = (*at, "context_tiers_apply_to")
    value = entry["context_tiers_apply_to"]
    if value not in {WHOLE, MARGINAL}:
        raise lines.error(where, f"must be {WHOLE!r} or {MARGINAL!r}; got {value!r}")
    if value == MARGINAL and priced & set(TOKEN_KEYS) - _MARGINAL_KEYS:
        raise lines.error(where, f"{MARGINAL!r} takes {', '.join(sorted(_MARGINAL_KEYS))} only")
    return bool(value == MARGINAL)


def _change(entry: Any, at: KeyPath, lines: Lines) -> Change:
    fields.check(entry, at, lines, (*WHERE_KEYS, "percent", *NOTES), "percent")
    percent = fields.percent(entry, "percent", at, lines) or Fraction(0)
    sign = "+" if at[0] == "uplifts" else "-"
    return Change(
        match=fields.match(entry, at, lines),
        level=1 + percent / 100 if sign == "+" else 1 - percent / 100,
        note=f" {sign}{entry['percent'].normalize():f}%",
        origin=origin(entry, at, lines),
    )


def _alias(entry: Any, at: KeyPath, lines: Lines) -> Alias:
    keys = ("model", "provider", "endpoint", *CONDITIONS, "as", "as_provider", *NOTES)
    fields.check(entry, at, lines, keys, "as", "model")
    return Alias(
        match=fields.match(entry, at, lines),
        model=fields.text(entry, "as", at, lines),
        provider=fields.text(entry, "as_provider", at, lines),
        origin=origin(entry, at, lines),
    )


def _currencies(content: Any, lines: Lines) -> dict[str, tuple[ExchangeRate, ...]]:
    if not isinstance(content, dict):
        raise lines.error(("currencies",), "must map currencies to lists of rates")
    result: dict[str, tuple[ExchangeRate, ...]] = {}
    for name in content:
        rates: list[ExchangeRate] = []
        if name == USD:
            raise lines.error(("currencies", name), "USD needs no rate: it is what prices are in")
        for at, entry in fields.items(content, name, lines, ("currencies",)):
            fields.check(entry, at, lines, ("from", "usd"), "usd")
            rate = fields.number(entry, "usd", at, lines)
            if not rate:
                raise lines.error((*at, "usd"), "must be more than 0 USD for one")
            rates.append(ExchangeRate(fields.match(entry, at, lines).from_ns, rate))
            if len(rates) > 1 and rates[-1].from_ns <= rates[-2].from_ns:
                raise lines.error((*at, "from"), "must be later than the rate before it")
        if not rates:
            raise lines.error(("currencies", name), "must be a list of rates: - {usd: 1.08}")
        result[name] = tuple(rates)
    return result
