"""The prices that come with the genai-prices package, chosen by the call's own time and tier."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import version
from types import MappingProxyType

from genai_prices.data_snapshot import DataSnapshot
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.units import UnitDef, UnitRegistry

from tallyspan.formats import PROVIDERS
from tallyspan_collector.errors import PriceError
from tallyspan_collector.pricing.cost import UNKNOWN_TIER, Unpriced
from tallyspan_collector.pricing.price import Part, Price, compile_price
from tallyspan_collector.pricing.tier import tier_name
from tallyspan_collector.pricing.timeline import Timeline, instant, moment, second_of_day
from tallyspan_collector.pricing.unit import REQUESTS, Unit

SOURCE = f"genai-prices {version('genai-prices')}"

PROVIDER_IDS = {each.name: each.pricing_id or each.name for each in PROVIDERS.values()}
"""OpenTelemetry's provider names -> the package's ids; another provider goes by its own id."""
NOT_BILLED_BY_USE = {"github-copilot"}
"""Providers the package lists without prices: no price is not a price of 0.

GitHub Copilot sells seats, and credits since 2026-06-01: the span of a call has what it was billed.
"""

VARIABLES: Mapping[str, str] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "cache_audio_read_tokens": "cache_read_audio_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
    "input_image_tokens": "input_image_tokens",
    "output_image_tokens": "output_image_tokens",
    "requests": REQUESTS,
    "audio_seconds": "seconds",
    "input_audio_seconds": "seconds",
    "input_characters": "characters",
    "input_document_pages": "pages",
    "rerank_searches": "search_units",
    "web_searches": "web_search",
    "storage_searches": "file_search",
}
"""What the package counts -> the field of `Usage` or the name in `Call.units`."""

_MINIMUM = {"whisper-large-v3": {"seconds": 10}, "whisper-large-v3-turbo": {"seconds": 10}}
"""Groq bills at least ten seconds of a recording (https://groq.com/pricing)."""
_MAXIMUM = {"gemini-2": {"web_search": 1}}
"""Gemini 2 bills a grounded prompt, later models each search query
(https://ai.google.dev/gemini-api/docs/pricing)."""
_UNBOUNDED: Mapping[str, int] = MappingProxyType({})


def context(provider_id: str, tier: str) -> dict[str, str] | None:
    """Return the price context of a served tier: standard prices need none."""
    name = tier_name(tier)
    if not name:
        return None
    if name == "batch":
        return {"processing": "batch"}
    return {"speed" if provider_id == "anthropic" else "service_tier": name}


@dataclass(frozen=True, slots=True, eq=False)
class PriceData:
    """Prices of a release of the package; `source` names it in every entry it prices."""

    providers: list[Provider]
    source: str

    @property
    def models(self) -> int:
        """How many models it knows."""
        return sum(len(provider.models) for provider in self.providers)

    def newest(self, today: date) -> date | None:
        """Return the day of the newest dated price until today: how old the data is."""
        return _newest(self, today)

    def check(self) -> None:
        """Raise `PriceError` for a price that is no amount, or has a unit new to this version."""
        for provider in self.providers:
            for model in provider.models:
                prices = model.prices if isinstance(model.prices, list) else [model]
                for each in (*prices, *(model.price_variants or ())):
                    where = f"{self.source}: {provider.id}/{model.id}"
                    if not all(_is_amount(usd) for usd in _amounts(each.prices)):
                        raise PriceError(f"{where}: a price that is no amount of USD, 0 or more")
                    try:
                        _parts(each.prices)
                    except (KeyError, ValueError, TypeError, AttributeError) as error:
                        raise PriceError(
                            f"{where}: a price this version does not know: {error};"
                            " upgrade tallyspan"
                        ) from None

    def timeline(
        self, provider: str, model: str, tier: str, factor: Fraction = Fraction(1), note: str = ""
    ) -> Timeline | None:
        """Return the prices of the model over time; None if the package does not have it.

        `factor` is a discount or an uplift, which `note` names in the price's id.
        """
        match = self.find(provider, model)
        if match is None:
            return None
        owner, info = match
        wanted = context(owner.id, tier) or {}
        is_own = any(info is each for each in owner.models)
        variants = [v for v in info.price_variants or () if is_own and _is_for(v, wanted)]
        conditions = info.prices if isinstance(info.prices, list) else []
        constraints = [each.constraint for each in conditions] + [v.constraint for v in variants]

        def make(at_ns: int) -> Price | Unpriced:
            at = moment(at_ns)
            if wanted and not any(
                v.constraint is None or v.constraint.active(at) for v in variants
            ):
                return UNKNOWN_TIER  # a default rate would be a guess
            prices = info.get_prices(at, wanted if is_own else None)
            suffix = f":{tier_name(tier)}" if wanted else ""
            since = _since([*_standing(conditions, at), *variants], at)
            limits = next((v for k, v in _MAXIMUM.items() if info.id.startswith(k)), _UNBOUNDED)
            return compile_price(
                f"{owner.id}/{info.id}{suffix}{since}{note}",
                self.source,
                [part.scaled(factor) for part in _parts(prices)],
                minimum=_MINIMUM.get(info.id, _UNBOUNDED) if owner.id == "groq" else _UNBOUNDED,
                maximum=limits,
            )

        return Timeline(
            make,
            [instant(c.start_date) for c in constraints if isinstance(c, StartDateConstraint)],
            [
                second_of_day(at)
                for c in constraints
                if isinstance(c, TimeOfDateConstraint)
                for at in (c.start_time, c.end_time)
            ],
        )

    def find(self, provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
        """Return the package's provider and model for a call's; None if it has no such model."""
        provider_id = PROVIDER_IDS.get(provider, provider)
        if not provider_id or provider_id in NOT_BILLED_BY_USE:
            return None
        # A new one each time: a snapshot remembers every name it looks up, without a bound.
        snapshot = DataSnapshot(self.providers, from_auto_update=False)
        try:
            return snapshot.find_provider_model(model, None, provider_id, None)
        except LookupError:
            return None


@lru_cache(maxsize=1)
def installed() -> PriceData:
    """Return the prices of the package that is installed."""
    from genai_prices.data import providers

    return PriceData(providers, SOURCE)


@lru_cache(maxsize=4)
def _newest(data: PriceData, today: date) -> date | None:
    days = (
        each.constraint.start_date
        for provider in data.providers
        for model in provider.models
        for each in (
            *(model.prices if isinstance(model.prices, list) else ()),
            *(model.price_variants or ()),
        )
        if isinstance(each.constraint, StartDateConstraint)
    )
    return max((day for day in days if day <= today), default=None)


def _amounts(prices: ModelPrice) -> Iterator[object]:
    for value in prices.__dict__.values():
        if isinstance(value, TieredPrices):
            yield from (value.base, *(tier.price for tier in value.tiers))
        elif value is not None:
            yield value


def _is_amount(usd: object) -> bool:
    """Whether it is an amount; also that its exponent is none that takes hours to work out."""
    if not isinstance(usd, Decimal) or not usd.is_finite() or usd.is_signed():
        return False
    return not usd or -30 < usd.adjusted() < 10  # noqa: PLR2004  far beyond any price


def _is_for(variant: PriceVariant, wanted: Mapping[str, str]) -> bool:
    return bool(wanted) and all(wanted.get(key) == value for key, value in variant.when.items())


def _standing(conditions: list[ConditionalPrice], at: datetime) -> list[ConditionalPrice]:
    active = (c for c in reversed(conditions) if c.constraint is None or c.constraint.active(at))
    return [*active][:1]


def _since(holding: list[ConditionalPrice | PriceVariant], at: datetime) -> str:
    days = [
        each.constraint.start_date
        for each in holding
        if isinstance(each.constraint, StartDateConstraint) and each.constraint.active(at)
    ]
    return f"@{max(days).isoformat()}" if days else ""


def _parts(prices: ModelPrice) -> list[Part]:
    registry = _registry()
    return [
        _part(registry.unit_for_price_key(key), value)
        for key, value in prices.__dict__.items()
        if value is not None
    ]


def _unit(unit: UnitDef) -> Unit:
    variable = VARIABLES.get(unit.usage_key, "")
    count = {variable: Fraction(1)} if variable else {}
    names = {"input_tokens": "input", "output_tokens": "output"}
    dimensions = frozenset(unit.dimensions.items())
    return Unit(names.get(unit.usage_key, unit.usage_key), dimensions, count)


def _part(unit: UnitDef, value: object) -> Part:
    return Part(_unit(unit), _bands(value, unit.per))


def _bands(value: object, per: int) -> tuple[tuple[int, Fraction], ...]:
    if isinstance(value, TieredPrices):
        tiers = ((tier.start, Fraction(tier.price) / per) for tier in value.tiers)
        return (-1, Fraction(value.base) / per), *tiers
    return ((-1, Fraction(str(value)) / per),)


@lru_cache(maxsize=1)
def _registry() -> UnitRegistry:
    from genai_prices.data_units import unit_data

    return UnitRegistry(unit_data)
