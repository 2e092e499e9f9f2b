"""Anthropic batches: the results, a message a line; booked once, a sum for each model.

A message of a batch has its own usage and model. A batch may have a hundred thousand, so what is
booked is their sum for each model, as one call and its parts. A message that was refused before
anything was generated is free. Source: Anthropic's API types.
"""

from dataclasses import replace

from tallyspan.answer import Answer, Json, Part, mapping
from tallyspan.formats import anthropic_messages
from tallyspan.formats.anthropic_messages import ANTHROPIC
from tallyspan.framing import Interest
from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path, RequestKeys

MAX_MODELS = 50
"""Models of a batch that are told apart, each in one geo."""
_NO_GEO = "not_available"
"""What Anthropic says itself where there is none."""


class Reader:
    """Adds up the results of a batch, line by line."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], Part] = {}
        """By model and geo."""

    def read(self, body: Json, answer: Answer) -> None:
        """Take one result."""
        message = mapping(mapping(body.get("result")).get("message"))
        one = Answer()
        anthropic_messages.Reader().read(message, one)
        anthropic_messages.USAGE.name_unread(message, answer)
        if one.usage is None:
            return
        answer.is_background = True  # its usage comes with a later answer, so it is booked once
        answer.service_tier = "batch"
        geo = one.conditions.get("geo", "")
        if one.conditions.get("refusal") != "before_output":
            self._add(Part("batch_results", one.model, one.usage, one.meters), geo)
        for part in one.parts:
            self._add(part, geo)
        self._write(answer)

    def _add(self, part: Part, geo: str) -> None:
        key = (part.model, geo) if len(self._sums) < MAX_MODELS else next(iter(self._sums))
        name = key[0]
        before = self._sums.get(key, Part("batch_results", name, Usage()))
        meters = {
            meter: before.meters.get(meter, 0) + part.meters.get(meter, 0)
            for meter in (*before.meters, *part.meters)
        }
        under = {"geo": geo or _NO_GEO}
        self._sums[key] = Part("batch_results", name, _sum(before.usage, part.usage), meters, under)

    def _write(self, answer: Answer) -> None:
        first, *others = self._sums.values() or [Part("batch_results", "", Usage(0, 0))]
        if any(geo for _, geo in self._sums):
            answer.under("geo", first.conditions["geo"])
        else:
            others = [replace(each, conditions={}) for each in others]
        answer.model, answer.usage, answer.parts = first.model, first.usage, others
        answer.meters = dict(first.meters)


def _sum(one: Usage, other: Usage) -> Usage:
    result = Usage()
    for name in TOKEN_FIELDS:
        values = [v for v in (getattr(one, name), getattr(other, name)) if v is not None]
        setattr(result, name, sum(values) if values else None)
    return result


FORMAT = Format(
    name="anthropic_batch",
    provider=ANTHROPIC,
    paths=(
        Path(
            "/v1/messages/batches/(?P<id>[^/]+)/results",
            "chat",
            example="/v1/messages/batches/msgbatch_1/results",
            is_retrieval=True,
        ),
    ),
    request=RequestKeys(model="", stream="", user=(), call=frozenset()),
    estimate=NoEstimate("every result has its counts"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"usage"',)),
    reader=lambda: Reader().read,
    # The reader looks at the message inside a result itself.
    usage=UsageKeys(at=(), read=()),
    read_headers=None,
    read_request=None,
)
