"""What a dialect is: a table of attribute names, which spans are calls, and a token rule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tallyspan_collector.read.call import Call

Attributes = Mapping[str, object]
Names = tuple[str, ...]
"""Names of attributes; the first one that says something wins."""


class Basis(StrEnum):
    """Whether the input an emitter states has the cache reads and writes in it.

    UNDECIDED: nobody knows of this emitter; the counts decide, and where they cannot, the call is
    flagged.
    """

    INCLUSIVE = "inclusive"
    EXCLUSIVE = "exclusive"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Counted:
    """Token counts as an emitter stated them, by field of `Usage`, before any conversion."""

    counts: dict[str, int | None]
    total: int | None = None
    is_settled: bool = False
    """Whether input and output are totals already: no rule is to be applied."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One emitter's way to say what a call was. Patterns end in `*` to match a prefix.

    Recognition: `scopes` and `services` (service.name) first, over all dialects, then `keys`.
    With `needs` one such key must be there besides the scope.

    Kind: the first attribute of `operation` decides (its text after `operation_after`), by `calls`
    (value -> operation name) and `wrappers`; `span_names` say it where no attribute does. A key of
    `wrapper_keys` or a provider of `wrapper_providers` makes it a wrapper whatever else it says.

    Data: `texts` field of `Call` -> names; `tokens` field of `Usage` -> names; `total` the sum the
    emitter states; `added` counts that are billed on top. A name `key#path` is a place within the
    JSON (or Python literal) an attribute holds. `tags` are prefixes of
    free tags, `units` of what is billed beside tokens. `claimed_cost` is
    what the emitter says it cost, in USD; `cache_hit` names of "a gateway answered from its cache".

    `basis` by provider ("" the rest); `is_reasoning_outside` if output is without reasoning.
    `count` replaces `tokens` where usage is no flat list; `refine` puts right what no table can.
    `trust` orders reports of one call: the lowest is taken for the tokens.
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
    added: Mapping[str, Names] = field(default_factory=dict)
    tags: Names = ()
    units: Names = ()
    claimed_cost: Names = ()
    cache_hit: Names = ()
    basis: Mapping[str, Basis] = field(default_factory=dict)
    is_reasoning_outside: bool = False
    count: Callable[[Attributes], Counted] | None = None
    refine: Callable[[Call, Attributes], None] | None = None
    trust: int = 5


def matches(pattern: str, text: str) -> bool:
    """Whether the text is the pattern, or starts with it where the pattern ends in `*`."""
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern
