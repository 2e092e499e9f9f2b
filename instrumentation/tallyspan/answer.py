"""What a provider's answer says, gathered while it passes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tallyspan.batch import Batch, Item, Kind, amounts_of, key_of
from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan.meters import BY_NAME
from tallyspan.usage import Usage

MAX_TOKENS = 1 << 53
"""Above this a count is absurd: JSON numbers stop being exact integers."""

Json = dict[str, Any]
_Call = tuple[str, Mapping[str, int | float], Mapping[str, str]]
"""Model, amounts and conditions."""
_decoder = json.JSONDecoder()
MAX_CONDITION_CHARACTERS = 64
_DIGITS = re.compile(r"[0-9]{1,16}")
DECIMAL = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,18})?")
"""An amount that is written as a text."""


@dataclass(frozen=True, slots=True)
class Part:
    """A model call inside the answer that its own usage leaves out; `model` "": the caller's.

    `meters` are its rarer ones, as in `Answer`. `conditions` are its own; else the answer's hold.
    """

    kind: str
    model: str
    usage: Usage
    meters: Mapping[str, int | float] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Answer:
    """Filled by a reader, event by event; an empty string or None: not in any event so far.

    `meters`: what was used in meters (`meters.py`) that are no field of `Usage`. `conditions`: what
    the price depends on (`conditions.py`) beside model and tier. `unread`: paths of the provider's
    usage that no rule reads.
    `is_background`: the provider works on after its answer; a later request gets the usage.
    """

    model: str = ""
    response_id: str = ""
    finish_reasons: list[str] = field(default_factory=list)
    usage: Usage | None = None
    service_tier: str = ""
    error_type: str = ""
    reported_cost_usd: str = ""
    meters: dict[str, int | float] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    is_background: bool = False
    batch: Batch | None = None
    """What the answer says of a batch; None: nothing."""
    listed: list[Batch] = field(default_factory=list)
    """Further batches, where the answer is a list of them."""
    has_text: bool = False
    """Whether generated text was read before anything else that only an answer has."""

    def identify(self, body: Json, *, model: str = "model", response_id: str = "id") -> None:
        """Take model and id from the first event with them; Azure's first chunk has them empty."""
        self.model = self.model or text(body.get(model))
        self.response_id = self.response_id or text(body.get(response_id))

    def finished(self, reason: object) -> None:
        """Note why a choice ended."""
        if isinstance(reason, str) and reason:
            self.finish_reasons.append(reason)

    def billed(self, meter: str, value: object) -> None:
        """Note an amount of a meter; if events repeat it, the largest counts.

        Raises `KeyError` if there is no such meter.
        """
        name = BY_NAME[meter].name
        billed = amount(value)
        if billed:
            self.meters[name] = max(billed, self.meters.get(name, 0))

    def under(self, condition: str, value: object) -> None:
        """Note a condition, in lower case; without a text it stays as it is.

        Raises `KeyError` if there is no such condition.
        """
        name = CONDITIONS[condition].name
        if isinstance(value, str) and value:
            self.conditions[name] = value.lower()[:MAX_CONDITION_CHARACTERS]

    def add_result(
        self, name: str, result: "Answer", operation: str, created_s: int | None = None
    ) -> None:
        """Add the answer to one request of a batch, by the name of the request, and calls in it.

        One without usage bills nothing, and is left out.
        """
        batch = self.batch = self.batch or Batch()
        whole = amounts_of(result.usage, result.meters)
        calls: list[_Call] = [(result.model, whole, result.conditions)]
        for part in result.parts:
            under = part.conditions or result.conditions
            calls.append((part.model or result.model, amounts_of(part.usage, part.meters), under))
        for number, (model, amounts, conditions) in enumerate(calls):
            if not amounts:
                continue
            key = key_of(f"{name}\0{number}" if number else name)
            item = Item(key, created_s or 0, result.response_id, amounts)
            kind = Kind(operation, model, tuple(sorted(conditions.items())))
            batch.add(kind, item, result.unread)


def parsed(text: bytes) -> Any:
    """Return the value of the JSON text. Raises ValueError."""
    try:
        # A third less than json.loads: it finds out the encoding first, which is always UTF-8.
        return _decoder.raw_decode(str(text, "utf-8"))[0]
    except ValueError:
        return json.loads(text)


def amount(value: object) -> int | float | None:
    """Return a plausible amount, whole or not, else None."""
    if isinstance(value, float) and 0 <= value < MAX_TOKENS:
        return value
    return count(value)


def text(value: object) -> str:
    """Return the value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def mapping(value: object) -> Json:
    """Return the value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def failure(body: Json, *keys: str) -> str:
    """Return what kind of error the body has, by the first of the keys; empty: none."""
    error = body.get("error")
    if not error:
        return ""
    names = (mapping(error).get(key) for key in keys)
    return next((str(name) for name in names if name), "error")


def items(value: object) -> list[Json]:
    """Return the JSON objects of an array; nothing if it is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def count(value: object) -> int | None:
    """Return a plausible token count, else None: negative, fractional and absurd ones are not.

    Gateways write counts as text now and then.
    """
    if type(value) is int:  # the usual case first: this is called a dozen times a call
        return value if 0 <= value < MAX_TOKENS else None
    if value is None:
        return None
    if isinstance(value, str):
        value = int(value) if _DIGITS.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value < MAX_TOKENS or value != int(value):
        return None
    return int(value)


def total(*parts: int | None) -> int | None:
    """Return the sum of the parts that are there; None if none is."""
    present = [part for part in parts if part is not None]
    return sum(present) if present else None
