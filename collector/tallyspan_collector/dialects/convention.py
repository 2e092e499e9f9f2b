"""The one token convention: input with cache, output with reasoning, whatever was stated.

What is known of an emitter comes first, but its counts are checked against it: parts that cannot
fit in their whole, or a total that only adds up the other way, are believed over the table.
"""

from tallyspan.usage import Usage
from tallyspan_collector.call import Flag
from tallyspan_collector.dialects.table import Basis, Counted

INCLUSIVE_PROVIDERS = frozenset(
    {"openai", "azure.ai.openai", "gcp.gemini", "gcp.vertex_ai", "deepseek", "x_ai", "groq"}
)
"""Their APIs state input with the cache in it, so whoever passes it on does too."""

_BESIDE = frozenset({"gcp.gemini", "gcp.vertex_ai"})
"""Their APIs state thoughts beside the output."""


def settle(
    counted: Counted, basis: Basis, provider: str, *, is_reasoning_outside: bool
) -> tuple[Usage, list[Flag]]:
    """Return the usage in our convention, and what is not beyond doubt about it."""
    counts, flags = counted.counts, list[Flag]()
    if -1 in counts.values():
        flags.append(Flag.BAD_COUNT)
        counts = {name: None if count == -1 else count for name, count in counts.items()}
    given, made = counts.get("input_tokens"), counts.get("output_tokens")
    cache = (counts.get("cache_read_tokens") or 0) + (counts.get("cache_write_tokens") or 0)
    thought = counts.get("reasoning_tokens") or 0
    outside = is_reasoning_outside or (thought > (made or 0) and provider in _BESIDE)
    total = counted.total
    if not counted.is_settled:
        if cache and given is not None:
            given = _with_cache(given, made, cache, total, basis, provider, flags)
        if (
            thought
            and made is not None
            and _is_outside(
                given,
                made,
                thought,
                total,
                is_outside=outside,
            )
        ):
            made += thought
    if total is not None and total >= 0 and given is not None:
        _check_total(given, made or 0, cache, total, basis, flags)
    if (given is not None and cache > given) or (made is not None and thought > made):
        flags.append(Flag.CONTRADICTORY)
    return Usage(**{**counts, "input_tokens": given, "output_tokens": made}), flags


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
