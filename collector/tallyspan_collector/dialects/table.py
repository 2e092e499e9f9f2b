"""What a dialect is: a table of attribute names, which spans are calls, and a token rule."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan.meters import BY_NAME as METERS
from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.read.call import FIELDS, Draft

Attributes = Mapping[str, object]
Names = tuple[str, ...]
"""Names of attributes; the first one that has a value wins."""


class Basis(StrEnum):
    """Whether the input that an emitter reports includes the cache reads and writes.

    UNDECIDED: the emitter's rule is not documented; the counts decide, and where they cannot, the
    call is flagged.
    """

    INCLUSIVE = "inclusive"
    EXCLUSIVE = "exclusive"
    UNDECIDED = "undecided"


class Loss(StrEnum):
    """Tokens that an emitter leaves out of input and output, so that only its total has them.

    THOUGHTS: reasoning, of providers that report it beside the output. TOOL_PROMPT: what a
    provider's own tools put into the prompt. UNCACHED_INPUT: the cache was taken off an input that
    was without it. VISIBLE_OUTPUT: the reasoning was taken off an output that was without it.
    """

    THOUGHTS = "thoughts"
    TOOL_PROMPT = "tool_prompt"
    UNCACHED_INPUT = "uncached_input"
    VISIBLE_OUTPUT = "visible_output"


@dataclass(frozen=True, slots=True)
class Rule:
    """How an emitter reports the counts of one provider.

    `is_input_certain`: where `basis` is UNDECIDED, the provider's own input includes the cache.
    `is_reasoning_outside`: the output is without reasoning; `may_be_outside`: the provider's own
    is, so the counts may show that the emitter's is as well. `is_audio_outside`: the provider's own
    input is without audio. `is_total_whole`: the total has the cache even where the input has not.
    """

    basis: Basis = Basis.INCLUSIVE
    is_input_certain: bool = False
    is_reasoning_outside: bool = False
    may_be_outside: bool = False
    is_audio_outside: bool = False
    is_total_whole: bool = False
    losses: frozenset[Loss] = frozenset()


@dataclass(frozen=True, slots=True)
class Counted:
    """Token counts as an emitter reports them, by field of `Usage`, before any conversion.

    `added` are counts that come on top of input and of output; `meters` are those that are no field
    of `Usage`. `basis` and `is_reasoning_outside`
    are for counts that follow another rule than the dialect's.
    """

    counts: dict[str, int | None]
    total: int | None = None
    added: tuple[int, int] = (0, 0)
    basis: Basis | None = None
    is_reasoning_outside: bool | None = None
    meters: Mapping[str, int] = field(default_factory=dict)

    def rule(self, rule: Rule) -> Rule:
        """Return the dialect's rule with what is different for these counts."""
        if self.basis is not None:
            rule = replace(rule, basis=self.basis)
        if self.is_reasoning_outside is not None:
            rule = replace(rule, is_reasoning_outside=self.is_reasoning_outside)
        return rule


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one emitter describes a call. Patterns end in `*` to match a prefix.

    Recognition: `scopes` and `services` (service.name) first, over all dialects, then `keys`.
    With `needs` one such key must be there besides the scope.

    Kind: the first attribute of `operation` decides (its text after `operation_after`), by `calls`
    (value -> operation name) and `wrappers`; `span_names` decide where no attribute does. A key of
    `wrapper_keys` or a provider of `wrapper_providers` makes it a wrapper whatever else it has.

    Data: `texts` field of `Call` -> names; `tokens` field of `Usage` -> names; `total` the
    emitter's sum; `added` counts of input and output that come on top of them, unless the total
    shows that they are in them; `cache_write_5m` the writes with the shorter lifetime, which some
    emitters report in place of all writes. A name `key#path` is a place within the JSON (or Python
    literal) that an attribute holds. Attributes that begin with `quoted` may be texts written as
    JSON. `tags` are prefixes of free tags. `meters` and `conditions`: the emitter's own names of
    them, by our name, beside our attributes. `claimed_cost` is the emitter's own cost in USD;
    `reported_cost` what the provider itself bills, by name with the pico-dollars of one unit of it;
    `cache_hit` names of "a gateway answered from its cache".

    `usage` are patterns of the names that hold usage (`*` for any text, `key#path` for places in
    a blob). What is there, has a value and is read by nothing is unread, but for the patterns of
    `harmless`: each with the reason why no cost depends on it.

    Token rule, by provider ("" the rest): `basis`; `losses`; `reasoning_outside` are the providers
    whose output is without reasoning, `whole_totals` those whose total has the cache even where the
    input has not.

    `count` replaces `tokens` where usage is no flat list; `refine` changes a call's draft where no
    table can describe it; both read the patterns of `counted`. `refines` tells by the scope and the
    attributes' names whether `refine` can change anything; without it, it can. `fails_with_zeros`:
    of a failed call it reports counts of 0, and knows nothing. `runs_its_agents`: an agent's
    calls are always reported, so its sum is never charged. `trust` orders reports of one call: the
    tokens of the lowest are taken.
    Raises `ValueError` for a field that `Call` or `Usage` does not have.
    """

    name: str
    scopes: Names = ()
    services: Names = ()
    keys: Names = ()
    needs: Names = ()
    operation: Names = ()
    operation_after: str = ""
    span_names: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, str] = field(default_factory=dict)
    wrappers: frozenset[str] = frozenset()
    wrapper_keys: Names = ()
    wrapper_providers: frozenset[str] = frozenset()
    texts: Mapping[str, Names] = field(default_factory=dict)
    tokens: Mapping[str, Names] = field(default_factory=dict)
    total: Names = ()
    quoted: Names = ()
    added: Mapping[str, Names] = field(default_factory=dict)
    cache_write_5m: Names = ()
    tags: Names = ()
    meters: Mapping[str, Names] = field(default_factory=dict)
    conditions: Mapping[str, Names] = field(default_factory=dict)
    claimed_cost: Names = ()
    reported_cost: Mapping[str, int] = field(default_factory=dict)
    usage: Names = ()
    harmless: Mapping[str, str] = field(default_factory=dict)
    cache_hit: Names = ()
    runs_its_agents: bool = False
    basis: Mapping[str, Basis] = field(default_factory=dict)
    losses: Mapping[str, frozenset[Loss]] = field(default_factory=dict)
    reasoning_outside: frozenset[str] = frozenset()
    whole_totals: frozenset[str] = frozenset()
    count: Callable[[Attributes], Counted] | None = None
    counted: Names = ()
    refine: Callable[[Draft, Attributes], None] | None = None
    refines: Callable[[str, Collection[str]], bool] | None = None
    fails_with_zeros: bool = False
    trust: int = 5

    def __post_init__(self) -> None:
        """Refuse a field that does not exist."""
        unknown = self.texts.keys() - set(FIELDS)
        unknown |= self.tokens.keys() - set(TOKEN_FIELDS)
        unknown |= self.added.keys() - {"input_tokens", "output_tokens"}
        unknown |= self.meters.keys() - METERS.keys()
        unknown |= self.conditions.keys() - CONDITIONS.keys()
        if unknown:
            raise ValueError(f"dialect {self.name}: unknown fields {sorted(unknown)}")


def matches(pattern: str, text: str) -> bool:
    """Whether the text is the pattern, or starts with it where the pattern ends in `*`."""
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern
