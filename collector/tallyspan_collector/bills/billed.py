"""A line of a bill or of a usage report, whoever sent it, in the convention of the ledger."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

from tallyspan_collector.pricing.match import names

_SNAPSHOT_OF_VERTEX = re.compile(r"@.*$")
_BEFORE = re.compile(
    r"^(?:[\w.@:-]+/)*"
    r"(?:(?:us|us-gov|eu|apac|jp|au|in|ca|sa|me|af|mx|global|regional)\.(?=[a-z0-9-]+\.))?"
    r"(?:(?:ai21|amazon|anthropic|cohere|google|meta|minimax|mistral|moonshot|moonshotai|nvidia"
    r"|openai|qwen|writer|zai)\.)?"
)
"""What Bedrock, Vertex and OpenRouter write before a model: path, inference profile, maker."""
_AFTER = re.compile(r"(?:(?<!turbo)-instruct)?(?:-v?\d+:\d+k?)?$")
_VERSION_OF_CLAUDE = re.compile(r"-v\d+$")
_PARTS = re.compile(r"[a-z]+|\d+")
_POINT_0 = re.compile(r"(?<=\d)\.0(?!\d)")
_OTHERS = re.compile(r"[\W_]+")
COUNTS = (
    "requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cost_usd",
)
"""Amounts of a line that are compared one by one."""


class Charge(StrEnum):
    """What a line of a bill is for; all but usage have no model, and `item` names them."""

    USAGE = "usage"
    PURCHASE = "purchase"
    CREDIT = "credit"
    TAX = "tax"


@dataclass(frozen=True, slots=True)
class Billed:
    """What a provider reports for a day. None: the line does not say; 0: it says zero.

    `input_tokens` includes cache reads and writes, as in the ledger. `model` is empty for what is
    billed beside models; `item` then names it. `project` is a project, workspace or account,
    `api_key` the id or name of a key, `user` an e-mail address, or an id where there is none.
    `provider` is the ledger's name where a report is of several; `service` the product that was
    used, as spans name their service. `meters` are further parts and units, by their names in the
    registry of meters. `is_long_context`: of calls above the context that costs more. `currency`
    is what the cost was in before it became USD, empty: USD. `billed_to` names project and key for
    people. `is_repeated`: the same line of a file stood before.
    """

    day: date
    model: str = ""
    project: str = ""
    tier: str = ""
    item: str = ""
    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: Decimal | None = None
    api_key: str = ""
    user: str = ""
    provider: str = ""
    service: str = ""
    operation: str = ""
    conditions: Mapping[str, str] = field(default_factory=dict)
    meters: Mapping[str, int] = field(default_factory=dict)
    is_long_context: bool = False
    charge: Charge = Charge.USAGE
    currency: str = ""
    billed_to: str = ""
    is_repeated: bool = False

    @property
    def tokens(self) -> int | None:
        """Input and output; None if the line says neither."""
        counts = [count for count in (self.input_tokens, self.output_tokens) if count is not None]
        return sum(counts) if counts else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was used: a provider lists such lines for any model ever used."""
        return not any((self.requests, self.tokens, self.cost_usd, *self.meters.values()))


def added(lines: Iterable[Billed], name: str) -> "int | Decimal | None":
    """Return the sum of a count over the lines that state it; None if none does."""
    values = [value for line in lines if (value := getattr(line, name)) is not None]
    return sum(values[1:], values[0]) if values else None


@lru_cache(maxsize=4096)
def model_key(model: str) -> tuple[str, ...]:
    """Return what makes a bill's and the ledger's name of a model the same.

    Without path, maker, version of Bedrock and date of a snapshot, and without the signs between
    words: a SKU is `Nova2.0Lite`, the model `us.amazon.nova-2-lite-v1:0`. Claude's words may stand
    in any order, numbers in theirs: `Claude Haiku 3.5`, `claude-3-5-haiku-20241022`.
    """
    low = _AFTER.sub("", _BEFORE.sub("", model_label(model)))
    low = model_label(low)
    if low.startswith("claude"):
        parts = _PARTS.findall(_VERSION_OF_CLAUDE.sub("", low))
        numbers = [part for part in parts if part.isdigit()]
        return (*sorted(part for part in parts if not part.isdigit()), *numbers)
    return (_OTHERS.sub("", _POINT_0.sub("", low)) or low,)


def model_label(model: str) -> str:
    """Return the model without the date of a snapshot, for people."""
    return names(_SNAPSHOT_OF_VERTEX.sub("", model.strip()))[-1]
