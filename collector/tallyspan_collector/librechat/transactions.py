"""A document of LibreChat's ledger -> a half of a call: its prompt, or its answer."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from tallyspan.answer import MAX_TOKENS
from tallyspan_collector.dialects.values import text
from tallyspan_collector.pricing.cost import MAX_COST_PICOUSD

MAX_CHARACTERS = 1_000
"""Of an id or a name."""
PICO_OF_CREDIT = 1_000_000
"""LibreChat counts in millionths of a dollar."""
TITLE = "title"
IMAGES = "image_generation"
"""Context of pictures that Gemini makes for an agent's tool; no message is named."""
KINDS = frozenset({TITLE, IMAGES, "memory", "activity-label", "reasoning-label", "activity-phase"})
"""Contexts that spans have as `call_kind`; calls of any other one are of the turn itself."""
INCOMPLETE = "incomplete"
API_MESSAGES = ("chatcmpl-", "resp_")
"""How ids of messages begin that LibreChat's Agents API answers with."""
_NOT_USED = frozenset({"credits"})
"""Types of documents that buy credits and use none."""


@dataclass(frozen=True, slots=True)
class Half:
    """One document: `tokens` of the prompt (its cache included) or of the answer.

    `id` is its `_id`, hex, whose time is `at` (UTC). `value_picousd` is what LibreChat charged for
    it, None: nothing is said. Empty text: the document does not have the field.
    """

    id: str
    at: datetime
    side: Literal["prompt", "completion"]
    user: str
    conversation: str
    message: str
    model: str
    context: str
    tenant: str
    tokens: int
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    rate: Decimal | None
    value_picousd: int | None

    @property
    def cached_tokens(self) -> int:
        """Return how many of its tokens were read from or written to a cache."""
        return (self.cache_read_tokens or 0) + (self.cache_write_tokens or 0)

    @property
    def key(self) -> tuple[str, ...]:
        """Return what both halves of a call have in common."""
        return (
            self.tenant, self.user, self.conversation, self.message, self.context, self.model,
        )  # fmt: skip


class UnreadableError(Exception):
    """A document that is no half of a call: what is wrong with it."""


def half_of(document: Mapping[str, Any]) -> Half | None:
    """Return the half that a document is; None: it is of no call. Raises `UnreadableError`."""
    from bson import ObjectId

    side = document.get("tokenType")
    if side in _NOT_USED:
        return None
    if side not in {"prompt", "completion"}:
        raise UnreadableError("tokenType is neither prompt nor completion")
    number = document.get("_id")
    if not isinstance(number, ObjectId):
        raise UnreadableError("_id is no ObjectId")
    parts = {name: _spent(document, name) for name in ("inputTokens", "writeTokens", "readTokens")}
    has_parts = side == "prompt" and any(count is not None for count in parts.values())
    tokens = sum(count or 0 for count in parts.values()) if has_parts else None
    if tokens is None and (tokens := _spent(document, "rawAmount")) is None:
        raise UnreadableError("rawAmount is missing")
    return Half(
        id=str(number),
        at=number.generation_time,
        side=side,
        user=_text(document, "user"),
        conversation=_text(document, "conversationId"),
        message=_text(document, "messageId"),
        model=_text(document, "model"),
        context=_text(document, "context"),
        tenant=_text(document, "tenantId"),
        tokens=tokens,
        cache_read_tokens=parts["readTokens"] if has_parts else None,
        cache_write_tokens=parts["writeTokens"] if has_parts else None,
        rate=_decimal(document.get("rate")),
        value_picousd=_value(document.get("tokenValue")),
    )


def halves_of(documents: Iterable[Mapping[str, Any]]) -> tuple[list[Half], Counter[str]]:
    """Return the halves among documents, and how many are none, by what is wrong with them."""
    halves: list[Half] = []
    unreadable: Counter[str] = Counter()
    for document in documents:
        try:
            half = half_of(document)
        except UnreadableError as error:
            unreadable[str(error)] += 1
        else:
            halves += [half] if half else []
    return halves, unreadable


def _spent(document: Mapping[str, Any], name: str) -> int | None:
    """Return the tokens of a field, which LibreChat writes below 0; None: it is not there."""
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableError(f"{name} is no number")
    if not -MAX_TOKENS < value <= 0 or value != int(value):
        raise UnreadableError(f"{name} is no number of tokens below 0 that a call can have")
    return -int(value)


def _text(document: Mapping[str, Any], name: str) -> str:
    value = text(document.get(name))
    if len(value) > MAX_CHARACTERS:
        raise UnreadableError(f"{name} has more than {MAX_CHARACTERS:,} characters")
    return value


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return Decimal(repr(value))


def _value(value: object) -> int | None:
    amount = _decimal(value)
    if amount is None or abs(amount) >= MAX_COST_PICOUSD // PICO_OF_CREDIT:
        return None
    return int((-amount * PICO_OF_CREDIT).to_integral_value())
