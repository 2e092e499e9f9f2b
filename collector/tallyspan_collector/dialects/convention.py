"""The one token convention: input with cache, output with reasoning, whatever was stated.

What is known of an emitter comes first, but its counts are checked against it: parts that cannot
fit in their whole, or a total that only adds up the other way, are believed over the table.
"""

from collections.abc import Sequence

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.dialects.table import Basis
from tallyspan_collector.read.call import Flag

INCLUSIVE_PROVIDERS = frozenset(
    {"openai", "azure.ai.openai", "gcp.gemini", "gcp.vertex_ai", "deepseek", "x_ai", "groq"}
)
"""Their APIs state input with the cache in it, so whoever passes it on does too."""

_BESIDE = frozenset({"gcp.gemini", "gcp.vertex_ai"})
"""Their APIs state thoughts beside the output."""
_INPUT, _OUTPUT, _READ, _WRITE, _THOUGHT = (
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
_FIRST_PART = TOKEN_FIELDS.index("cache_write_1h_tokens")
_NO_PARTS = [None] * (len(TOKEN_FIELDS) - _FIRST_PART)


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
    already; `is_bad`: a count that cannot be one was left out before. Returns what is not beyond
    doubt.
    """
    flags: list[Flag] = []
    if is_bad or total == -1 or -1 in counts:
        flags.append(Flag.BAD_COUNT)
        total = None if total == -1 else total
        counts[:] = [None if count == -1 else count for count in counts]
    given, made = counts[_INPUT], counts[_OUTPUT]
    cache = (counts[_READ] or 0) + (counts[_WRITE] or 0)
    thought = counts[_THOUGHT] or 0
    if not is_settled:
        if cache and given is not None:
            given = counts[_INPUT] = _with_cache(given, made, cache, total, basis, provider, flags)
        if thought and made is not None:
            outside = is_reasoning_outside or (thought > made and provider in _BESIDE)
            if _is_outside(given, made, thought, total, is_outside=outside):
                made = counts[_OUTPUT] = made + thought
    if total is not None and given is not None:
        _check_total(given, made or 0, cache, total, basis, flags)
    if (
        (given is not None and cache > given)
        or (made is not None and thought > made)
        or (counts[_FIRST_PART:] != _NO_PARTS and _has_parts_too_large(counts))
    ):
        flags.append(Flag.CONTRADICTORY)
    return tuple(flags)


def _has_parts_too_large(counts: Sequence[int | None]) -> bool:
    return any((counts[part] or 0) > (counts[whole] or 0) for part, whole in _PARTS)


def _with_cache(
    given: int,
    made: int | None,
    cache: int,
    total: int | None,
    basis: Basis,
    provider: str,
    flags: list[Flag],
) -> int:
    if basis is Basis.EXCLUSIVE:
        return given + cache
    if cache > given or total == given + (made or 0) + cache:
        if basis is Basis.INCLUSIVE:
            flags.append(Flag.INPUT_BASIS_CORRECTED)
        return given + cache
    decided = basis is Basis.INCLUSIVE or provider in INCLUSIVE_PROVIDERS
    if not decided and total != given + (made or 0):
        flags.append(Flag.INPUT_BASIS_ASSUMED)
    return given


def _is_outside(
    given: int | None, made: int, thought: int, total: int | None, *, is_outside: bool
) -> bool:
    """Whether reasoning comes on top of the output: by the total if there is one."""
    if total is not None and given is not None:
        if total == given + made + thought:
            return True
        if total == given + made:
            return False
    return is_outside


def _check_total(
    given: int, made: int, cache: int, total: int, basis: Basis, flags: list[Flag]
) -> None:
    if total in {given + made, 0}:
        return
    if basis is Basis.EXCLUSIVE and total == given + made - cache:
        return  # their total leaves the cache out as well
    flags.append(Flag.TOTAL_MISMATCH)
