"""What is sold at a price of its own, in the columns of FOCUS: a class of a model's usage."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan.meters import BY_NAME, Meter
from tallyspan_collector.pricing.match import Conditions
from tallyspan_collector.pricing.price import REQUESTS
from tallyspan_collector.pricing.tier import tier_name

Row = dict[str, str]
"""Column -> text; a column that is missing is null."""
REQUESTS_UNIT, TOKENS = "Requests", "Tokens"
_UNITS = {
    "durations": "Seconds",
    "session_seconds": "Seconds",
    "characters": "Characters",
    "images": "Images",
    "document_pages": "Pages",
    REQUESTS: REQUESTS_UNIT,
}
"""Unit by name or family of a meter; all others are counted in units."""


@dataclass(frozen=True, slots=True)
class Sku:
    """What is sold, at a price of its own: a class of a model's usage, under some conditions."""

    provider: str
    model: str
    meter: str
    service_tier: str = ""
    conditions: Conditions = ()
    above: int = -1

    def columns(self) -> Row:
        """Return the columns that say what it is."""
        sku = "/".join(filter(None, (self.provider, self.model, self.meter)))
        terms = [*((("tier", self.service_tier),) if self.service_tier else ()), *self.conditions]
        if self.above >= 0:
            terms.append(("above_input_tokens", str(self.above)))
        meter = BY_NAME.get(self.meter)
        return {
            "SkuId": sku,
            "SkuMeter": meter_text(meter) if meter else self.meter.replace("_", " ").title(),
            "SkuPriceId": ";".join((sku, *(f"{name}={value}" for name, value in terms))),
            "SkuPriceDetails": json_text(
                {"x_Model": self.model}
                | (_details(meter) if meter else {})
                | {"x_" + name.title().replace("_", ""): value for name, value in terms}
            ),
        }


@lru_cache(maxsize=4096)
def sku_columns(
    provider: str, model: str, meter: str, tier: str, conditions: Conditions, above: int
) -> Row:
    """Return the columns of a SKU; what the collector says of a call is no term of its price."""
    terms = tuple(
        sorted(
            (name, value)
            for name, value in conditions
            if name in CONDITIONS and not CONDITIONS[name].is_of_collector
        )
    )
    return Sku(named(provider), named(model), meter, tier_name(tier), terms, above).columns()


def meter_text(meter: Meter) -> str:
    """Return what a meter counts, as `SkuMeter` has it."""
    if not meter.is_tokens:
        return meter.name.replace("_", " ").title()
    kinds = dict(meter.dimensions)
    words = (kinds.get("token_type", ""), kinds.get("cache_ttl", ""), kinds.get("modality", ""))
    return " ".join([*filter(None, words), kinds["direction"], "tokens"]).replace("_", " ").title()


def _details(meter: Meter) -> dict[str, str]:
    """Return the properties of a class of tokens."""
    if not meter.is_tokens:
        return {}
    kinds = dict(meter.dimensions)
    token_type = kinds.get("token_type", "")
    action = token_type.removeprefix("cache_") if token_type.startswith("cache_") else ""
    return {
        name: value.title()
        for name, value in (
            ("x_TokenDirection", kinds["direction"]),
            ("x_TokenCacheAction", action),
            ("x_TokenCacheTime", kinds.get("cache_ttl", "")),
            ("x_TokenModality", kinds.get("modality", "")),
        )
        if value
    }


def unit_of(meter: Meter) -> str:
    """Return the unit that a meter is priced in."""
    family = dict(meter.dimensions).get("family", "")
    return TOKENS if meter.is_tokens else _UNITS.get(meter.name) or _UNITS.get(family, "Units")


def named(name: str) -> str:
    """Return the name of a provider or model; those that nobody named are unknown."""
    return name or "unknown"


def json_text(properties: Mapping[str, str]) -> str:
    """Return the properties as a column of FOCUS has them."""
    return json.dumps(properties, ensure_ascii=False)
