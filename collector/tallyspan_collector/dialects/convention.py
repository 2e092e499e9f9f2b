"""The one token convention: input with cache, output with reasoning, whatever an emitter reports.

The emitter's rule in its table comes first, but its counts are checked against it: parts that do
not fit in their whole, or a total that only adds up the other way, are believed over the table.
"""

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.dialects.table import Basis
from tallyspan_collector.read.call import Flag

INCLUSIVE_PROVIDERS = frozenset(
    {"openai", "azure.ai.openai", "gcp.gemini", "gcp.vertex_ai", "deepseek", "x_ai", "groq"}
)
"""Their APIs report input with the cache in it, and so do emitters that pass it on."""

_BESIDE = frozenset({"gcp.gemini", "gcp.vertex_ai"})
"""Their APIs report reasoning beside the output."""
_INPUT, _OUTPUT, _READ, _WRITE, _REASONING = (
    TOKEN_FIELDS.index(name)
    for name in (
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
    )
)
_PARTS = tuple(
    (TOKEN_FIELDS.index(part), TOKEN_FIELDS.index(whole))
    for part, whole in (
        ("cache_write_1h_tokens", "cache_write_tokens"),
        ("cache_read_audio_tokens", "cache_read_tokens"),
        ("input_audio_tokens", "input_tokens"),
        ("output_audio_tokens", "output_tokens"),
        ("input_image_tokens", "input_tokens"),
        ("output_image_tokens", "output_tokens"),
    )
)
"""Rarer parts and their wholes; a price refuses the same."""


def settle(
    counts: list[int | None],
    total: int | None,
    basis: Basis,
    provider: str,
    *,
    is_settled: bool,
    is_reasoning_outside: bool,
    is_bad: bool = False,
) -> tuple[Flag, ...]:
    """Bring the counts (in the order of `Usage`) into our convention, in place.

    -1 is a count that cannot be one; it becomes None. `is_settled`: input and output are totals
    already; `is_bad`: a count that cannot be one was left out before. Returns what is doubtful.
    """
    flags: list[Flag] = []
    if is_bad or total == -1 or -1 in counts:
        flags.append(Flag.BAD_COUNT)
        total = None if total == -1 else total
        counts[:] = [None if count == -1 else count for count in counts]
    input_tokens, output_tokens = counts[_INPUT], counts[_OUTPUT]
    cache = (counts[_READ] or 0) + (counts[_WRITE] or 0)
    reasoning = counts[_REASONING] or 0
    if not is_settled:
        if cache and input_tokens is not None:
            input_tokens = counts[_INPUT] = _with_cache(
                input_tokens, output_tokens, cache, total, basis, provider, flags
            )
        if reasoning and output_tokens is not None:
            outside = is_reasoning_outside or (reasoning > output_tokens and provider in _BESIDE)
            if _is_outside(input_tokens, output_tokens, reasoning, total, is_outside=outside):
                output_tokens = counts[_OUTPUT] = output_tokens + reasoning
    if total is not None and input_tokens is not None:
        _check_total(input_tokens, output_tokens or 0, cache, total, basis, flags)
    if (
        (input_tokens is not None and cache > input_tokens)
        or (output_tokens is not None and reasoning > output_tokens)
        or any((counts[part] or 0) > (counts[whole] or 0) for part, whole in _PARTS)
    ):
        flags.append(Flag.CONTRADICTORY)
    return tuple(flags)


def _with_cache(
    input_tokens: int,
    output_tokens: int | None,
    cache: int,
    total: int | None,
    basis: Basis,
    provider: str,
    flags: list[Flag],
) -> int:
    if basis is Basis.EXCLUSIVE:
        return input_tokens + cache
    if cache > input_tokens or total == input_tokens + (output_tokens or 0) + cache:
        if basis is Basis.INCLUSIVE:
            flags.append(Flag.INPUT_BASIS_CORRECTED)
        return input_tokens + cache
    decided = basis is Basis.INCLUSIVE or provider in INCLUSIVE_PROVIDERS
    if not decided and total != input_tokens + (output_tokens or 0):
        flags.append(Flag.INPUT_BASIS_ASSUMED)
    return input_tokens


def _is_outside(
    input_tokens: int | None,
    output_tokens: int,
    reasoning: int,
    total: int | None,
    *,
    is_outside: bool,
) -> bool:
    """Whether reasoning comes on top of the output: by the total if there is one."""
    if total is not None and input_tokens is not None:
        if total == input_tokens + output_tokens + reasoning:
            return True
        if total == input_tokens + output_tokens:
            return False
    return is_outside


def _check_total(
    input_tokens: int, output_tokens: int, cache: int, total: int, basis: Basis, flags: list[Flag]
) -> None:
    if total in {input_tokens + output_tokens, 0}:
        return
    if basis is Basis.EXCLUSIVE and total == input_tokens + output_tokens - cache:
        return  # their total leaves the cache out as well
    flags.append(Flag.TOTAL_MISMATCH)
