"""The JSON Schema of `models_pricing.yaml`, for editors, made of the parser's own tables."""

from typing import Any

from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan.meters import BY_PRICE_KEY
from tallyspan_collector.pricing import commitments, rates
from tallyspan_collector.pricing.adjustments import ALLOWANCE_OWNERS, PERIODS, WHERE_KEYS
from tallyspan_collector.pricing.origin import NOTES

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
_DAYS = {
    "type": "string",
    "pattern": "^(?i:(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?)$",
    "description": "days of the week, UTC: mon-fri, sun",
}
_MODEL = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}
_SPECIAL = {"model": _MODEL, "days": _DAYS, "hours": _HOURS, "from": _TIME, "to": _TIME}
_NOTES = {key: {"type": "string"} for key in NOTES}
_WHERE: dict[str, Any] = {key: _SPECIAL.get(key, _TEXT) for key in WHERE_KEYS} | _NOTES
_CONDITIONS = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {
        each.name: {**_TEXT, "description": each.comment} for each in CONDITIONS.values()
    },
}
_RELATIVE = {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,9})? x [a-z0-9_]+$"}


def schema() -> dict[str, Any]:
    """Return the schema: it accepts what the parser accepts, but does not compare entries."""
    tokens = dict.fromkeys(rates.TOKEN_KEYS, _USD)
    above = {"above_input_tokens": {"type": "integer", "exclusiveMinimum": 0}}
    price = _object(
        _WHERE
        | tokens
        | dict.fromkeys(rates.COUNTED_KEYS, _USD)
        | {
            "unit": {"enum": list(rates.UNITS)},
            "currency": _TEXT,
            "tools": _object(dict.fromkeys(rates.TOOL_KEYS, _USD)),
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
    meter_prices = {
        key: {"anyOf": [_USD, _RELATIVE], "description": meter.comment}
        for key, meter in BY_PRICE_KEY.items()
    }
    factor = _object(_WHERE | {"times": {"type": "number", "minimum": 0, "maximum": 100}}, "times")
    whole = {"type": "integer", "minimum": 1}
    able = [each.price_key for each in BY_PRICE_KEY.values() if each.free]
    allowance = _object(
        _WHERE
        | {"meter": {"enum": able}, "free": whole, "every": {"enum": list(PERIODS)}}
        | {"group": _TEXT, "at_most": whole, "per": {"enum": list(ALLOWANCE_OWNERS)}},
        *("meter", "free", "every", "group"),
    )
    commitment = _object(
        {key: _WHERE.get(key, _TEXT) for key in commitments.KEYS}
        | {
            "kind": {"enum": list(commitments.Commits)},
            "price": {**_USD, "description": "of one unit or seat, in the entry's currency"},
            "per": {"enum": list(commitments.PERIODS)},
            "units": whole,
            "spread": {"enum": list(commitments.Spread)},
            "capacity": _object(dict.fromkeys(commitments.CAPACITY_KEYS, whole)),
        },
        *commitments.NEEDED,
    )
    setting = _object(_WHERE | {"set": _CONDITIONS}, "set")
    doubt = _object(_WHERE | {"flag": _TEXT, "instead": _CONDITIONS}, "flag", "instead")
    alias: dict[str, Any] = {"model": _MODEL, **_NOTES}
    alias |= dict.fromkeys(("provider", "endpoint", *CONDITIONS, "as", "as_provider"), _TEXT)
    rate = _object({"from": _TIME, "usd": {"type": "number", "exclusiveMinimum": 0}}, "usd")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tallyspan models_pricing.yaml",
        **_object(
            {
                "prices": _list(price),
                "fees": _list(_object(_WHERE | meter_prices)),
                "factors": _list(factor),
                "allowances": _list(allowance),
                "commitments": _list(commitment),
                "conditions": _list(setting),
                "doubts": _list(doubt),
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
