"""What a provider's answer says, gathered while it passes."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from tallyspan.usage import Usage

MAX_TOKENS = 1 << 53
"""Above this a count is absurd: JSON numbers stop being exact integers."""

Json = dict[str, Any]
_decoder = json.JSONDecoder()
_DIGITS = re.compile(r"[0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class Part:
    """A model call inside the answer that its own usage leaves out; `model` "": the caller's."""

    kind: str
    model: str
    usage: Usage


@dataclass(slots=True)
class Answer:
    """Filled by a reader, event by event; an empty string or None: not in any event so far.

    `units` are what is billed beside tokens: web_search, search_units, characters, seconds, images
    and pages.
    `is_background`: the provider works on after its answer; a later request gets the usage.
    """

    model: str = ""
    response_id: str = ""
    finish_reasons: list[str] = field(default_factory=list)
    usage: Usage | None = None
    service_tier: str = ""
    error_type: str = ""
    reported_cost_usd: str = ""
    units: dict[str, int | float] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    is_background: bool = False
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

    def billed(self, unit: str, value: object) -> None:
        """Note an amount billed beside tokens; if events repeat it, the largest counts."""
        billed = amount(value)
        if billed:
            self.units[unit] = max(billed, self.units.get(unit, 0))


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
