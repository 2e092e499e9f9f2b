"""The prices that come with the genai-prices package, chosen by the call's own time and tier."""

from collections.abc import Callable, Iterator, Mapping
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
from tallyspan.meters import BY_DIMENSIONS, BY_NAME, Meter
from tallyspan_collector.errors import PriceError
from tallyspan_collector.pricing.cost import FREE_TIER_PRICE, UNKNOWN_TIER, Unpriced
from tallyspan_collector.pricing.model_match import is_same_model
from tallyspan_collector.pricing.price import Part, PriceParts
from tallyspan_collector.pricing.sellers import is_at_list_price, is_borrowed, is_free
from tallyspan_collector.pricing.tier import tier_name
from tallyspan_collector.pricing.timeline import every_day, instant, moment, second_of_day

SOURCE = f"genai-prices {version('genai-prices')}"

PROVIDER_IDS = {each.name: each.pricing_id or each.name for each in PROVIDERS.values()}
"""OpenTelemetry's provider names -> the package's ids; another provider goes by its own id."""
NOT_BILLED_BY_USE = {"github-copilot"}
"""Providers the package lists without prices: no price is not a price of 0.

GitHub Copilot sells seats, and credits since 2026-06-01: the span of a call has what it was billed.
"""

_METERS = {"input_audio_seconds": "seconds", "output_audio_seconds": "seconds"}
"""What the package tells apart and we do not -> our meter; all others have the same dimensions."""

_MINIMUM = {"whisper-large-v3": {"seconds": 10}, "whisper-large-v3-turbo": {"seconds": 10}}
"""Groq bills at least ten seconds of a recording (https://groq.com/pricing)."""
_MAXIMUM = {"gemini-2": {"web_search": 1}}
"""Gemini 2 bills a grounded prompt, later models each search query
(https://ai.google.dev/gemini-api/docs/pricing)."""
_UNBOUNDED: Mapping[str, int] = MappingProxyType({})


def most_billed(model: str) -> Mapping[str, int]:
    """Return how much of a meter one call of the model is billed at most, whoever has its price."""
    return next((v for start, v in _MAXIMUM.items() if model.startswith(start)), _UNBOUNDED)


def context(provider_id: str, tier: str) -> dict[str, str] | None:
    """Return the price context of a served tier: standard prices need none."""
    name = tier_name(tier)
    if not name:
        return None
    if name == "batch":
        return {"processing": "batch"}
    return {"speed" if provider_id == "anthropic" else "service_tier": name}


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """The package's prices of a model. They may change at `instants` and `seconds` of the week.

    `at` takes a moment, and whether the tier is priced by a factor on the standard price; it
    returns the price that holds and whether it is the tier's own, or why there is none.
    """

    at: Callable[[int, bool], tuple[PriceParts, bool] | Unpriced]
    instants: list[int]
    seconds: list[int]


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

    def model_prices(self, provider: str, model: str, tier: str) -> "ModelPrices | None":
        """Return the prices of the model over time; None if the package does not have it."""
        match = self.find(provider, model)
        if match is None:
            return None
        owner, info = match
        wanted = context(owner.id, tier) or {}
        is_own = _has(owner, info)
        variants = [v for v in info.price_variants or () if is_own and _is_for(v, wanted)]
        conditions = info.prices if isinstance(info.prices, list) else []
        constraints = [each.constraint for each in conditions] + [v.constraint for v in variants]

        def at(at_ns: int, is_tier_priced: bool) -> tuple[PriceParts, bool] | Unpriced:
            when = moment(at_ns)
            has_variant = any(v.constraint is None or v.constraint.active(when) for v in variants)
            if wanted and not has_variant and not is_tier_priced:
                return UNKNOWN_TIER  # a default rate would be a guess
            prices = info.get_prices(when, wanted if has_variant else None)
            if not any(_amounts(prices)) and not is_free(provider, model):
                return FREE_TIER_PRICE
            suffix = f":{tier_name(tier)}" if has_variant and wanted else ""
            since = _since([*_standing(conditions, when), *variants], when)
            price = PriceParts(
                f"{owner.id}/{info.id}{suffix}{since}",
                self.source,
                _parts(prices),
                minimum=_MINIMUM.get(info.id, _UNBOUNDED) if owner.id == "groq" else _UNBOUNDED,
                maximum=most_billed(info.id),
            )
            return price, bool(wanted) and has_variant

        return ModelPrices(
            at,
            [instant(c.start_date) for c in constraints if isinstance(c, StartDateConstraint)],
            every_day(
                second_of_day(each)
                for c in constraints
                if isinstance(c, TimeOfDateConstraint)
                for each in (c.start_time, c.end_time)
            ),
        )

    def find(self, provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
        """Return the package's provider and model for a call's; None if it has no such model.

        A model that only looks like it, or that the package has of another seller whose price is
        not this one's, is none.
        """
        provider_id = PROVIDER_IDS.get(provider, provider)
        if not provider_id or provider_id in NOT_BILLED_BY_USE:
            return None
        # A new one each time: a snapshot remembers every name it looks up, without a bound.
        snapshot = DataSnapshot(self.providers, from_auto_update=False)
        try:
            owner, info = snapshot.find_provider_model(model, None, provider_id, None)
        except LookupError:
            return None
        maker = next(each.id for each in (owner, *self.providers) if _has(each, info))
        if maker != owner.id and not is_at_list_price(owner.id, maker, info.id):
            return None
        if is_borrowed(maker, info.price_comments) or not is_same_model(info, model):
            return None
        return owner, info


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


def _has(provider: Provider, model: ModelInfo) -> bool:
    return any(model is each for each in provider.models)


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
    units = (
        (registry.unit_for_price_key(key), value)
        for key, value in prices.__dict__.items()
        if value is not None
    )
    parts = ((_meter(unit), _bands(value, unit.per)) for unit, value in units)
    return [Part(meter, bands) for meter, bands in parts if meter is not None]


def _meter(unit: UnitDef) -> Meter | None:
    """Return our meter for a unit of the package; None: nobody counts it."""
    name = _METERS.get(unit.usage_key)
    return BY_NAME[name] if name else BY_DIMENSIONS.get(frozenset(unit.dimensions.items()))


def _bands(value: object, per: int) -> tuple[tuple[int, Fraction], ...]:
    if isinstance(value, TieredPrices):
        tiers = ((tier.start, Fraction(tier.price) / per) for tier in value.tiers)
        return (-1, Fraction(value.base) / per), *tiers
    return ((-1, Fraction(str(value)) / per),)


@lru_cache(maxsize=1)
def _registry() -> UnitRegistry:
    from genai_prices.data_units import unit_data

    return UnitRegistry(unit_data)
