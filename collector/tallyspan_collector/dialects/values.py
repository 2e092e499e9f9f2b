"""What an attribute's value means, whatever type the emitter gave it. Nothing here raises."""

import ast
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from tallyspan.answer import MAX_TOKENS

_PLAIN_DECIMAL = re.compile(r"\d{1,18}(?:\.\d{1,30})?(?:[eE]-?\d{1,2})?\Z")
_WHOLE = re.compile(r"\d{1,16}(?:\.0{1,6})?\Z")
_NOTHING = frozenset({"", "none", "null", "undefined", "unknown"})
_WORD = 1 + max(map(len, _NOTHING))
_MAX_LITERAL_CHARACTERS = 65_536
"""Longer blobs are no usage; they are content that was not dropped."""
_MAX_DEPTH = 6
_MAX_ITEMS = 32
_KINDS = ("modality", "type", "ttl")
"""What tells the items of a list apart: Google's, Anthropic's, Bedrock's lifetimes."""
PICOUSD_OF_USD = 10**12
MAX_SECONDS = 1e9
_MAX_PICOUSD = 10**18
"""A million USD: the ledger's amounts (Decimal(18, 12)) hold no more, and no call costs so much."""
_SURROGATE = re.compile(r"\\(?:u|U0000)[dD][89a-fA-F]")
"""Half of a character (a lone surrogate), written as an escape: it cannot be stored."""


def text(value: object) -> str:
    """Return the value as text; empty for nothing, and for words like `None` that stand for it."""
    if value is None or isinstance(value, list | dict):
        return ""
    stripped = value.strip() if isinstance(value, str) else str(value)
    return "" if len(stripped) < _WORD and stripped.lower() in _NOTHING else stripped


def unquoted(value: object) -> object:
    """Return the text that a JSON text in quotes stands for, and anything else as it is."""
    if isinstance(value, str) and value.startswith('"'):
        plain = parse(value)
        return plain if isinstance(plain, str) else value
    return value


def first(value: object) -> str:
    """Return the first of a list, of a JSON list in a string, or of a comma-separated one."""
    if isinstance(value, str) and value.startswith(("[", "(")):
        value = parse(value)
    if isinstance(value, list | tuple):
        return text(value[0]) if value else ""
    return text(value).partition(",")[0].strip()


def tokens(value: object) -> int | None:
    """Return a plausible token count; None for nothing; -1 for what cannot be a count."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < MAX_TOKENS else -1
    if value is None:
        return None
    if isinstance(value, str):
        digits = value.strip()
        if digits.lower() in _NOTHING:
            return None
        return int(float(digits)) if _WHOLE.match(digits) and float(digits) < MAX_TOKENS else -1
    if isinstance(value, float) and 0 <= value < MAX_TOKENS and value == int(value):
        return int(value)
    return -1


def picousd(value: object, of_one: int = PICOUSD_OF_USD) -> int | None:
    """Return pico-dollars of a number, a decimal string or JSON with a `total`; else None.

    `of_one` are the pico-dollars of one unit of it. None, too, for a million USD and more: that is
    no cost of a call.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = parse(value)
    if isinstance(value, dict):
        value = value.get("total")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    number = value.strip() if isinstance(value, str) else repr(value)
    if not _PLAIN_DECIMAL.match(number):
        return None
    amount = int((Decimal(number) * of_one).to_integral_value())
    return amount if amount < _MAX_PICOUSD else None


def parse(blob: object) -> Any:
    """Return what JSON or a Python literal in a string holds, else None.

    LangSmith's Python SDK writes `repr` of a dict. Source: langsmith `_otel_exporter.py`.
    """
    if isinstance(blob, dict | list):
        return blob
    if not isinstance(blob, str) or len(blob) > _MAX_LITERAL_CHARACTERS:
        return None
    return _parsed(blob)


# several rules read one attribute of a span; nobody changes what is returned
@lru_cache(maxsize=4)
def _parsed(blob: str) -> Any:
    if _SURROGATE.search(blob):
        blob = _without_halves(blob)
    try:
        return json.loads(blob)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(blob)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _without_halves(blob: str) -> str:
    """Return the text with escaped surrogates as characters where two make one, else as `?`."""
    pairs = r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"

    def joined(pair: re.Match[str]) -> str:
        return bytes.fromhex(pair[1] + pair[2]).decode("utf-16-be")

    return re.sub(r"\\(?:u|U0000)[dD][89a-fA-F][0-9a-fA-F]{2}", "?", re.sub(pairs, joined, blob))


def places(blob: object, start: str = "") -> dict[str, object]:
    """Return path -> value of the numbers and texts in a blob; a path is joined by dots.

    An item of a list has its kind in brackets: `promptTokensDetails[TEXT].tokenCount`.
    `start` is put before each path.
    """
    result: dict[str, object] = {}
    content = parse(blob)
    if isinstance(content, Mapping):
        _collect(content, start, 0, result)
    return result


def _collect(
    table: Mapping[object, object], start: str, depth: int, result: dict[str, object]
) -> None:
    for key, value in table.items():
        if isinstance(value, int | float | str):
            result[f"{start}{key}"] = value
        elif depth >= _MAX_DEPTH or not value:
            continue
        elif isinstance(value, Mapping):
            _collect(value, f"{start}{key}.", depth + 1, result)
        elif isinstance(value, list):
            for item in value[:_MAX_ITEMS]:
                if isinstance(item, Mapping):
                    kind = next((named for name in _KINDS if (named := text(item.get(name)))), "")
                    _collect(item, f"{start}{key}[{kind}].", depth + 1, result)


def microseconds(seconds: object) -> int | None:
    """Return whole microseconds of a plausible number of seconds."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        return None
    return int(min(seconds, MAX_SECONDS) * 1_000_000)
