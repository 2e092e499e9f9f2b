"""Calls whose tokens nobody counted, but whose characters the sender did: an estimate of them.

`tallyspan-preload.cjs` sends no text, so there is nothing that a tokenizer could count. Of a call
that was aborted, or that ended without usage, it says how many characters were sent and answered.
What the provider did say (Anthropic's input, at the beginning of a stream) stays as it is.

Characters a token, in tenths, by the beginning of the model's name. OpenAI and Google state 4 for
English, Anthropic 3.5; this repository's tokenizer of GPT-4o has 3.9 for its English pages, 4.4 for
its Python, 2.8 for JSON, 4.6 for German, and 1.4 for Chinese and Japanese (that of GPT-4: 1.0).
"""

from dataclasses import replace

from tallyspan.estimate import TOKENS_A_MESSAGE, TOKENS_A_REQUEST
from tallyspan.usage import Usage
from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.otel_genai import GENERIC
from tallyspan_collector.dialects.table import Attributes
from tallyspan_collector.read.call import Draft, Flag

_PREFIX = "tallyspan.estimate."
_COUNTS = ("messages", "input_characters", "input_wide_characters", "output_characters",
           "output_wide_characters")  # fmt: skip
_TENTHS = 10
_CLAUDE, _OTHERS = (35, 10), (40, 14)
"""Tenths of characters a token: of most scripts, and of those with many signs (from U+2E80 on)."""


def refine(draft: Draft, attributes: Attributes) -> None:
    """Set the counts that are not there by the characters, and mark the call as an estimate."""
    if any(values.tokens(attributes.get(_PREFIX + name)) == -1 for name in _COUNTS):
        draft["quality_flags"] = (*draft["quality_flags"], Flag.BAD_COUNT)
    model: str = draft["request_model"] or draft["response_model"]
    tenths = _CLAUDE if "claude" in model.lower() else _OTHERS
    usage: Usage = draft["usage"]
    prompt = _tokens(attributes, "input", tenths)
    if usage.input_tokens is None and prompt is not None:
        prompt += (_count(attributes, "messages") or 1) * TOKENS_A_MESSAGE + TOKENS_A_REQUEST
        usage = replace(usage, input_tokens=prompt)
    answer = _tokens(attributes, "output", tenths)
    if answer is not None:  # a stream begins with a count of its first token or two
        usage = replace(usage, output_tokens=max(answer, usage.output_tokens or 0))
    draft["usage"] = usage
    draft["usage_source"] = "estimated" if usage else "unknown"


def _tokens(attributes: Attributes, side: str, tenths: tuple[int, int]) -> int | None:
    """Return the tokens that so many characters are about, rounded up; None: nobody counted."""
    characters = _count(attributes, f"{side}_characters")
    if characters is None:
        return None
    wide = min(_count(attributes, f"{side}_wide_characters") or 0, characters)
    usual, of_wide = tenths
    return -(-(characters - wide) * _TENTHS // usual) + -(-wide * _TENTHS // of_wide)


def _count(attributes: Attributes, name: str) -> int | None:
    number = values.tokens(attributes.get(_PREFIX + name))
    return None if number == -1 else number


DIALECT = replace(
    GENERIC,
    name="characters",
    scopes=("tallyspan",),
    keys=(),
    needs=(f"{_PREFIX}*",),
    counted=(f"{_PREFIX}*",),
    refine=refine,
)
"""Our own spans that have characters; all the others of ours are GENERIC."""
