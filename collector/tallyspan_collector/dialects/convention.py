"""The one token convention: input with cache, output with reasoning, whatever an emitter reports.

The emitter's rule comes first, and its total is the check. Where the counts do not add up by the
rule, the other ways to read them that are possible for emitter and provider are tried: the one that
fits, if it is the only one, is taken, and a flag says which it was. Where none or several fit,
nothing is concluded: the call has no price.
"""

from collections.abc import Iterator

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.dialects.table import Basis, Dialect, Loss, Rule
from tallyspan_collector.read.call import Flag

INCLUSIVE_PROVIDERS = frozenset(
    {"openai", "azure.ai.openai", "gcp.gemini", "gcp.vertex_ai", "deepseek", "x_ai", "groq"}
)
"""Their APIs report input with the cache in it, and so do emitters that pass it on."""
_REASONING_OUTSIDE = frozenset({"gcp.gemini", "gcp.vertex_ai", "x_ai"})
"""Their APIs report reasoning beside the output."""
_ANTHROPICS_API = frozenset({"gcp.vertex_ai", "azure.ai.inference"})
"""Where Claude answers as it does at Anthropic: input without the cache."""
_AUDIO_OUTSIDE = frozenset({"mistral_ai"})
"""Their APIs report audio beside the input."""

_INPUT, _OUTPUT, _READ, _WRITE, _WRITE_1H, _REASONING, _AUDIO = (
    TOKEN_FIELDS.index(name)
    for name in (
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "reasoning_tokens",
        "input_audio_tokens",
    )
)
PARTS = tuple(
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

Counts = list[int | None]
"""Token counts in the order of `Usage`."""
_Reading = tuple[int, int, tuple[Flag, ...]]
"""Input and output in our convention, and which explanation they come from."""


def rule_of(dialect: Dialect, provider: str, model: str) -> Rule:
    """Return how the emitter reports the counts of the model at the provider."""
    no_losses: frozenset[Loss] = frozenset()
    if provider in _ANTHROPICS_API and "claude" in model:
        provider = "anthropic"
    return Rule(
        basis=dialect.basis.get(provider) or dialect.basis.get("", Basis.INCLUSIVE),
        is_input_certain=provider in INCLUSIVE_PROVIDERS,
        is_reasoning_outside=not dialect.reasoning_outside.isdisjoint({provider, ""}),
        may_be_outside=provider in _REASONING_OUTSIDE,
        is_audio_outside=provider in _AUDIO_OUTSIDE,
        is_total_whole=not dialect.whole_totals.isdisjoint({provider, ""}),
        losses=dialect.losses.get(provider) or dialect.losses.get("", no_losses),
    )


def add_lifetimes(counts: Counts, five_minutes: int | None) -> None:
    """Make the cache writes the sum of their lifetimes where the emitter reports only these."""
    hour = counts[_WRITE_1H]
    if not counts[_WRITE] and (five_minutes or 0) >= 0 and (hour or 0) >= 0 and (
        five_minutes or hour
    ):  # fmt: skip
        counts[_WRITE] = (five_minutes or 0) + (hour or 0)


def settle(
    counts: Counts,
    total: int | None,
    rule: Rule,
    added: tuple[int, int] = (0, 0),
    *,
    is_settled: bool = False,
    is_bad: bool = False,
) -> tuple[Flag, ...]:
    """Bring the counts into our convention, in place; return what is doubtful about them.

    -1 is a count that cannot be one; it becomes None. `added` comes on top of input and output, by
    the rule. `is_settled`: input and output are in our convention already; `is_bad`: a count that
    cannot be one was left out before.
    """
    flags: list[Flag] = []
    if is_bad or total == -1 or -1 in counts:
        flags.append(Flag.BAD_COUNT)
        total = None if total == -1 else total
        counts[:] = [None if count == -1 else count for count in counts]
    if is_settled:
        pass  # our own: a total is another's, of a span that ours completed
    elif total and counts[_INPUT] is not None:
        flags += _settle_by_total(counts, total, rule, added)
    elif counts[_READ] or counts[_WRITE] or counts[_REASONING] or any(added):
        flags += _settle_by_rule(counts, rule, added)
    if _is_contradictory(counts):
        flags.append(Flag.CONTRADICTORY)
    return tuple(flags)


def _settle_by_rule(counts: Counts, rule: Rule, added: tuple[int, int]) -> Iterator[Flag]:
    """Convert counts that have no total: only a part that is larger than its whole can tell."""
    input_tokens, output_tokens = counts[_INPUT], counts[_OUTPUT]
    cache = _cache(counts)
    if added[0]:
        input_tokens = (input_tokens or 0) + added[0]
    if input_tokens is not None and cache:
        is_outside = rule.basis is Basis.EXCLUSIVE
        if not is_outside and cache > input_tokens:
            is_outside = True
            if rule.basis is Basis.INCLUSIVE:
                yield Flag.INPUT_BASIS_CORRECTED
        elif rule.basis is Basis.UNDECIDED and not rule.is_input_certain:
            yield Flag.INPUT_BASIS_ASSUMED
        input_tokens += cache if is_outside else 0
    counts[_INPUT] = input_tokens
    if added[1]:
        output_tokens = (output_tokens or 0) + added[1]
    reasoning = counts[_REASONING] or 0
    if output_tokens is not None and reasoning:
        is_shown = rule.may_be_outside and reasoning > output_tokens
        if is_shown and not rule.is_reasoning_outside:
            yield Flag.OUTPUT_BASIS_CORRECTED
        output_tokens += reasoning if rule.is_reasoning_outside or is_shown else 0
    counts[_OUTPUT] = output_tokens


def _settle_by_total(
    counts: Counts, total: int, rule: Rule, added: tuple[int, int]
) -> tuple[Flag, ...]:
    """Convert counts by the one explanation that adds up to the total; the rule is the first."""
    cache, reasoning = _cache(counts), counts[_REASONING] or 0
    input_tokens, output_tokens = counts[_INPUT] or 0, counts[_OUTPUT] or 0
    is_exclusive = rule.basis is Basis.EXCLUSIVE
    own_input = input_tokens + added[0] + (cache if is_exclusive else 0)
    own_output = output_tokens + added[1] + (reasoning if rule.is_reasoning_outside else 0)
    own = own_input + own_output
    if total == own and not (cache or reasoning):
        counts[_INPUT] = own_input
        if counts[_OUTPUT] is not None:
            counts[_OUTPUT] = own_output
        return ()
    # others count reasoning for the eye: a little more of it than output is no proof of anything
    least_output = reasoning if rule.may_be_outside or rule.is_reasoning_outside else 0
    fits = own_input >= cache and own_output >= least_output
    is_without_cache = total == own - cache and is_exclusive and not rule.is_total_whole
    readings: dict[tuple[int, int], tuple[Flag, ...]] = {}
    if fits and (total == own or is_without_cache):
        readings[own_input, own_output] = ()
        if total == own and rule.basis is Basis.UNDECIDED and cache and not rule.is_input_certain:
            # as well the sum of an input without the cache that leaves the cache out
            readings[own_input, own_output] = (Flag.INPUT_BASIS_ASSUMED,)
    else:
        explanations = _explanations(counts, total, rule, added, own_input, own_output)
        for new_input, new_output, flags in explanations:
            if new_input >= cache and new_output >= least_output:
                readings.setdefault((new_input, new_output), flags)
    if len(readings) != 1:
        counts[_INPUT] = own_input
        if counts[_OUTPUT] is not None:
            counts[_OUTPUT] = own_output
        return (Flag.TOTAL_MISMATCH,)
    ((new_input, new_output), flags) = readings.popitem()
    counts[_INPUT] = new_input
    if counts[_OUTPUT] is not None or new_output:
        counts[_OUTPUT] = new_output
    if Flag.THOUGHTS_FROM_TOTAL in flags:
        counts[_REASONING] = new_output - own_output
    return flags


def _explanations(
    counts: Counts, total: int, rule: Rule, added: tuple[int, int], own_input: int, own_output: int
) -> Iterator[_Reading]:
    """Yield the other ways to read the counts that add up to the total.

    First what can be counted: the cache, the reasoning, the audio, what is added may be in input
    and output or beside them. A sum of the emitter's own may leave out cache or reasoning that are
    beside for certain, being more than the whole. Then what only the total has, as far as this
    emitter leaves it out.
    """
    cache, reasoning = _cache(counts), counts[_REASONING] or 0
    audio = (counts[_AUDIO] or 0) if rule.is_audio_outside else 0
    is_exclusive = rule.basis is Basis.EXCLUSIVE
    of_cache = () if rule.basis is Basis.UNDECIDED else (Flag.INPUT_BASIS_CORRECTED,)
    outputs = [
        (output + beside, (*flags, *why))
        for output, flags in _with(counts[_OUTPUT] or 0, added[1])
        for beside, why in _beside(
            reasoning, (Flag.OUTPUT_BASIS_CORRECTED,), is_rule=rule.is_reasoning_outside
        )
    ]
    for base, flags in _with(counts[_INPUT] or 0, added[0]):
        for beside, why in _beside(cache, of_cache, is_rule=is_exclusive):
            for heard, audible in _beside(audio, (Flag.INPUT_BASIS_CORRECTED,), is_rule=False):
                for output, others in outputs:
                    short = _left_out(counts, rule, base, beside, output, added[1])
                    if base + beside + heard + output - total in short:
                        reasons = dict.fromkeys((*flags, *why, *audible, *others))
                        yield base + beside + heard, output, tuple(reasons)
    gap = total - own_input - own_output
    if gap <= 0:
        return
    if Loss.THOUGHTS in rule.losses and not reasoning:
        yield own_input, own_output + gap, (Flag.THOUGHTS_FROM_TOTAL,)
    if Loss.TOOL_PROMPT in rule.losses and not added[0]:
        yield own_input + gap, own_output, (Flag.TOOL_PROMPT_FROM_TOTAL,)
    if Loss.UNCACHED_INPUT in rule.losses and cache:
        yield own_input + gap, own_output, (Flag.TOTAL_REPAIRED,)
    if Loss.VISIBLE_OUTPUT in rule.losses and reasoning:
        yield own_input, own_output + gap, (Flag.TOTAL_REPAIRED,)


def _left_out(
    counts: Counts, rule: Rule, base: int, cache: int, output: int, added: int
) -> tuple[int, ...]:
    """Return by how much a total may be too low with these counts: 0, and what is surely beside."""
    if rule.is_total_whole:
        return (0,)
    reasoning = counts[_REASONING] or 0
    plain = (counts[_OUTPUT] or 0) + added
    is_beside = rule.may_be_outside and reasoning > plain and output >= plain + reasoning
    left_out = (cache if cache > base else 0, reasoning if is_beside else 0)
    return (0, *left_out, sum(left_out))


def _with(count: int, added: int) -> tuple[tuple[int, tuple[Flag, ...]], ...]:
    """Return the count with what comes on top, and, if something does, without."""
    return (
        ((count + added, ()), (count, (Flag.PARTS_REPEATED,))) if added else ((count, ()),)
    )  # fmt: skip


def _beside(
    part: int, flags: tuple[Flag, ...], *, is_rule: bool
) -> tuple[tuple[int, tuple[Flag, ...]], ...]:
    """Return the part beside its whole and in it (0), with the flags where that is not the rule."""
    if not part:
        return ((0, ()),)
    return ((part, () if is_rule else flags), (0, flags if is_rule else ()))


def _cache(counts: Counts) -> int:
    return (counts[_READ] or 0) + (counts[_WRITE] or 0)


def _is_contradictory(counts: Counts) -> bool:
    input_tokens, output_tokens = counts[_INPUT], counts[_OUTPUT]
    if input_tokens is not None and _cache(counts) > input_tokens:
        return True
    if output_tokens is not None and (counts[_REASONING] or 0) > output_tokens:
        return True
    for part, whole in PARTS:
        count = counts[part]
        if count and count > (counts[whole] or 0):
            return True
    return False
