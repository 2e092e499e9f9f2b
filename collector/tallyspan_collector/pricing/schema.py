"""The JSON Schema of `models_pricing.yaml`, for editors, made of the parser's own tables."""

from typing import Any

from tallyspan_collector.pricing import rates
from tallyspan_collector.pricing.unit import COUNTED_UNITS

_TEXT = {"type": "string", "minLength": 1}
_USD = {"type": "number", "minimum": 0, "description": "in the entry's currency, default USD"}
_PERCENT = {"type": "number", "minimum": 0, "maximum": 100}
_TIME = {
    "type": "string",
    "pattern": r"^\d{4}-\d{2}-\d{2}(T.+(Z|[+-]\d{2}:\d{2}))?$",
    "description": "a day (UTC), or a time with its zone; 'to' is excluded",
}
_HOURS = {
    "type": "string",
    "pattern": r"^\d{2}:\d{2}-\d{2}:\d{2}$",
    "description": "hours of the day, UTC; may go over midnight",
}
_WHERE: dict[str, Any] = {
    key: {"hours": _HOURS, "from": _TIME, "to": _TIME}.get(key, _TEXT) for key in rates.WHERE_KEYS
}


def schema() -> dict[str, Any]:
    """Return the schema: it accepts what the parser accepts, but does not compare entries."""
    tokens = dict.fromkeys(rates.TOKEN_KEYS, _USD)
    above = {"above_input_tokens": {"type": "integer", "exclusiveMinimum": 0}}
    price = _object(
        _WHERE
        | tokens
        | dict.fromkeys(COUNTED_UNITS, _USD)
        | {
            "unit": {"enum": list(rates.UNITS)},
            "currency": _TEXT,
            "tools": {"type": "object", "additionalProperties": _USD},
            "context_tiers": _list(_object(above | tokens, "above_input_tokens")),
            "context_tiers_apply_to": {"enum": [rates.WHOLE, rates.MARGINAL]},
            "discount_percent": _PERCENT,
        },
        "model",
    )
    price["dependentRequired"] = {key: ["unit", "input"] for key in rates.TOKEN_KEYS} | {
        "unit": ["input"]
    }
    change = _object(_WHERE | {"percent": _PERCENT}, "percent")
    alias = dict.fromkeys(("model", "provider", "endpoint", "region", "as", "as_provider"), _TEXT)
    rate = _object({"from": _TIME, "usd": {"type": "number", "exclusiveMinimum": 0}}, "usd")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tallyspan models_pricing.yaml",
        **_object(
            {
                "prices": _list(price),
                "discounts": _list(change),
                "uplifts": _list(change),
                "aliases": _list(_object(alias, "model", "as")),
                "currencies": {"type": "object", "additionalProperties": _list(rate)},
            }
        ),
    }


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(required),
    }


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}
